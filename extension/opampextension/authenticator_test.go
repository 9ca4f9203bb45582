// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// canary is a secret that must show nowhere.
const canary = "canary-5f1e"

// bothTransports and their schemes.
var bothTransports = []string{"ws", "http"}

// sigV4 is an authenticator that signs as AWS's does: method, path, query, the headers
// as they are sent, and the body.
type sigV4 struct {
	component.StartFunc
	component.ShutdownFunc
}

func (sigV4) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		var body []byte
		if r.Body != nil {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		if body == nil {
			r.Body = nil
		}
		var names []string
		for name, values := range r.Header {
			if len(values) > 0 {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		r.Header.Set("Authorization", strings.Join(names, ";")+" "+signature(r, names, body))
		return base.RoundTrip(r)
	}), nil
}

// signature is over all that a request is. A host is what the request is for.
func signature(r *http.Request, names []string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(canary))
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n", r.Method, host, r.URL.Path, r.URL.RawQuery)
	for _, name := range names {
		fmt.Fprintf(mac, "%s:%s\n", name, strings.Join(r.Header[name], ","))
	}
	fmt.Fprintf(mac, "%x", sha256.Sum256(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// signed checks a request's signature and says which headers it covers.
func signed(t *testing.T, r *http.Request) []string {
	body, err := io.ReadAll(r.Body)
	assert.NoError(t, err)
	r.Body = io.NopCloser(bytes.NewReader(body))
	list, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	names := strings.Split(list, ";")
	if len(body) == 0 {
		body = nil
	}
	assert.Equal(t, signature(r, names, body), got, "%s signed %v of %v", r.Method, names, r.Header)
	return names
}

func TestASigningAuthenticatorSignsWhatIsSent(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			covered := make(chan []string, 100)
			server := opamptest.NewServer(t, opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
				covered <- signed(t, r)
				return false
			}})
			cfg := configFor(server.URL(scheme).String()+"?tenant=7", func(c *Config) {
				c.Server.endpoint().Headers = map[string]configopaque.String{"X-Tenant": "shop"}
				c.AgentDescription.NonIdentifyingAttributes = map[string]string{"note": strings.Repeat("long ", 500)}
			})
			connect(t, cfg, sigV4{})
			require.NotNil(t, server.Next(t).AgentDescription)
			want := []string{"Opamp-Instance-Uid", "X-Tenant", "User-Agent"}
			if scheme == "http" {
				want = append(want, "Content-Type", "Content-Encoding", "Accept-Encoding")
			} else {
				want = append(want, "Sec-Websocket-Key", "Upgrade")
			}
			require.Subset(t, <-covered, want)
			if scheme == "ws" {
				server.HangUp()
			}
			server.Next(t)
			<-covered // and the next one is signed anew
		})
	}
}

// oauth is an authenticator with a token that expires. A fresh one is fetched when the
// next request needs it.
type oauth struct {
	component.StartFunc
	component.ShutdownFunc
	fetched atomic.Int64
	expired atomic.Bool
}

func newOAuth() *oauth {
	o := &oauth{}
	o.expired.Store(true)
	return o
}

func (o *oauth) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if o.expired.Swap(false) {
			o.fetched.Add(1)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", fmt.Sprintf("Bearer token-%d", o.fetched.Load()))
		return base.RoundTrip(r)
	}), nil
}

func TestATokenThatExpiresIsFreshInTheNextAttempt(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			var valid atomic.Value
			valid.Store("Bearer token-1")
			server := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Authorization") == valid.Load() {
					return false
				}
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}})
			auth := newOAuth()
			l := connect(t, configFor(server.URL(scheme).String()), auth)
			require.NotNil(t, server.Next(t).AgentDescription)

			// Expired, and noticed: no attempt is lost.
			auth.expired.Store(true)
			valid.Store("Bearer token-2")
			server.HangUp()
			server.NextWith(t, func(h opamptest.Heard) bool { return h.Header.Get("Authorization") == "Bearer token-2" })

			// Revoked, and not noticed: refused until there is another one.
			refusals := func() int64 {
				return counted(l.telemetry, "otelcol_opamp_disconnects", "reason", "unauthorized")
			}
			before := refusals()
			valid.Store("Bearer token-3")
			server.HangUp()
			if scheme == "ws" {
				l.result(t, "unauthorized")
			} else {
				require.Eventually(t, func() bool { return refusals() > before }, patience, time.Millisecond)
			}
			server.Rest()
			auth.expired.Store(true)
			back := server.Next(t)
			require.NotNil(t, back.AgentDescription, "nothing is lost by a 401")
			require.NotNil(t, back.EffectiveConfig)
			require.NotContains(t, l.log.String(), "token-")
		})
	}
}

// failing is an authenticator that cannot do what it is for.
type failing struct {
	component.StartFunc
	component.ShutdownFunc
	err error
}

func (f failing) RoundTripper(http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(*http.Request) (*http.Response, error) { return nil, f.err }), nil
}

// Without credentials nothing is sent; contrib's extension sends unauthenticated.
func TestAnAuthenticatorThatFailsKeepsTheRequestHere(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			var requests atomic.Int64
			server := opamptest.NewServer(t, opamptest.Script{Refuse: func(http.ResponseWriter, *http.Request) bool {
				requests.Add(1)
				return false
			}})
			l := connect(t, configFor(server.URL(scheme).String()), failing{
				err: fmt.Errorf("POST https://idp/?client_secret=%s: %w", canary, errors.New("invalid_client "+canary)),
			})
			l.result(t, "auth")
			require.Zero(t, requests.Load())
			require.Eventually(t, func() bool { return strings.Contains(l.log.String(), `"reason":"auth"`) }, patience, time.Millisecond)
			require.Contains(t, l.log.String(), authID.String(), "it says which one")
			require.NotContains(t, l.log.String(), canary)
			require.NotContains(t, l.client.Status().LastFailure.Error, canary)
		})
	}
}

// An authenticator's error is not blamed on it where the network below it failed.
func TestANetworkThatFailsBelowAnAuthenticatorIsNamed(t *testing.T) {
	for _, scheme := range bothTransports {
		ln := loopback(t)
		require.NoError(t, ln.Close())
		connect(t, configFor(scheme+"://"+ln.Addr().String()), sigV4{}).result(t, "refused")
	}
}

// blocking is an authenticator that looks at no context.
type blocking struct {
	component.StartFunc
	component.ShutdownFunc
	entered chan struct{}
	release chan struct{}
	once    sync.Once
}

func newBlocking(t *testing.T) *blocking {
	b := &blocking{entered: make(chan struct{}), release: make(chan struct{})}
	t.Cleanup(func() { close(b.release) })
	return b
}

func (b *blocking) RoundTripper(http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(*http.Request) (*http.Response, error) {
		b.once.Do(func() { close(b.entered) })
		<-b.release
		return nil, errors.New("too late")
	}), nil
}

func TestShutdownDoesNotWaitForAnAuthenticator(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			auth := newBlocking(t)
			l := connect(t, configFor(server.URL(scheme).String()), auth)
			<-auth.entered
			took := l.shutdown(t)
			t.Logf("stopped in %s", took)
			require.Less(t, took, patience)
			require.Empty(t, server.Rest())
		})
	}
}
