// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"

	"go.uber.org/zap"
)

// Settings say by which way a server is reached. They are fixed for the life of a
// [Network].
type Settings struct {
	// Endpoint is the server's address, of scheme ws, wss, http or https. An http
	// request goes through a proxy as proxies forward it; all others take a tunnel
	// (CONNECT), as WebSockets have to (RFC 6455 section 4.1).
	Endpoint *url.URL
	// Proxy is where requests go instead: http, https, socks5 or socks5h, with the user
	// and password that it asks for. Nil is none.
	Proxy *url.URL
	// UnixSocket is the path of the socket that all connections are made to; the
	// endpoint then says what to ask for, not where. It excludes a proxy.
	UnixSocket string
	// TLS reads the client's TLS configuration from its files. Nil where there is none.
	TLS func() (*tls.Config, error)
	// TLSFiles are the files that TLS reads. When one has changed TLS is called again.
	TLSFiles []string
	// Logger gets a line when changed files cannot be read.
	Logger *zap.Logger
}

// Secure reports whether the server itself is behind TLS.
func (s *Settings) Secure() bool { return s.Endpoint.Scheme == "wss" || s.Endpoint.Scheme == "https" }

func (s *Settings) webSocket() bool { return s.Endpoint.Scheme == "ws" || s.Endpoint.Scheme == "wss" }

// Network makes the connections to one server. It is a RoundTripper that is safe for
// concurrent use. Before each request it looks whether a TLS file has changed; if so
// the request and all later ones use a new connection.
type Network struct {
	// Fixed at construction.
	set  Settings
	base *http.Transport // what is copied for each TLS configuration; sends nothing

	mu      sync.Mutex
	files   fileMarks       // guarded by mu: the TLS files as they were last read
	current *http.Transport // guarded by mu
}

// New makes a network whose limits, such as the time for a handshake, are those of base.
// It fails if the TLS configuration cannot be read.
func New(set Settings, base *http.Transport) (*Network, error) {
	if set.Logger == nil {
		set.Logger = zap.NewNop()
	}
	n := &Network{set: set, base: base}
	files := markFiles(set.TLSFiles)
	current, err := n.transport()
	if err != nil {
		return nil, err
	}
	n.files, n.current = files, current
	return n, nil
}

// RoundTrip implements http.RoundTripper.
func (n *Network) RoundTrip(r *http.Request) (*http.Response, error) {
	return n.fresh().RoundTrip(r)
}

// CloseIdleConnections closes what no request uses, and ends dials whose request is gone.
func (n *Network) CloseIdleConnections() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current.CloseIdleConnections()
}

// fresh is the transport for the TLS files as they are now. Files that cannot be read,
// as in the middle of a rotation, leave it as it was; they are read again next time.
func (n *Network) fresh() *http.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	files := markFiles(n.set.TLSFiles)
	if n.files.equal(files) {
		return n.current
	}
	next, err := n.transport()
	if err != nil {
		n.files.complain(files, func() {
			n.set.Logger.Warn("The TLS files have changed and cannot be read, the former ones stay in use", zap.Error(err))
		})
		return n.current
	}
	n.current.CloseIdleConnections()
	n.files, n.current = files, next
	return next
}

// transport reads the TLS configuration and makes a transport with it.
func (n *Network) transport() (*http.Transport, error) {
	t := n.base.Clone()
	if n.set.TLS != nil {
		cfg, err := n.set.TLS()
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = cfg
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.ForceAttemptHTTP2 = !n.set.webSocket()
	if n.set.webSocket() {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"} // an upgrade is a matter of HTTP/1.1
	}
	n.route(t)
	return t, nil
}

// route says where t's connections are made to.
func (n *Network) route(t *http.Transport) {
	t.Proxy = nil
	switch p := n.set.Proxy; {
	case n.set.UnixSocket != "":
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.set.UnixSocket)
		}
	case p == nil:
	case n.set.Endpoint.Scheme != "http" && (p.Scheme == "http" || p.Scheme == "https"):
		t.DialContext = n.tunnel(t).dial
	default:
		t.Proxy = http.ProxyURL(p)
	}
}
