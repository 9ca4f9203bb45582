// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// proxyLimit bounds the way to a proxy and through it: TCP, TLS and CONNECT. It is
	// less than what a client gives a whole connect, so that the proxy is named.
	proxyLimit = 8 * time.Second
	// maxProxyAnswer bounds the head of a proxy's answer, in bytes.
	maxProxyAnswer = 64 << 10
)

// How the way through a proxy ends.
var (
	ErrProxy     = errors.New("proxy")
	ErrProxyAuth = errors.New("proxy asks for a user and password")
)

// tunnel dials through an HTTP proxy with CONNECT.
type tunnel struct {
	direct  func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy   string      // host and port
	tls     *tls.Config // nil for a proxy of scheme http
	connect http.Header
}

// tunnel is the one for t, whose own way of dialling and TLS it takes over.
func (n *Network) tunnel(t *http.Transport) *tunnel {
	p := n.set.Proxy
	tn := &tunnel{direct: t.DialContext, proxy: hostPort(p), connect: make(http.Header)}
	if tn.direct == nil {
		tn.direct = new(net.Dialer).DialContext
	}
	if p.Scheme == "https" {
		tn.tls = n.proxyTLS(t.TLSClientConfig)
	}
	tn.connect.Set("User-Agent", "") // net/http's own name is left out
	if p.User != nil {
		password, _ := p.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(p.User.Username() + ":" + password))
		tn.connect.Set("Proxy-Authorization", "Basic "+basic)
	}
	return tn
}

// proxyTLS is the TLS configuration for the proxy itself. Where the server has TLS too,
// the name and the client's certificate in it are meant for the server.
func (n *Network) proxyTLS(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.NextProtos = nil
	if n.set.Secure() {
		cfg.ServerName = ""
		cfg.Certificates, cfg.GetClientCertificate = nil, nil
	}
	cfg.ServerName = cmp.Or(cfg.ServerName, n.set.Proxy.Hostname())
	return cfg
}

// hostPort is where p listens.
func hostPort(p *url.URL) string {
	port := cmp.Or(p.Port(), map[string]string{"http": "80", "https": "443"}[p.Scheme])
	return net.JoinHostPort(p.Hostname(), port)
}

// dial makes a connection to addr that leads through the proxy.
func (t *tunnel) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyLimit)
	defer cancel()
	conn, err := t.direct(ctx, network, t.proxy)
	if err != nil {
		return nil, t.failed("cannot be reached", err)
	}
	through, err := t.open(ctx, conn, addr)
	if err != nil {
		_ = conn.Close() // of no use any more
		return nil, err
	}
	return through, nil
}

// open makes conn, which ends at the proxy, end at addr.
func (t *tunnel) open(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	if t.tls != nil {
		secure := tls.Client(conn, t.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, t.failed("TLS handshake", err)
		}
		conn = secure
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := t.ask(conn, addr)
	if !stop() { // the deadline is, or is about to be, in the past
		return nil, t.failed("does not answer CONNECT", context.Cause(ctx))
	}
	return conn, err
}

// ask asks for the tunnel.
func (t *tunnel) ask(conn net.Conn, addr string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: t.connect}
	if err := req.Write(conn); err != nil {
		return t.failed("CONNECT", err)
	}
	// The server says nothing unasked, so the reader is empty when the answer has ended.
	r := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return t.failed("CONNECT", err)
	}
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: %s answered 407", ErrProxyAuth, t.proxy)
	case resp.StatusCode != http.StatusOK:
		return t.failed("CONNECT", fmt.Errorf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	case r.Buffered() > 0:
		return t.failed("CONNECT", errors.New("sent more than its answer"))
	}
	return nil
}

func (t *tunnel) failed(at string, err error) error {
	return fmt.Errorf("%w %s: %s: %w", ErrProxy, t.proxy, at, err)
}
