// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

var allSchemes = []string{"ws", "wss", "http", "https"}

func secure(scheme string) bool { return scheme == "wss" || scheme == "https" }

// serverFor starts a server that speaks scheme on ln, and gives the client what it needs
// to trust it.
func serverFor(t *testing.T, scheme string, ln net.Listener, script opamptest.Script) (*opamptest.Server, func(*Config)) {
	t.Helper()
	if !secure(scheme) {
		return opamptest.Serve(t, ln, script), func(*Config) {}
	}
	ca := opamptest.NewAuthority(t)
	server := opamptest.Serve(t, tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, 7, "opamp.example.com").TLS},
		NextProtos:   []string{"h2", "http/1.1"},
		MinVersion:   tls.VersionTLS12,
	}), script)
	return server, func(c *Config) { c.Server.endpoint().TLS.CAPem = configopaque.String(ca.PEM()) }
}

func through(proxy *url.URL) func(*Config) {
	return func(c *Config) { c.Server.endpoint().ProxyURL = configopaque.String(proxy.String()) }
}

func TestThroughAProxyWithAPassword(t *testing.T) {
	for _, scheme := range allSchemes {
		for _, proxyScheme := range []string{"http", "https"} {
			t.Run(scheme+" through "+proxyScheme, func(t *testing.T) {
				server, trust := serverFor(t, scheme, loopback(t), opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
					assert.Empty(t, r.Header.Get("Proxy-Authorization"), "it is the proxy's alone")
					return false
				}})
				script := opamptest.ProxyScript{User: url.UserPassword("fleet", canary)}
				skip := func(*Config) {}
				if proxyScheme == "https" {
					certificate, _ := selfSigned(t)
					script.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
					skip = func(c *Config) { c.Server.endpoint().TLS.InsecureSkipVerify = true }
				}
				proxy := opamptest.NewProxy(t, script)
				l := connect(t, configFor(server.URL(scheme).String(), trust, skip, through(proxy.URL())), nil)
				require.NotNil(t, server.Next(t).AgentDescription)
				want := "CONNECT " + server.Addr()
				if scheme == "http" {
					want = "POST " + server.URL("http").String() // as proxies forward it
				}
				require.Equal(t, want, proxy.Asked())
				require.NotContains(t, l.log.String(), canary)
				t.Logf("stopped in %s", l.shutdown(t))
			})
		}
	}
}

func TestAProxyThatRefusesIsNamed(t *testing.T) {
	answer := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	for name, tc := range map[string]struct {
		behave func(http.ResponseWriter, *http.Request) bool
		want   map[string]string // by scheme
	}{
		"wrong password": {nil, map[string]string{
			"ws": "proxy_unauthorized", "wss": "proxy_unauthorized", "http": "proxy_unauthorized", "https": "proxy_unauthorized",
		}},
		// Of a request that is forwarded nobody can say whose answer it is.
		"403": {answer(403), map[string]string{"ws": "proxy", "wss": "proxy", "http": "unauthorized", "https": "proxy"}},
		"502": {answer(502), map[string]string{"ws": "proxy", "wss": "proxy", "http": "http_status", "https": "proxy"}},
	} {
		for scheme, want := range tc.want {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				server, trust := serverFor(t, scheme, loopback(t), opamptest.Script{})
				proxy := opamptest.NewProxy(t, opamptest.ProxyScript{User: url.UserPassword("fleet", "right"), Behave: tc.behave})
				address := proxy.URL()
				address.User = url.UserPassword("fleet", canary)
				l := connect(t, configFor(server.URL(scheme).String(), trust, through(address)), nil)
				l.result(t, want)
				require.Empty(t, server.Rest())
				require.NotContains(t, l.log.String(), canary)
			})
		}
	}
}

func TestAProxyThatIsNotThereIsNamed(t *testing.T) {
	ln := loopback(t)
	require.NoError(t, ln.Close())
	for _, scheme := range allSchemes {
		for _, proxy := range []string{"http", "socks5"} {
			address := &url.URL{Scheme: proxy, Host: ln.Addr().String(), User: url.UserPassword("fleet", canary)}
			l := connect(t, configFor(scheme+"://opamp.example.com", through(address)), nil)
			l.result(t, "proxy")
			require.NotContains(t, l.log.String(), canary)
		}
	}
}

