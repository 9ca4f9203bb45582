// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
)

// shelf is a store in memory that fails when a test says so.
type shelf struct {
	mu      sync.Mutex
	records map[string][]byte // guarded by mu
	writes  int               // guarded by mu
	fail    error             // guarded by mu: of Apply
	hang    chan struct{}     // what Get waits for, whatever its context; nil is nothing
	panics  bool
	refuse  error // of Open
	unread  error // of Get, but for the index
	closed  int   // guarded by mu
}

func newShelf() *shelf { return &shelf{records: make(map[string][]byte)} }

func (*shelf) Field() zap.Field { return zap.String("storage", "shelf") }

func (s *shelf) Open(context.Context) error {
	if s.panics {
		panic("the file is damaged")
	}
	return s.refuse
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, error) {
	if s.hang != nil {
		<-s.hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != indexKey && s.unread != nil {
		return nil, s.unread
	}
	return s.records[key], nil
}

func (s *shelf) Apply(_ context.Context, set map[string][]byte, remove []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fail != nil {
		return s.fail
	}
	maps.Copy(s.records, set)
	for _, key := range remove {
		delete(s.records, key)
	}
	return nil
}

func (s *shelf) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func (s *shelf) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// kept is how many records there are, and how often there was a write.
func (s *shelf) kept() (records, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records), s.writes
}

func keepingOn(s Store, logger *zap.Logger) *Registry {
	set := usual()
	set.Store, set.Logger = s, logger
	r := New(set)
	r.Open(context.Background())
	return r
}

func rest(r *Registry) (all []string) {
	for m := next(r); m != ""; m = next(r) {
		all = append(all, m)
	}
	return all
}

func TestUnsentMessagesOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		first := keepingOn(s, nil)
		a, b := register(t, first, "a"), register(t, first, "b")
		for i := range 3 {
			send(t, a, fmt.Sprint(i))
			send(t, b, fmt.Sprint(i))
		}
		time.Sleep(time.Second) // they are written
		records, writes := s.kept()
		require.Equal(t, 2, records)
		require.Equal(t, 1, writes, "all of them together")
		require.Equal(t, "a/0", next(first))
		first.Answered()
		require.NotEmpty(t, next(first)) // and no answer
		send(t, a, "3")
		first.Close(context.Background())
		require.Zero(t, first.Stats()[0].Dropped[string(droppedStop)])

		second := New(func() Settings { set := usual(); set.Store = s; return set }())
		var told []string
		second.Attach(Link{Nudge: func() {}, Announce: func(names []string) { told = names }})
		early := register(t, second, "b")
		send(t, early, "new")
		require.Empty(t, next(second), "what was kept comes first")
		second.Open(t.Context())
		require.Equal(t, []string{"a", "b"}, told)
		require.ElementsMatch(t, []string{"a/1", "a/2", "a/3", "b/0", "b/1", "b/2", "b/new"}, rest(second))
		for range 7 {
			second.Answered()
		}
		require.Equal(t, []string{"b"}, told)
		time.Sleep(time.Second)
		records, _ = s.kept()
		require.Equal(t, 1, records, "the index")
		second.Close(context.Background())

		third := keepingOn(s, nil)
		require.Empty(t, next(third))
		third.Close(context.Background())
		require.Equal(t, 3, s.closed)
	})
}

// Who has told nothing but a state of its own takes it back when that ends. Nobody is told of a loss, and no
// later run of the Collector tells it.
func TestWhoWithdrawsMissesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		kept  bool
		other bool // registers the capability too
		lost  int  // messages of which the log says that they are
	}{
		"in memory":     {},
		"kept":          {kept: true},
		"not its alone": {other: true, lost: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, log := observer.New(zap.WarnLevel)
				set, s := usual(), newShelf()
				set.Logger = zap.New(core)
				if tt.kept {
					set.Store = s
				}
				r := New(set)
				r.Open(t.Context())
				h := register(t, r, "a")
				if tt.other {
					register(t, r, "a")
				}
				var sent []chan struct{}
				for i := range 3 {
					sent = append(sent, send(t, h, fmt.Sprint(i)))
				}
				time.Sleep(time.Second) // where there is a storage they are in it
				require.Equal(t, "a/0", next(r))
				h.(interface{ Withdraw() }).Withdraw()
				require.Equal(t, tt.other, next(r) != "", "it is not sent")
				require.Equal(t, tt.other, open(sent[2]), "nobody waits for it")
				_, err := h.SendMessage("t", nil)
				require.ErrorIs(t, err, ErrUnregistered)
				r.Again(start, opampclient.NoFault)
				r.Close(context.Background())
				require.Equal(t, tt.lost > 0, log.FilterMessageSnippet("lost").Len() > 0)
				require.EqualValues(t, tt.lost, r.Stats()[0].Dropped[string(droppedStop)])
				if tt.kept {
					second := keepingOn(s, nil)
					require.LessOrEqual(t, len(rest(second)), 1, "but what was being written")
					second.Close(context.Background())
				}
			})
		})
	}
}

func TestOrderAndNumbersOutliveManyRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		want := 0
		sent := 0
		for range 20 {
			r := keepingOn(s, nil)
			h := register(t, r, "a")
			for range 7 {
				send(t, h, fmt.Sprint(sent))
				sent++
			}
			time.Sleep(time.Second)
			for range 4 {
				require.Equal(t, fmt.Sprintf("a/%d", want), next(r))
				want++
				r.Answered()
			}
			r.Close(context.Background())
		}
		r := keepingOn(s, nil)
		require.Len(t, rest(r), sent-want)
		r.Close(context.Background())
	})
}

// TestWhatIsDoneStaysDoneOverManyRestarts has a segment that cannot go, because a message of
// another capability in it waits.
func TestWhatIsDoneStaysDoneOverManyRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := keepingOn(s, nil)
		send(t, register(t, r, "waits"), "first")
		for i := range 3 {
			send(t, register(t, r, "goes"), fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		for range 4 {
			next(r)
		}
		sayAnswered := func(r *Registry) { // to all but the first
			r.flight.pop()
			r.queues["waits"].out = 0
			for r.flight.len() > 0 {
				r.Answered()
			}
		}
		sayAnswered(r)
		r.Close(context.Background())
		for i := range 5 {
			r = keepingOn(s, nil)
			send(t, register(t, r, "goes"), fmt.Sprint("later ", i))
			time.Sleep(time.Second)
			require.Equal(t, []string{"waits/first", fmt.Sprint("goes/later ", i)}, rest(r))
			sayAnswered(r)
			r.Close(context.Background())
		}
	})
}

func TestWhatWasKeptIsCountedWhereOthersHaveItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := keepingOn(s, nil)
		send(t, register(t, r, "kept"), "1")
		r.Close(context.Background())
		core, logs := observer.New(zap.WarnLevel)
		set := usual()
		set.Store, set.Logger = s, zap.New(core)
		r = New(set)
		for i := range maxCapabilities {
			register(t, r, fmt.Sprint(i))
		}
		r.Open(t.Context())
		r.Close(context.Background())
		require.Equal(t, 1, logs.Len())
		dropped := uint64(0)
		for _, s := range r.Stats() {
			dropped += s.Dropped[string(droppedRestored)]
		}
		require.EqualValues(t, 1, dropped)
	})
}

func TestWhatIsSentAtOnceIsNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := keepingOn(s, nil)
		h := register(t, r, "a")
		for range 10_000 {
			send(t, h, "t")
			next(r)
			r.Answered()
			time.Sleep(time.Millisecond)
		}
		_, writes := s.kept()
		require.Zero(t, writes)
		r.Close(context.Background())
	})
}

func TestAStoreThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		s := newShelf()
		s.setFail(errors.New("disk full"))
		r := keepingOn(s, zap.New(core))
		h := register(t, r, "a")
		send(t, h, "1")
		time.Sleep(59 * time.Second)
		_, writes := s.kept()
		require.InDelta(t, 6, writes, 1, "every ten seconds")
		require.Equal(t, 1, logs.Len())
		s.setFail(nil)
		time.Sleep(keepRetry)
		records, _ := s.kept()
		require.Equal(t, 2, records)
		require.Equal(t, "a/1", next(r))
		r.Answered()
		s.setFail(errors.New("disk full"))
		send(t, h, "2")
		r.Close(context.Background())
		require.EqualValues(t, 1, r.Stats()[0].Dropped[string(droppedStop)], "it could not be kept")
	})
}

func TestADamagedStoreLosesWhatIsDamaged(t *testing.T) {
	damages := map[string]func(s *shelf){
		"index":           func(s *shelf) { s.records[indexKey] = []byte("{") },
		"index of later":  func(s *shelf) { s.records[indexKey] = []byte(`{"format":9}`) },
		"segment":         func(s *shelf) { s.records[segmentKey(0)][9] ^= 1 },
		"segment cut":     func(s *shelf) { s.records[segmentKey(0)] = s.records[segmentKey(0)][:3] },
		"segment missing": func(s *shelf) { delete(s.records, segmentKey(0)) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				s := newShelf()
				r := keepingOn(s, nil)
				send(t, register(t, r, "a"), "1")
				r.Close(context.Background())
				damage(s)

				r = keepingOn(s, zap.New(core))
				require.Equal(t, 1, logs.Len())
				require.EqualValues(t, 1, r.Stats()[0].Dropped[string(droppedDamaged)])
				h := register(t, r, "a")
				send(t, h, "2")
				require.Equal(t, "a/2", next(r))
				r.Close(context.Background())
				r = keepingOn(s, nil)
				require.Equal(t, []string{"a/2"}, rest(r), "the store is in use again")
				r.Close(context.Background())
			})
		})
	}
}

