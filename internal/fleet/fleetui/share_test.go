// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// kitchen makes pages that take a while, each telling how many were made before it.
type kitchen struct {
	*shared
	fleet *fleet.Fleet
	takes time.Duration

	mu   sync.Mutex
	made int
	busy time.Duration
}

func newKitchen(takes time.Duration) *kitchen {
	f := fleet.New(fleet.Settings{})
	slots := make(chan struct{}, maxSearches)
	k := &kitchen{fleet: f, takes: takes}
	k.shared = newShared(f, fleetsearch.New(f), time.Now, func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			slots <- struct{}{}
			defer func() { <-slots }()
			h(w, r)
		}
	})
	return k
}

func (k *kitchen) serve(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	n := k.made
	k.made++
	k.busy += k.takes
	k.mu.Unlock()
	time.Sleep(k.takes)
	fmt.Fprint(w, n)
}

// refresh is what a browser gets for a page that it brings up to date.
func (k *kitchen) refresh(ctx context.Context, address string, told fleet.Position) string {
	r := httptest.NewRequest(http.MethodGet, address, http.NoBody).WithContext(ctx)
	r.Header.Set(headerRefresh, address)
	r.Header.Set(headerTold, told.String())
	return k.ask(r)
}

func (k *kitchen) ask(r *http.Request) string {
	w := httptest.NewRecorder()
	k.sharing(k.serve)(w, r)
	if w.Code != http.StatusOK {
		return http.StatusText(w.Code)
	}
	return w.Body.String()
}

// TestWhatSomebodyDidNotWaitForIsSharedWithNobody for it may lack what could not be read any more.
func TestWhatSomebodyDidNotWaitForIsSharedWithNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(100 * time.Millisecond)
		told := k.change(1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		assert.Equal(t, "0", k.refresh(ctx, "/agents", told))
		assert.Equal(t, "1", k.refresh(t.Context(), "/agents", told))
	})
}

func (k *kitchen) change(n byte) fleet.Position {
	k.fleet.Report(conn(n), report(n, "name", "host", "StatusOK", ""), uiNow)
	return k.fleet.Position()
}

func TestBrowsersShareWhatBringsThemUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(50 * time.Millisecond)
		told := k.change(1)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { assert.Equal(t, "0", k.refresh(t.Context(), "/", told)) })
		}
		all.Wait()
		assert.Equal(t, 1, k.made)

		// Who was told of something newer is not given what was made before it.
		newer := k.change(2)
		assert.Equal(t, "1", k.refresh(t.Context(), "/", newer))
		assert.Equal(t, "1", k.refresh(t.Context(), "/", told), "and who was not may have it")
		// What is as new as can be is of its time all the same.
		time.Sleep(shareFor)
		assert.Equal(t, "2", k.refresh(t.Context(), "/", newer))
		// Who names no moment, or one of another fleet, means now.
		for i, p := range []fleet.Position{{}, {Epoch: "other", Version: 1}, {Epoch: newer.Epoch, Version: 99}} {
			k.change(byte(3 + i))
			assert.Equal(t, fmt.Sprint(3+i), k.refresh(t.Context(), "/", p))
		}
	})
}

func TestWhoGoesToAPageGetsItMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(50 * time.Millisecond)
		began := time.Now()
		for i := range 3 {
			assert.Equal(t, fmt.Sprint(i), k.ask(httptest.NewRequest(http.MethodGet, "/", http.NoBody)))
		}
		assert.Equal(t, 3*k.takes, time.Since(began), "without a rest")
		assert.Equal(t, "2", k.refresh(t.Context(), "/", k.fleet.Position()), "others may share it")
		assert.Equal(t, "Service Unavailable", k.refresh(canceled(t), "/other", k.fleet.Position()))
	})
}

func TestWhatBrowsersFollowTakesAQuarterOfACoreAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(200 * time.Millisecond)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				for ctx.Err() == nil {
					k.refresh(ctx, fmt.Sprint("/", i), k.fleet.Position())
					time.Sleep(time.Second) // as a browser does
				}
			})
		}
		all.Wait()
		assert.LessOrEqual(t, k.busy, time.Minute/(1+restFor)+k.takes)
		assert.GreaterOrEqual(t, k.busy, time.Minute/(1+restFor)-k.takes)
		assert.GreaterOrEqual(t, k.made, 3*20, "each in turn")
	})
}

// Who asks for many pages at once delays somebody else by one of them, and is refused beyond a bound.
func TestWhoAsksForMuchDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 100 * time.Millisecond
		k := newKitchen(takes)
		greedy, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var refused atomic.Int64
		from := func(peer, address string) *http.Request {
			r := httptest.NewRequest(http.MethodGet, address, http.NoBody)
			r.RemoteAddr = peer
			r.Header.Set(headerRefresh, address)
			return r
		}
		for i := range 2 * maxWaiting {
			all.Go(func() {
				if k.ask(from("192.0.2.1:4000", fmt.Sprint("/", i)).WithContext(greedy)) == "Service Unavailable" {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		assert.EqualValues(t, maxWaiting, refused.Load())
		began := time.Now()
		assert.NotEqual(t, "Service Unavailable", k.ask(from("192.0.2.2:4000", "/")))
		assert.LessOrEqual(t, time.Since(began), 3*(1+restFor)*takes)
		stop()
		all.Wait()
		assert.Empty(t, k.lines)
	})
}

func TestSharedPagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(0)
		for i := range 3 * maxShared {
			k.ask(httptest.NewRequest(http.MethodGet, fmt.Sprint("/", i), http.NoBody))
		}
		assert.LessOrEqual(t, len(k.pages), maxShared)
		big := make([]byte, maxSharedBytes/4)
		for i := range 20 {
			k.sharing(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(big) })(
				httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprint("/big", i), http.NoBody))
		}
		assert.LessOrEqual(t, k.bytes, maxSharedBytes+2*len(big))
		time.Sleep(shareFor)
		k.ask(httptest.NewRequest(http.MethodGet, "/last", http.NoBody))
		assert.Len(t, k.pages, 1)
		assert.Less(t, k.bytes, 16)
	})
}

func TestASharedPageIsSentAsEachClientTakesIt(t *testing.T) {
	u := newPlantedUI(t)
	r := func(encoding string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/agents", http.NoBody)
		r.Header.Set(headerRefresh, "/agents")
		r.Header.Set("Accept-Encoding", encoding)
		return r
	}
	plain, zipped, again := httptest.NewRecorder(), httptest.NewRecorder(), httptest.NewRecorder()
	u.ServeHTTP(plain, r(""))
	u.ServeHTTP(zipped, r("gzip"))
	u.ServeHTTP(again, r("gzip"))
	require.Equal(t, http.StatusOK, plain.Code)
	assert.Empty(t, plain.Header().Get("Content-Encoding"))
	assert.Equal(t, "gzip", zipped.Header().Get("Content-Encoding"))
	assert.Equal(t, zipped.Body.String(), again.Body.String())
	assert.Equal(t, plain.Header().Get("Content-Security-Policy"), zipped.Header().Get("Content-Security-Policy"))
	z, err := gzip.NewReader(zipped.Body)
	require.NoError(t, err)
	body, err := io.ReadAll(z)
	require.NoError(t, err)
	assert.Equal(t, plain.Body.String(), string(body))
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