// The name is the proxy's to resolve. The environment's proxies are not for loopback.
func TestTheEnvironmentsProxy(t *testing.T) {
	for _, scheme := range allSchemes {
		t.Run(scheme, func(t *testing.T) {
			server, trust := serverFor(t, scheme, loopback(t), opamptest.Script{})
			proxy := opamptest.NewProxy(t, opamptest.ProxyScript{
				User: url.UserPassword("fleet", canary),
				Lead: func(string) string { return server.Addr() },
			})
			variable := "HTTP_PROXY"
			if secure(scheme) {
				variable = "HTTPS_PROXY"
			}
			t.Setenv(variable, proxy.URL().String())
			connect(t, configFor(scheme+"://opamp.example.com:4320/v1/opamp", trust), nil)
			require.NotNil(t, server.Next(t).AgentDescription)
			require.Contains(t, proxy.Asked(), "opamp.example.com:4320")
		})
	}
}

func TestThroughASOCKSProxy(t *testing.T) {
	for _, scheme := range allSchemes {
		t.Run(scheme, func(t *testing.T) {
			server, trust := serverFor(t, scheme, loopback(t), opamptest.Script{})
			socks := &url.URL{Scheme: "socks5", Host: socksProxy(t, server.Addr()), User: url.UserPassword("fleet", canary)}
			connect(t, configFor(scheme+"://opamp.example.com:4320/v1/opamp", trust, through(socks)), nil)
			require.NotNil(t, server.Next(t).AgentDescription)
		})
	}
}

// socksProxy is the least of a SOCKS 5 proxy: one user, every way leads to target.
func socksProxy(t *testing.T, target string) string {
	t.Helper()
	ln := loopback(t)
	opamptest.EachConn(t, ln, func(c net.Conn, work *sync.WaitGroup) {
		far, err := net.Dial("tcp", target)
		if !assert.NoError(t, err) {
			return
		}
		defer far.Close()
		socksGreet(t, c)
		work.Go(func() {
			_, _ = io.Copy(far, c)
			_ = far.Close()
		})
		_, _ = io.Copy(c, far)
	})
	return ln.Addr().String()
}

// socksGreet answers the method, the password and the request (RFC 1928, RFC 1929).
func socksGreet(t *testing.T, c net.Conn) {
	take := func(n int) []byte {
		b := make([]byte, n)
		_, err := io.ReadFull(c, b)
		assert.NoError(t, err)
		return b
	}
	take(int(take(2)[1]))
	_, _ = c.Write([]byte{5, 2})
	take(int(take(2)[1]))
	assert.Equal(t, canary, string(take(int(take(1)[0]))))
	_, _ = c.Write([]byte{1, 0})
	host := take(int(take(5)[4]))
	assert.Equal(t, "opamp.example.com", string(host))
	assert.EqualValues(t, 4320, binary.BigEndian.Uint16(take(2)))
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
}

func TestOverAUnixSocket(t *testing.T) {
	for _, scheme := range allSchemes {
		t.Run(scheme, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "opamp") // a test's own folder can be too long for a socket
			require.NoError(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			path := filepath.Join(dir, "s")
			ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
			require.NoError(t, err)
			hosts := make(chan string, 10)
			server, trust := serverFor(t, scheme, ln, opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
				hosts <- r.Host + r.URL.Path
				return false
			}})
			t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // does not apply
			t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
			l := connect(t, configFor(scheme+"://opamp.example.com/v1/opamp", trust, func(c *Config) {
				c.Server.endpoint().UnixSocket = path
			}), nil)
			require.NotNil(t, server.Next(t).AgentDescription)
			require.Equal(t, "opamp.example.com/v1/opamp", <-hosts)
			t.Logf("stopped in %s", l.shutdown(t))
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		connect(t, configFor("ws://h", func(c *Config) {
			c.Server.endpoint().UnixSocket = filepath.Join(os.TempDir(), "opamp-nobody.sock")
		}), nil).result(t, "network")
	})
}

// clientFiles are the TLS files of a client, which can be replaced while it runs.
type clientFiles struct {
	t   *testing.T
	dir string
}

func (f clientFiles) path(name string) string { return filepath.Join(f.dir, name) }

// put replaces a file as a careful program does.
func (f clientFiles) put(name string, content []byte) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path("new"), content, 0o600))
	require.NoError(f.t, os.Rename(f.path("new"), f.path(name)))
}

func (f clientFiles) configure(c *Config) {
	e := c.Server.endpoint()
	e.TLS.CAFile, e.TLS.CertFile, e.TLS.KeyFile = f.path("ca.pem"), f.path("cert.pem"), f.path("key.pem")
}

