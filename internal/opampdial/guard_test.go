// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const canary = "canary-5f1e"

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body notes that it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func guarded(t *testing.T, base http.RoundTripper, auth func(base http.RoundTripper) roundTrip) http.RoundTripper {
	t.Helper()
	g, err := Guard("oauth2/opamp", func(base http.RoundTripper) (http.RoundTripper, error) { return auth(base), nil }, base)
	require.NoError(t, err)
	return g
}

func request(ctx context.Context, t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://h/", nil)
	require.NoError(t, err)
	return r
}

// retrieveError is an error with a type of its own, as authenticators have.
type retrieveError struct{ words string }

func (e *retrieveError) Error() string { return e.words }

func TestGuardSaysWhoseFaultItIs(t *testing.T) {
	ok := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
	})
	refused := roundTrip(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED) })
	tests := map[string]struct {
		base roundTrip
		auth func(base http.RoundTripper) roundTrip
		want error // nil: none
		says string
	}{
		"all is well": {ok, func(base http.RoundTripper) roundTrip { return base.RoundTrip }, nil, ""},
		"before the request": {ok, func(http.RoundTripper) roundTrip {
			return func(*http.Request) (*http.Response, error) { return nil, errors.New(canary) }
		}, ErrAuth, `authenticator "oauth2/opamp" failed; what`},
		"an error of a type": {ok, func(http.RoundTripper) roundTrip {
			return func(*http.Request) (*http.Response, error) {
				return nil, fmt.Errorf("%s: %w", canary, &retrieveError{canary})
			}
		}, ErrAuth, "(*opampdial.retrieveError)"},
		"after a request that went well": {ok, func(base http.RoundTripper) roundTrip {
			return func(r *http.Request) (*http.Response, error) {
				resp, err := base.RoundTrip(r)
				if err != nil {
					return nil, err
				}
				return nil, errors.Join(resp.Body.Close(), errors.New(canary))
			}
		}, ErrAuth, ""},
		"the network": {refused, func(base http.RoundTripper) roundTrip { return base.RoundTrip }, syscall.ECONNREFUSED, "dial"},
		"the network, in the authenticator's words": {refused, func(base http.RoundTripper) roundTrip {
			return func(r *http.Request) (*http.Response, error) {
				_, err := base.RoundTrip(r.Clone(r.Context())) //nolint:bodyclose // there is none
				return nil, fmt.Errorf("%s: %w", canary, err)
			}
		}, syscall.ECONNREFUSED, "dial"},
		"a token's own request": {refused, func(base http.RoundTripper) roundTrip {
			return func(*http.Request) (*http.Response, error) {
				_, err := base.RoundTrip(request(t.Context(), t)) //nolint:bodyclose // there is none
				return nil, fmt.Errorf("%s: %w", canary, err)
			}
		}, ErrAuth, "(syscall.Errno)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp, err := guarded(t, tt.base, tt.auth).RoundTrip(request(t.Context(), t))
			if tt.want == nil {
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.Equal(t, tt.want == ErrAuth, errors.Is(err, ErrAuth)) //nolint:errorlint // the row says which
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), canary)
		})
	}
}

func TestGuardLeavesWhoDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var late [maxAbandoned]body
		var calls atomic.Int32
		g := guarded(t, nil, func(http.RoundTripper) roundTrip {
			return func(*http.Request) (*http.Response, error) {
				n := calls.Add(1) - 1
				<-release
				if n < maxAbandoned {
					return &http.Response{Body: &late[n]}, nil
				}
				return &http.Response{Body: http.NoBody}, nil
			}
		})
		for range maxAbandoned {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			_, err := g.RoundTrip(request(ctx, t)) //nolint:bodyclose // there is none
			cancel()
			require.ErrorIs(t, err, ErrAuth)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(start), "a request ends with its context")
		}
		_, err := g.RoundTrip(request(t.Context(), t)) //nolint:bodyclose // there is none
		require.ErrorIs(t, err, ErrAuth)
		require.ErrorContains(t, err, "never come back")

		close(release)
		synctest.Wait()
		for i := range late {
			assert.True(t, late[i].closed, "nobody else would")
		}
		resp, err := g.RoundTrip(request(t.Context(), t))
		require.NoError(t, err, "they are back")
		require.NoError(t, resp.Body.Close())
	})
}

func TestGuardTellsAShutdownFromAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		g := guarded(t, nil, func(http.RoundTripper) roundTrip {
			return func(*http.Request) (*http.Response, error) {
				<-release
				return nil, errors.New("too late")
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := g.RoundTrip(request(ctx, t)) //nolint:bodyclose // there is none
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrAuth)
	})
}

func TestGuardOfAnAuthenticatorThatCannotBeMade(t *testing.T) {
	broken := errors.New("broken")
	_, err := Guard("x", func(http.RoundTripper) (http.RoundTripper, error) { return nil, broken }, nil)
	require.ErrorIs(t, err, broken)
}