func TestAStoreThatCannotBeUsedHarmsNobody(t *testing.T) {
	kinds := map[string]*shelf{
		"refuses": {refuse: errors.New("locked")},
		"panics":  {panics: true},
		"hangs":   {hang: make(chan struct{}), records: map[string][]byte{}},
	}
	for name, s := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				if s.hang != nil {
					s.hang = make(chan struct{}) // of this bubble
				}
				began := time.Now()
				r := keepingOn(s, zap.New(core))
				require.LessOrEqual(t, time.Since(began), loadLimit)
				require.Equal(t, 1, logs.Len())
				h := register(t, r, "a")
				send(t, h, "1")
				require.Equal(t, "a/1", next(r))
				r.Answered()
				began = time.Now()
				r.Close(context.Background())
				require.LessOrEqual(t, time.Since(began), keepStopLimit)
				if s.hang != nil {
					s.unread = errors.New("too late")
					s.mu.Lock()
					s.records[indexKey] = []byte(`{"format":1,"segments":[0]}`)
					s.mu.Unlock()
					close(s.hang)
					synctest.Wait()
					require.Equal(t, 2, logs.Len(), "that it does not answer, and that it is left behind")
				}
			})
		})
	}
}

// TestWhatCannotBeReadIsLeftAlone has a store that fails for a while.
func TestWhatCannotBeReadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := keepingOn(s, nil)
		send(t, register(t, r, "a"), "kept")
		r.Close(context.Background())

		s.unread = errors.New("input/output error")
		core, logs := observer.New(zap.WarnLevel)
		r = keepingOn(s, zap.New(core))
		require.Equal(t, 1, logs.Len())
		send(t, register(t, r, "a"), "lost")
		time.Sleep(time.Second)
		r.Close(context.Background())
		require.Equal(t, 2, logs.Len())
		require.EqualValues(t, 1, r.Stats()[0].Dropped[string(droppedStop)])

		s.unread = nil
		r = keepingOn(s, nil)
		require.Equal(t, []string{"a/kept"}, rest(r))
		r.Close(context.Background())
		require.Equal(t, 3, s.closed)
	})
}

func TestWhatWasKeptStaysWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := keepingOn(s, nil)
		h := register(t, r, "a")
		for i := range 10 {
			send(t, h, fmt.Sprint(i))
		}
		r.Close(context.Background())
		set := usual()
		set.Store, set.QueueSize = s, 4
		r = New(set)
		r.Open(t.Context())
		require.Equal(t, []string{"a/0", "a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7"}, rest(r))
		require.EqualValues(t, 2, r.Stats()[0].Dropped[string(droppedRestored)])
		_, err := register(t, r, "a").SendMessage("t", nil)
		require.ErrorIs(t, err, types.ErrCustomMessagePending)
		r.Close(context.Background())
	})
}

func TestLittleIsTakenUntilWhatWasKeptIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		set := usual()
		set.Store = s
		r := New(set)
		h := register(t, r, "a")
		for range set.QueueSize / heldShare {
			send(t, h, "t")
		}
		room, err := h.SendMessage("t", nil)
		require.ErrorIs(t, err, types.ErrCustomMessagePending)
		r.Open(t.Context())
		<-room
		send(t, h, "t")
		r.Close(context.Background())
		again := keepingOn(s, nil)
		require.Len(t, rest(again), set.QueueSize/heldShare+1)
		again.Close(context.Background())
	})
}

// TestSegmentsGoWhenAllOfThemIsSent has segments that are partly sent.
func TestSegmentsGoWhenAllOfThemIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		set := usual()
		set.Store, set.QueueBytes, set.MaxMessageSize = s, 10<<20, 1<<20
		r := New(set)
		r.Open(t.Context())
		h := register(t, r, "a")
		for range 8 {
			_, err := h.SendMessage("t", make([]byte, 400<<10))
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		records, writes := s.kept()
		require.Equal(t, 1+4, records, "two to a segment, and the index")
		require.Equal(t, 1, writes)
		for range 3 {
			next(r)
			r.Answered()
		}
		time.Sleep(time.Second)
		records, _ = s.kept()
		require.Equal(t, 1+3, records)
		r.Again(start, opampclient.NoFault)
		r.Close(context.Background())
		r = New(set)
		r.Open(t.Context())
		require.Len(t, rest(r), 5)
		r.Close(context.Background())
	})
}

func FuzzDecodeSegment(f *testing.F) {
	var items []*item
	for i := range 3 {
		items = append(items, &item{number: uint64(i), msg: &protobufs.CustomMessage{Capability: "a", Type: "t", Data: []byte("data")}})
	}
	f.Add(encodeSegment(items))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		messages, err := decodeSegment(data)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			return
		}
		var again []*item
		for _, m := range messages {
			again = append(again, &item{number: m.number, msg: m.msg})
		}
		decoded, err := decodeSegment(encodeSegment(again))
		require.NoError(t, err)
		require.Len(t, decoded, len(messages))
	})
}