// The server's certificate and the authority that it trusts, and with them the client's
// files, change while both run.
func TestCertificatesAndAuthoritiesRotateWhileRunning(t *testing.T) {
	for _, scheme := range []string{"wss", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var current atomic.Pointer[tls.Config]
			serials := make(chan int64, 1000)
			server := opamptest.Serve(t, tls.NewListener(loopback(t), &tls.Config{
				MinVersion:         tls.VersionTLS12,
				GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil },
			}), opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
				serials <- r.TLS.PeerCertificates[0].SerialNumber.Int64()
				return false
			}})
			files := clientFiles{t, t.TempDir()}
			rotate := func(serial int64) {
				ca := opamptest.NewAuthority(t)
				mine, theirs := ca.Issue(t, serial), ca.Issue(t, 100+serial)
				current.Store(&tls.Config{
					Certificates: []tls.Certificate{theirs.TLS},
					ClientAuth:   tls.RequireAndVerifyClientCert,
					ClientCAs:    ca.Pool(),
					MinVersion:   tls.VersionTLS12,
				})
				files.put("cert.pem", mine.CertPEM) // for a moment cert and key do not match
				time.Sleep(time.Millisecond)
				files.put("key.pem", mine.KeyPEM)
				files.put("ca.pem", ca.PEM())
			}
			rotate(1)
			l := connect(t, configFor(server.URL(scheme).String(), files.configure), nil)
			require.NotNil(t, server.Next(t).AgentDescription)
			require.EqualValues(t, 1, <-serials)
			for serial := int64(2); serial <= 4; serial++ {
				rotate(serial)
				start := time.Now()
				server.HangUp() // over plain HTTP there is no need to
				for used := <-serials; used != serial; used = <-serials {
					t.Logf("certificate %d was used once more", used)
				}
				t.Logf("certificate %d in use %s after the rotation", serial, time.Since(start))
			}
			require.NotContains(t, l.log.String(), "panic")
		})
	}
}

// Files that cannot be read leave the former ones in use, and that is said once.
func TestABrokenRotationKeepsTheFormerCertificate(t *testing.T) {
	ca := opamptest.NewAuthority(t)
	server := opamptest.Serve(t, tls.NewListener(loopback(t), &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, 1).TLS}, MinVersion: tls.VersionTLS12,
	}), opamptest.Script{})
	files := clientFiles{t, t.TempDir()}
	mine := ca.Issue(t, 2)
	files.put("cert.pem", mine.CertPEM)
	files.put("key.pem", mine.KeyPEM)
	files.put("ca.pem", ca.PEM())
	l := connect(t, configFor(server.URL("https").String(), files.configure), nil)
	server.Next(t)
	files.put("ca.pem", []byte("half a fi"))
	for range 10 {
		server.Next(t)
	}
	require.Equal(t, 1, strings.Count(l.log.String(), "former ones stay in use"), "%s", l.log)
}

func TestNoRedirectIsFollowed(t *testing.T) {
	for _, scheme := range allSchemes {
		for _, code := range []int{301, 302, 303, 307, 308} {
			for _, target := range []string{"another host", "no TLS"} {
				if target == "no TLS" && !secure(scheme) {
					continue
				}
				var elsewhere atomic.Int64
				other := opamptest.NewServer(t, opamptest.Script{Refuse: func(http.ResponseWriter, *http.Request) bool {
					elsewhere.Add(1)
					return false
				}})
				keyed := make(chan string, 100)
				server, trust := serverFor(t, scheme, loopback(t), opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
					keyed <- r.Header.Get("Authorization") + r.Header.Get("X-Api-Key")
					to := other.URL(map[bool]string{true: "http", false: scheme}[target == "no TLS" || !secure(scheme)])
					w.Header().Set("Location", to.String())
					w.WriteHeader(code)
					return true
				}})
				l := connect(t, configFor(server.URL(scheme).String(), trust, func(c *Config) {
					c.Server.endpoint().Headers = map[string]configopaque.String{
						"Authorization": "Bearer " + canary, "X-Api-Key": canary,
					}
				}), nil)
				l.result(t, "redirect")
				require.Equal(t, "Bearer "+canary+canary, <-keyed)
				require.NoError(t, l.Shutdown(t.Context()))
				require.Zero(t, elsewhere.Load(), "%s %d: sent elsewhere", scheme, code)
				require.NotContains(t, l.log.String(), canary)
			}
		}
	}
}

// mute accepts connections and says nothing on them.
func mute(t *testing.T, ln net.Listener) {
	t.Helper()
	over := make(chan struct{})
	opamptest.EachConn(t, ln, func(net.Conn, *sync.WaitGroup) { <-over })
	t.Cleanup(func() { close(over) }) // first, so that there is nothing to wait for
}

