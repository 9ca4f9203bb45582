// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// viaProxy is a network whose proxy does as behave says, in a bubble.
func viaProxy(t *testing.T, endpoint string, behave func(c net.Conn)) *Network {
	t.Helper()
	pipe := opamptest.NewPipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := pipe.Accept()
			if err != nil {
				return
			}
			behave(c)
			_ = c.Close()
		}
	}()
	u, err := url.Parse(endpoint)
	require.NoError(t, err)
	n, err := New(Settings{
		Endpoint: u,
		Proxy:    &url.URL{Scheme: "http", Host: "proxy", User: url.UserPassword("fleet", canary)},
	}, &http.Transport{DialContext: pipe.Dial})
	require.NoError(t, err)
	t.Cleanup(func() {
		n.CloseIdleConnections()
		_ = pipe.Close()
		<-done
	})
	return n
}

func TestProxyThatFails(t *testing.T) {
	answers := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := http.ReadRequest(bufio.NewReader(c))
			assert.NoError(t, err)
			_, _ = io.WriteString(c, text)
		}
	}
	tests := map[string]struct {
		behave func(net.Conn)
		want   error
		says   string
		after  time.Duration
	}{
		"hangs": {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, ErrProxy, "does not answer CONNECT", proxyLimit},
		"trickles": {func(c net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			for {
				if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nX: "[:1])); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, ErrProxy, "does not answer CONNECT", proxyLimit},
		"hangs up":         {answers(""), ErrProxy, "CONNECT", 0},
		"is no proxy":      {answers("hello\r\n\r\n"), ErrProxy, "CONNECT", 0},
		"407":              {answers("HTTP/1.1 407 Go away " + canary + "\r\n\r\n"), ErrProxyAuth, "answered 407", 0},
		"500":              {answers("HTTP/1.1 500 " + canary + "\r\n\r\n"), ErrProxy, "answered 500 Internal Server Error", 0},
		"says too much":    {answers("HTTP/1.1 200 OK\r\n\r\nand more"), ErrProxy, "more than its answer", 0},
		"a head too large": {answers("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxProxyAnswer)), ErrProxy, "CONNECT", 0},
	}
	for name, tt := range tests {
		for _, scheme := range []string{"ws", "wss", "https"} {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := viaProxy(t, scheme+"://server", tt.behave)
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, map[string]string{
						"ws": "http://server", "wss": "https://server", "https": "https://server",
					}[scheme], nil)
					require.NoError(t, err)
					start := time.Now()
					_, err = n.RoundTrip(r) //nolint:bodyclose // there is none
					assert.Equal(t, tt.after, time.Since(start))
					require.ErrorIs(t, err, tt.want)
					require.ErrorContains(t, err, tt.says)
					require.NotContains(t, err.Error(), canary)
				})
			})
		}
	}
}

func TestTunnelAsksForTheServerAndSaysWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := viaProxy(t, "ws://server:4320", func(c net.Conn) {
			r := bufio.NewReader(c)
			req, err := http.ReadRequest(r)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, "CONNECT server:4320", req.Method+" "+req.RequestURI)
			user, password, _ := basicOf(req.Header.Get("Proxy-Authorization"))
			assert.Equal(t, []string{"fleet", canary}, []string{user, password})
			assert.Len(t, req.Header, 1, "nothing else is the proxy's business: %v", req.Header)
			_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			req, err = http.ReadRequest(r)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, "GET /v1/opamp", req.Method+" "+req.RequestURI)
			assert.Empty(t, req.Header.Get("Proxy-Authorization"))
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server:4320/v1/opamp", nil)
		require.NoError(t, err)
		resp, err := n.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	})
}

func basicOf(header string) (user, password string, ok bool) {
	return (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
}
