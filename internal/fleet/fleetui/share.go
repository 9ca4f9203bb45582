// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// Pages that look at all agents are the same for everybody. A browser that brings its page up to date is given one that
// was made a moment ago, if that is as new as what the browser was told of, and waits for one that is being made. So
// twenty browsers on one page cost what one does. Who goes to a page gets it made.
const (
	// shareFor is how long a page may be handed out: it tells times, and asks for ages.
	shareFor = time.Second
	// maxShared and maxSharedBytes bound the pages that are kept.
	maxShared      = 64
	maxSharedBytes = 8 << 20
)

// restFor is how many times as long as it took to make a page for a browser that follows the fleet no other is made for
// one: all of those together have a quarter of a core. People who go to a page don't wait for that.
const restFor = 3

// maxWaiting bounds how many requests of one address may wait for a page that is brought up to date.
const maxWaiting = 64

// Headers of a request of app.js that brings a page up to date: where it is, and what the event stream told last.
const (
	headerRefresh = "Fleetview-Refresh"
	headerTold    = "Fleetview-Told"
)

// shared are the pages of late. It is safe for concurrent use.
type shared struct {
	// Fixed at construction.
	fleet *fleet.Fleet
	index *fleetsearch.Index
	now   func() time.Time
	slot  func(http.HandlerFunc) http.HandlerFunc // waits for leave to look at all agents
	turn  chan struct{}                           // full while a page is brought up to date

	mu    sync.Mutex
	pages map[string]*answer  // guarded by mu; by address
	bytes int                 // guarded by mu; of all their bodies
	lines map[string]*waiters // guarded by mu; by the address of those who wait

	rested time.Time // when the next may be brought up to date; owned by who has the turn
}

// waiters are the requests of one address, which wait for each other. The first of each address waits for shared.turn, so who asks
// for much delays others by one page.
type waiters struct {
	turn    chan struct{} // full while its first is served
	waiting int           // guarded by shared.mu; who is served included
}

// answer is a page. It does not change.
type answer struct {
	position fleet.Position // it is at least as new as this
	rounds   uint64         // of the index: it may lack configs that were read since
	made     time.Time
	status   int
	header   http.Header
	body     []byte

	zip    sync.Once
	zipped []byte
}

func newShared(f *fleet.Fleet, index *fleetsearch.Index, now func() time.Time, slot func(http.HandlerFunc) http.HandlerFunc) *shared {
	return &shared{fleet: f, index: index, now: now, slot: slot, turn: make(chan struct{}, 1), pages: map[string]*answer{}, lines: map[string]*waiters{}}
}

// sharing hands out what h answers. The answer must depend on the address and the fleet alone.
func (s *shared) sharing(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			s.slot(h)(w, r)
			return
		}
		a := s.answer(r, h)
		if a == nil {
			http.Error(w, "the browser did not wait, or there are too many of them at one address", http.StatusServiceUnavailable)
			return
		}
		a.send(w, r)
	}
}

// answer is nil if the client is gone, or too many wait.
func (s *shared) answer(r *http.Request, h http.HandlerFunc) *answer {
	if r.Header.Get(headerRefresh) == "" {
		a, _ := s.make(r, h)
		return a
	}
	known := s.knownTo(r)
	if a := s.find(r, known); a != nil {
		return a
	}
	leave, ok := s.queue(r)
	if !ok {
		return nil
	}
	defer leave()
	if a := s.find(r, known); a != nil { // somebody before us wanted the same
		return a
	}
	if !sleep(r.Context(), time.Until(s.rested)) {
		return nil
	}
	a, took := s.make(r, h)
	s.rested = time.Now().Add(restFor * took)
	return a
}

// queue returns when it is the turn of a request, with what ends that.
func (s *shared) queue(r *http.Request) (leave func(), ok bool) {
	l, out := s.lineOf(r)
	if l == nil {
		return nil, false
	}
	if !enter(r.Context(), l.turn) {
		out()
		return nil, false
	}
	if !enter(r.Context(), s.turn) {
		<-l.turn
		out()
		return nil, false
	}
	return func() {
		<-s.turn
		<-l.turn
		out()
	}, true
}

func enter(ctx context.Context, turn chan struct{}) bool {
	select {
	case turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// lineOf is where a request has to wait, and what takes it out of there; nil if there is no room.
func (s *shared) lineOf(r *http.Request) (l *waiters, out func()) {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l = s.lines[peer]; l == nil {
		l = &waiters{turn: make(chan struct{}, 1)}
		s.lines[peer] = l
	}
	if l.waiting >= maxWaiting {
		return nil, nil
	}
	l.waiting++
	return l, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.waiting--; l.waiting == 0 {
			delete(s.lines, peer)
		}
	}
}

// knownTo is what a client has been told of: nothing older may be shown to it. To who doesn't say that is what is true
// now.
func (s *shared) knownTo(r *http.Request) fleet.Position {
	now := s.fleet.Position()
	told, err := fleet.ParsePosition(r.Header.Get(headerTold))
	if err != nil || told.Epoch != now.Epoch || told.Version > now.Version {
		return now
	}
	return told
}

// sleep reports whether it was not woken before.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// find is a page of late that is new enough, or nil.
func (s *shared) find(r *http.Request, known fleet.Position) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.pages[r.URL.RequestURI()]
	if a == nil || !s.freshLocked(a) || a.rounds != s.index.Rounds() || a.position.Epoch != known.Epoch || a.position.Version < known.Version {
		return nil
	}
	return a
}

func (s *shared) freshLocked(a *answer) bool {
	age := s.now().Sub(a.made)
	return age >= 0 && age < shareFor
}

// make has h answer, keeps what can be handed out, and says how long it took.
func (s *shared) make(r *http.Request, h http.HandlerFunc) (a *answer, took time.Duration) {
	a = &answer{header: http.Header{}}
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding") // each client gets it as it can take it
	s.slot(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		a.position, a.rounds, a.made = s.fleet.Position(), s.index.Rounds(), s.now()
		h(w, r)
		took = time.Since(began)
	})((*recorder)(a), plain)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.status < http.StatusInternalServerError && r.Context().Err() == nil { // what was cut short may lack something
		s.keep(r.URL.RequestURI(), a)
	}
	return a, took
}

// keep puts a page among the shared ones, in the place of those that nobody may be given any more.
func (s *shared) keep(address string, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(address)
	for other, old := range s.pages {
		if !s.freshLocked(old) || len(s.pages) >= maxShared || s.bytes > maxSharedBytes {
			s.dropLocked(other)
		}
	}
	s.pages[address] = a
	s.bytes += len(a.body)
}

func (s *shared) dropLocked(address string) {
	if old := s.pages[address]; old != nil {
		s.bytes -= len(old.body)
		delete(s.pages, address)
	}
}

// recorder writes an answer down.
type recorder answer

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	r.body = append(r.body, b...)
	return len(b), nil
}

// send gives the page to one client.
func (a *answer) send(w http.ResponseWriter, r *http.Request) {
	for name, values := range a.header {
		if name != "Vary" { // send says it
			w.Header()[name] = values
		}
	}
	var zipped []byte
	if takesGzip(r) && len(a.body) >= leastZipped {
		a.zip.Do(func() { a.zipped = zip(a.body) })
		zipped = a.zipped
	}
	send(w, r, a.status, a.body, zipped)
}
