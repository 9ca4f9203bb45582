// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

const (
	stillGoneLine = "Still no OpAMP server"
	backLine      = "The OpAMP server answers again"
	// canary stands for a credential, and must not be in any log.
	canary = "s3cret-canary"
)

// outage is a server that is of no use, until it is mended.
type outage struct {
	address string
	tls     string // what stands below `tls:`
	mend    func()
}

func TestServerOutage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		begin   func(t *testing.T) outage
		secure  bool
		reason  string
		retries int // how many more attempts may not add a line
	}{
		{name: "nobody listens", begin: nobodyListens, reason: "refused", retries: 2},
		{name: "401", begin: unauthorized, reason: "unauthorized", retries: 2},
		{name: "unknown authority", begin: unknownAuthority, secure: true, reason: "tls", retries: 2},
		{name: "hangs", begin: hangs, reason: "timeout"},
	}
	for _, tt := range tests {
		for _, transport := range []string{"ws", "http"} {
			t.Run(tt.name+" over "+transport, func(t *testing.T) {
				t.Parallel()
				server := tt.begin(t)
				c := startCollector(t, distribution(t), outageConfig(transport, tt.secure, server))

				c.waitReady(t, 1)
				t.Logf("ready after %v", time.Since(c.began).Round(time.Millisecond))
				lost := c.waitLines(t, 1, "the server is lost", warning)[0]
				assert.Equal(t, tt.reason, lost.Reason)
				assert.NotEmpty(t, lost.Error, "the cause")
				c.waitLines(t, tt.retries, "more attempts", saying(stillGoneLine))

				server.mend()
				c.waitLines(t, 1, "the server is back", saying(backLine))
				c.stop(t)

				assert.Len(t, c.matching(warning), 1, "one warning an outage")
				assert.Len(t, c.matching(saying(backLine)), 1, "one line on recovery")
				assert.NotContains(t, c.text(), canary)
			})
		}
	}
}

func TestStopsWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 64)
			server := hangsAnd(t, func() { arrived <- struct{}{} })
			c := startCollector(t, distribution(t), outageConfig(transport, false, server))
			c.waitReady(t, 1)
			select {
			case <-arrived:
			case <-time.After(patience):
				require.Fail(t, "the collector does not dial")
			}
			t.Logf("stopped after %v", c.stop(t).Round(time.Millisecond))
		})
	}
}

func outageConfig(transport string, secure bool, server outage) string {
	scheme := transport
	if secure {
		scheme += "s"
	}
	return agentConfig(fmt.Sprintf(`
    server:
      %s:
        endpoint: %s://%s%s
        headers: {Authorization: "Bearer %s"}
        tls: {%s}`, transport, scheme, server.address, opamptest.Path, canary, server.tls)) + `
  telemetry: {logs: {level: debug}}
`
}

// warning takes what the extension finds worth a warning, or worse.
func warning(line logLine) bool {
	return line.ID == "opamp" && (line.Level == "warn" || line.Level == "error")
}

func saying(text string) func(logLine) bool {
	return func(line logLine) bool { return strings.Contains(line.Text, text) }
}

func nobodyListens(t *testing.T) outage {
	t.Helper()
	address := freeAddress(t)
	return outage{address: address, mend: func() { opamptest.Serve(t, listen(t, address), opamptest.Script{}) }}
}

func unauthorized(t *testing.T) outage {
	t.Helper()
	var open atomic.Bool
	server := opamptest.NewServer(t, opamptest.Script{
		Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			if open.Load() {
				return false
			}
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return true
		},
	})
	return outage{address: server.Addr(), mend: func() { open.Store(true) }}
}

// unknownAuthority has a certificate of an authority that the agent was not told of, then one of
// the right authority.
func unknownAuthority(t *testing.T) outage {
	t.Helper()
	right, wrong := newAuthority(t), newAuthority(t)
	var cert atomic.Pointer[tls.Certificate]
	cert.Store(wrong.issue(t))
	ln := tls.NewListener(listen(t, "127.0.0.1:0"), &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Load(), nil },
	})
	server := opamptest.Serve(t, ln, opamptest.Script{})
	return outage{
		address: server.Addr(),
		tls:     "ca_file: " + writeFile(t, t.TempDir(), "ca.pem", right.PEM),
		mend:    func() { cert.Store(right.issue(t)) },
	}
}

func hangs(t *testing.T) outage {
	t.Helper()
	return hangsAnd(t, func() {})
}

// hangsAnd takes connections and answers none; arrived is called for each request.
func hangsAnd(t *testing.T, arrived func()) outage {
	t.Helper()
	mended := make(chan struct{})
	server := opamptest.NewServer(t, opamptest.Script{
		Refuse: func(w http.ResponseWriter, r *http.Request) bool {
			arrived()
			select {
			case <-mended:
				return false
			default:
			}
			return hang(w, r)
		},
	})
	return outage{address: server.Addr(), mend: sync.OnceFunc(func() { close(mended) })}
}

// hang keeps the connection of a request open without a word until the other side gives up.
func hang(w http.ResponseWriter, _ *http.Request) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return true
	}
	defer conn.Close()
	_, _ = conn.Read(make([]byte, 1<<16)) // the body, if there is one
	_, _ = conn.Read(make([]byte, 1))
	return true
}
