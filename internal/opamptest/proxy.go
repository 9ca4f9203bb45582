// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opamptest

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ProxyScript says how a [Proxy] behaves. Every field may be left out.
type ProxyScript struct {
	// User is who may pass, with the password. Nil is everybody.
	User *url.Userinfo
	// TLS makes it a proxy that is spoken to in TLS.
	TLS *tls.Config
	// Lead is where a request for an address really goes, in place of the network's names.
	Lead func(addr string) string
	// Behave answers a request in place of the proxy, if it returns true.
	Behave func(w http.ResponseWriter, r *http.Request) bool
}

// Proxy is an HTTP proxy that forwards and tunnels.
type Proxy struct {
	// Fixed at construction.
	ln      net.Listener
	http    *http.Server
	script  ProxyScript
	forward *http.Transport
	asked   chan string // never closed
	work    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu: ends of tunnels
}

// NewProxy starts a proxy on a free loopback port, and ends it with the test.
func NewProxy(t testing.TB, script ProxyScript) *Proxy {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if script.TLS != nil {
		ln = tls.NewListener(ln, script.TLS)
	}
	p := &Proxy{
		ln: ln, script: script, asked: make(chan string, 1<<10), conns: make(map[net.Conn]struct{}),
		forward: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, script.lead(addr))
		}},
	}
	p.http = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	p.work.Go(func() { _ = p.http.Serve(ln) }) // ends with Close
	t.Cleanup(p.close)
	return p
}

func (s *ProxyScript) lead(addr string) string {
	if s.Lead == nil {
		return addr
	}
	return s.Lead(addr)
}

// URL is the proxy's address, with the user that it lets pass.
func (p *Proxy) URL() *url.URL {
	u := &url.URL{Scheme: "http", Host: p.ln.Addr().String(), User: p.script.User}
	if p.script.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

// Asked is what the proxy was last asked for and let pass: the method, a space, and the
// address or the URL. Empty is nothing more.
func (p *Proxy) Asked() string {
	select {
	case a := <-p.asked:
		return a
	default:
		return ""
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.script.Behave != nil && p.script.Behave(w, r) {
		return
	}
	if !p.mayPass(r) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	p.asked <- r.Method + " " + r.RequestURI
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	r.Header.Del("Proxy-Authorization")
	(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: p.forward}).ServeHTTP(w, r)
}

func (p *Proxy) mayPass(r *http.Request) bool {
	u := p.script.User
	if u == nil {
		return true
	}
	password, _ := u.Password()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
	return r.Header.Get("Proxy-Authorization") == want
}

func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.script.lead(r.Host))
	if err != nil {
		http.Error(w, "no way", http.StatusBadGateway)
		return
	}
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.hold(near, far)
	p.work.Go(func() { p.pump(near, far) })
	p.work.Go(func() { p.pump(far, near) })
}

func (p *Proxy) hold(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

// pump copies until one side is gone, and then lets go of both.
func (p *Proxy) pump(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}

func (p *Proxy) close() {
	_ = p.http.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
	p.forward.CloseIdleConnections()
}