func TestShutdownIsBoundedWhateverIsInTheWay(t *testing.T) {
	ways := map[string]func(t *testing.T, scheme string) *Config{
		"a server that says nothing": func(t *testing.T, scheme string) *Config {
			ln := loopback(t)
			mute(t, ln)
			return configFor(scheme + "://" + ln.Addr().String())
		},
		"a proxy that says nothing": func(t *testing.T, scheme string) *Config {
			ln := loopback(t)
			mute(t, ln)
			return configFor(scheme+"://opamp.example.com", through(&url.URL{Scheme: "http", Host: ln.Addr().String()}))
		},
		"a TLS proxy that says nothing": func(t *testing.T, scheme string) *Config {
			ln := loopback(t)
			mute(t, ln)
			return configFor(scheme+"://opamp.example.com", through(&url.URL{Scheme: "https", Host: ln.Addr().String()}))
		},
		"a SOCKS proxy that says nothing": func(t *testing.T, scheme string) *Config {
			ln := loopback(t)
			mute(t, ln)
			return configFor(scheme+"://opamp.example.com", through(&url.URL{Scheme: "socks5", Host: ln.Addr().String()}))
		},
		"a socket that is never accepted": func(t *testing.T, scheme string) *Config {
			dir, err := os.MkdirTemp("", "opamp")
			require.NoError(t, err)
			path := filepath.Join(dir, "s")
			ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
			require.NoError(t, err)
			t.Cleanup(func() {
				_ = ln.Close()
				_ = os.RemoveAll(dir)
			})
			return configFor(scheme+"://opamp.example.com", func(c *Config) { c.Server.endpoint().UnixSocket = path })
		},
		"a name that does not resolve": func(t *testing.T, scheme string) *Config {
			withResolver(t, func(string) net.IP { return nil })
			return configFor(scheme + "://opamp.example.com")
		},
	}
	for name, way := range ways {
		for _, scheme := range allSchemes {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				l := connect(t, way(t, scheme), nil)
				require.Eventually(t, func() bool { return l.client.Status().Attempts >= 1 }, patience, time.Millisecond)
				took := l.shutdown(t)
				t.Logf("stopped in %s", took)
				require.Less(t, took, patience)
			})
		}
	}
}

// A server that takes a TLS connection and reads nothing more holds nobody up either.
func TestShutdownFromATLSServerThatStopsReading(t *testing.T) {
	ca := opamptest.NewAuthority(t)
	inner := loopback(t)
	done := make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Accept", opamptest.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			<-done
			_ = c.Close()
		}
	})}
	var work sync.WaitGroup
	work.Go(func() {
		_ = server.Serve(tls.NewListener(inner, &tls.Config{
			Certificates: []tls.Certificate{ca.Issue(t, 1).TLS}, MinVersion: tls.VersionTLS12,
		}))
	})
	t.Cleanup(func() {
		close(done)
		_ = server.Close()
		work.Wait()
	})
	l := connect(t, configFor("wss://"+inner.Addr().String(), func(c *Config) {
		c.Server.endpoint().TLS.CAPem = configopaque.String(ca.PEM())
	}), nil)
	l.result(t, "ok")
	more := snapshotOf(map[string]any{"receivers": strings.Repeat("more than the sockets' buffers hold ", 1<<19)})
	require.NoError(t, l.NotifyConfigSnapshot(t.Context(), more))
	took := l.shutdown(t)
	t.Logf("stopped in %s", took)
	require.Less(t, took, patience)
}

// A server moves: its name has another address, and the former host still answers, with
// an error. Nothing that was kept open leads there.
func TestANameThatChangesIsFollowed(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			var moved atomic.Bool
			before := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
				if moved.Load() {
					w.WriteHeader(http.StatusBadGateway)
				}
				return moved.Load()
			}})
			_, port, err := net.SplitHostPort(before.Addr())
			require.NoError(t, err)
			ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.2:"+port)
			if err != nil {
				t.Fatalf("needs a second loopback address: %v", err)
			}
			after := opamptest.Serve(t, ln, opamptest.Script{})
			withResolver(t, func(string) net.IP {
				if moved.Load() {
					return net.IPv4(127, 0, 0, 2)
				}
				return net.IPv4(127, 0, 0, 1)
			})
			connect(t, configFor(scheme+"://opamp.example.com:"+port+opamptest.Path), nil)
			require.NotNil(t, before.Next(t).AgentDescription)
			moved.Store(true)
			before.HangUp()
			require.NotNil(t, after.Next(t).AgentDescription)
		})
	}
}

// A Host of the user's is sent however it is spelled: a server behind others is found by it.
func TestHostHeader(t *testing.T) {
	for _, scheme := range []string{"ws", "http"} {
		for _, name := range []string{"Host", "host"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
				require.NoError(t, err)
				hosts := make(chan string, 10)
				server, _ := serverFor(t, scheme, ln, opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
					hosts <- r.Host
					return false
				}})
				l := connect(t, configFor(server.URL(scheme).String(), func(c *Config) {
					c.Server.endpoint().Headers = map[string]configopaque.String{name: "fleet.example.com"}
				}), nil)
				require.NotNil(t, server.Next(t).AgentDescription)
				require.Equal(t, "fleet.example.com", <-hosts)
				l.shutdown(t)
			})
		}
	}
}
