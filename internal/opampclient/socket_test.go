// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// attempts is an Observer that hands over the result of each connect.
type attempts struct {
	NopObserver
	results chan string
}

func (a attempts) ConnectAttempt(result string) {
	select {
	case a.results <- result:
	default: // the test looks at the first ones only
	}
}

// startOn starts a client for endpoint over real sockets and returns its connects.
func startOn(t *testing.T, endpoint *url.URL, transport *http.Transport) (<-chan string, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	seen := attempts{results: make(chan string, 8)}
	c := New(Settings{
		Endpoint:   endpoint,
		HTTPClient: &http.Client{Transport: transport},
		Logger:     zap.New(core),
		Observer:   seen,
	}, fullReport())
	t.Cleanup(func() {
		c.Stop(t.Context())
		transport.CloseIdleConnections()
	})
	c.Start()
	return seen.results, logs
}

func first(t *testing.T, results <-chan string) string {
	t.Helper()
	select {
	case r := <-results:
		return r
	case <-time.After(time.Minute):
		require.FailNow(t, "no connect was tried")
		return ""
	}
}

func secure(scheme string) string {
	return map[string]string{"ws": "wss", "http": "https"}[scheme]
}

func TestTLS(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			backend := opamptest.NewServer(t, opamptest.Script{})
			front := httptest.NewUnstartedServer(backend)
			front.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes below
			front.StartTLS()
			t.Cleanup(front.Close)
			endpoint := &url.URL{Scheme: secure(scheme), Host: front.Listener.Addr().String(), Path: opamptest.Path}

			pool := x509.NewCertPool()
			pool.AddCert(front.Certificate())
			results, _ := startOn(t, endpoint, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}})
			assert.Equal(t, "ok", first(t, results))
			assert.Equal(t, everything, told(backend.Next(t).AgentToServer))

			results, logs := startOn(t, endpoint, &http.Transport{})
			assert.Equal(t, string(ReasonTLS), first(t, results), "unknown authority: %v", logs.All())

			results, _ = startOn(t, endpoint, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "elsewhere"}})
			assert.Equal(t, string(ReasonTLS), first(t, results), "another host's certificate")

			plain := *endpoint
			plain.Scheme = secure(scheme)
			plain.Host = backend.Addr()
			results, _ = startOn(t, &plain, &http.Transport{})
			assert.Equal(t, string(ReasonTLS), first(t, results), "a server without TLS")
		})
	}
}

func TestNobodyListens(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := ln.Addr().String()
			require.NoError(t, ln.Close())
			results, _ := startOn(t, &url.URL{Scheme: scheme, Host: addr, RawQuery: "token=canary"}, &http.Transport{})
			assert.Equal(t, string(ReasonRefused), first(t, results))
		})
	}
}

func TestLogCarriesNoCredential(t *testing.T) {
	for _, scheme := range bothTransports {
		for _, code := range []int{301, 401, 500} {
			s := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
				// A server that echoes what it got.
				w.Header().Set("Location", "http://elsewhere/?"+r.Header.Get("Authorization"))
				w.WriteHeader(code)
				_, _ = w.Write([]byte(r.Header.Get("Authorization")))
				return true
			}})
			var text bytes.Buffer
			endpoint := s.URL(scheme)
			endpoint.RawQuery = "token=canary-query"
			results, logs := startOn(t, endpoint, &http.Transport{ProxyConnectHeader: nil})
			first(t, results)
			for _, e := range logs.All() {
				text.WriteString(e.Message)
				for _, f := range e.Context {
					if f.Interface != nil {
						text.WriteString(f.Interface.(error).Error())
					}
					text.WriteString(f.String)
				}
			}
			assert.NotContains(t, text.String(), "canary")
		}
	}
}
