// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// maxAbandoned bounds the requests that an authenticator may fail to return.
const maxAbandoned = 4

// ErrAuth says that an authenticator failed before or after the request was made, and
// that it is not for the network to blame.
var ErrAuth = errors.New("authenticator")

// Guard puts the authenticator that wrap makes on top of base. Whatever it does,
//
//   - a request for which it fails is not sent without it, and the error is an
//     [ErrAuth] unless the network below it is what failed;
//   - that error does not repeat the authenticator's words, which may hold a secret;
//   - a request ends with its context. An authenticator that goes on regardless is left
//     to itself, and when four are out, no more requests are made until one is back.
func Guard(name string, wrap func(base http.RoundTripper) (http.RoundTripper, error), base http.RoundTripper) (http.RoundTripper, error) {
	auth, err := wrap(witness{base})
	if err != nil {
		return nil, err
	}
	return &guard{name: name, auth: auth, out: make(chan struct{}, maxAbandoned)}, nil
}

// guard is an authenticator that is watched.
type guard struct {
	// Fixed at construction.
	name string
	auth http.RoundTripper
	out  chan struct{} // holds one for each request that has not come back
}

// outcome is what came back.
type outcome struct {
	resp *http.Response
	err  error
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case g.out <- struct{}{}:
	default:
		return nil, fmt.Errorf("%w %q: %d requests have never come back from it", ErrAuth, g.name, maxAbandoned)
	}
	t := new(testimony)
	ctx := r.Context()
	r = r.WithContext(context.WithValue(ctx, testimonyKey{}, t))
	back := make(chan outcome)
	go g.pass(ctx, r, back)
	select {
	case o := <-back:
		return o.resp, g.judge(o.err, t)
	case <-ctx.Done():
		return nil, g.overdue(ctx, t)
	}
}

// pass lets the authenticator make the request. It ends when the authenticator returns,
// which is after its request has ended if it does not look at the context.
func (g *guard) pass(ctx context.Context, r *http.Request, back chan<- outcome) {
	defer func() { <-g.out }()
	var o outcome
	o.resp, o.err = g.auth.RoundTrip(r)
	select {
	case back <- o:
	case <-ctx.Done():
		if o.resp != nil {
			_ = o.resp.Body.Close() // nobody reads it
		}
	}
}

// judge says whose fault err is.
func (g *guard) judge(err error, t *testimony) error {
	if err == nil {
		return nil
	}
	if network := t.last(); network != nil {
		return network
	}
	return fmt.Errorf("%w %q failed%s; what it says is not repeated, it may hold a credential", ErrAuth, g.name, kind(err))
}

// overdue is the error of a request that has not come back in time.
func (g *guard) overdue(ctx context.Context, t *testimony) error {
	err := context.Cause(ctx)
	if t.called.Load() || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w %q: has not returned: %w", ErrAuth, g.name, err)
}

// kind is what may be said of an error whose text may not: its type, if that says
// anything.
func kind(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	name := fmt.Sprintf("%T", err)
	if strings.HasPrefix(name, "*errors.") || strings.HasPrefix(name, "*fmt.") {
		return ""
	}
	return " (" + name + ")"
}

// testimony is what the network has seen of one request.
type testimony struct {
	called atomic.Bool
	failed atomic.Pointer[error] // of the last call; nil if it went well
}

type testimonyKey struct{}

// last is the error of the last call, nil if there was none.
func (t *testimony) last() error {
	if err := t.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// witness is the network below an authenticator, which notes what becomes of requests.
type witness struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	t, ok := r.Context().Value(testimonyKey{}).(*testimony)
	if !ok { // a request of the authenticator's own
		return w.base.RoundTrip(r)
	}
	t.called.Store(true)
	resp, err := w.base.RoundTrip(r)
	t.failed.Store(nil)
	if err != nil {
		t.failed.Store(&err)
	}
	return resp, err
}
