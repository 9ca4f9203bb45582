// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// engine is a way to keep a fleet. open opens the same place again and again, within one test.
type engine struct {
	name  string
	place func(t *testing.T) (open func() Store)
}

// engines are all that must pass this suite.
var engines = []engine{{
	name: "sqlite",
	place: func(t *testing.T) func() Store {
		t.Helper()
		path := pathIn(t)
		return func() Store { return openFile(t, path) }
	},
}}

// conform runs a test on each engine, with an empty store.
func conform(t *testing.T, test func(t *testing.T, s Store, reopen func() Store)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			open := e.place(t)
			s := open()
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			test(t, s, func() Store {
				require.NoError(t, s.Close())
				s = open()
				return s
			})
		})
	}
}

var ctx = context.Background()

// fleetOf is a fleet that agents of these names have reported to.
func fleetOf(names ...string) *fleet.Fleet {
	f := fleet.New(fleet.Settings{})
	for i, name := range names {
		f.Report(connOf(i+1), fullReport(name, 0), testNow)
	}
	return f
}

// all is the whole fleet as one batch.
func all(f *fleet.Fleet) Batch {
	u := f.Unkept(0, fleet.Position{}, 1000)
	b := Batch{Events: u.Events}
	for _, a := range u.Agents {
		b.Agents = append(b.Agents, changeOf(Kept{}, a))
	}
	return b
}

// changeOf is a change as a keeper makes it.
func changeOf(kept Kept, is *fleet.Agent) Change {
	state, err := is.Marshal()
	if err != nil {
		panic(err)
	}
	return Change{Kept: kept, Is: is, State: state}
}

func agentOf(t *testing.T, f *fleet.Fleet, name string) *fleet.Agent {
	t.Helper()
	a, ok := f.Agent(uidOf(name))
	require.True(t, ok)
	return a
}

// sameAgent holds a loaded agent against the one that was written.
func sameAgent(t *testing.T, want, got *fleet.Agent) {
	t.Helper()
	w, g := *want, *got
	w.Version, g.Version = 0, 0
	assert.Equal(t, w.Heard(), g.Heard())
	wantRaw, err := w.Marshal()
	require.NoError(t, err)
	gotRaw, err := g.Marshal()
	require.NoError(t, err)
	assert.JSONEq(t, string(wantRaw), string(gotRaw))
	assert.Equal(t, w.Config, g.Config)
	assert.Equal(t, w.Components, g.Components)
	assert.Equal(t, w.Problems, g.Problems)
}

func TestConformLoadsWhatWasWritten(t *testing.T) {
	conform(t, func(t *testing.T, s Store, reopen func() Store) {
		f := fleetOf("a", "b")
		f.Report(connOf(1), change("a", 1), testNow)
		f.Disconnected(connOf(2), testNow)
		require.NoError(t, s.Write(ctx, all(f)))

		loaded, err := reopen().Load(ctx)

		require.NoError(t, err)
		require.Len(t, loaded.Agents, 2)
		assert.Zero(t, loaded.Unreadable)
		assert.Equal(t, f.LastEvent(), loaded.LastEvent)
		for _, got := range loaded.Agents {
			want, ok := f.Agent(got.UID)
			require.True(t, ok)
			sameAgent(t, want, got)
		}
		assert.Same(t, loaded.Agents[0].Config, loaded.Agents[1].Config, "what agents share is read once")
		assert.Same(t, loaded.Agents[0].Components, loaded.Agents[1].Components)
	})
}

func TestConformWritingTwiceChangesNothing(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		b := all(fleetOf("a", "b"))
		require.NoError(t, s.Write(ctx, b))
		require.NoError(t, s.Write(ctx, b))
		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		assert.Len(t, loaded.Agents, 2)
		page, err := s.Events(ctx, fleet.EventQuery{})
		require.NoError(t, err)
		assert.Len(t, page.Events, len(b.Events))
	})
}

func TestConformWritesWhatChangedSince(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		f := fleetOf("a")
		require.NoError(t, s.Write(ctx, all(f)))
		was := agentOf(t, f, "a")
		for seq := uint64(1); seq <= 5; seq++ {
			f.Report(connOf(1), change("a", seq), testNow.Add(time.Duration(seq)*time.Second))
		}
		msg := heartbeat("a", 6)
		msg.EffectiveConfig = configOf("receivers: {otlp: {}}")
		f.Report(connOf(1), msg, testNow.Add(6*time.Second))
		is := agentOf(t, f, "a")
		require.NoError(t, s.Write(ctx, Batch{Agents: []Change{changeOf(keptOf(was), is)}}))

		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		require.Len(t, loaded.Agents, 1)
		sameAgent(t, is, loaded.Agents[0])

		old, err := s.Config(ctx, was.Config.Sum())
		require.NoError(t, err)
		assert.Equal(t, was.Config, old, "a config that was left is still there to compare with")
	})
}

func TestConformRemovesBeforeItWrites(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		f := fleetOf("a", "b")
		require.NoError(t, s.Write(ctx, all(f)))
		require.NoError(t, s.Write(ctx, Batch{
			Removed: []opampwire.InstanceUID{uidOf("a"), uidOf("b"), uidOf("nobody")},
			Agents:  []Change{changeOf(Kept{}, agentOf(t, f, "b"))},
		}))
		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		require.Len(t, loaded.Agents, 1)
		sameAgent(t, agentOf(t, f, "b"), loaded.Agents[0])
	})
}

func TestConformWritesWhoWasHeard(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		var names []string
		for i := range 1100 {
			names = append(names, fmt.Sprint("a", i))
		}
		f := fleetOf(names...)
		u := f.Unkept(0, fleet.Position{}, 0)
		b := Batch{}
		for _, a := range u.Agents {
			b.Agents = append(b.Agents, changeOf(Kept{}, a))
		}
		require.NoError(t, s.Write(ctx, b))
		for i, name := range names {
			f.Report(connOf(i+1), heartbeat(name, 1), testNow.Add(time.Minute))
		}
		heard := f.HeardSince(testNow)
		require.Len(t, heard, len(names))
		require.NoError(t, s.WriteHeard(ctx, append(heard, fleet.Heard{UID: uidOf("nobody")})))

		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		require.Len(t, loaded.Agents, len(names))
		for _, a := range loaded.Agents {
			want, _ := f.Agent(a.UID)
			require.Equal(t, want.Heard(), a.Heard())
		}
	})
}

// saying is a heartbeat with a custom message.
func saying(name string, seq uint64, text string) *protobufs.AgentToServer {
	msg := heartbeat(name, seq)
	msg.CustomMessage = &protobufs.CustomMessage{Capability: "x.y", Type: "t", Data: []byte(text)}
	return msg
}

// saidBy is what a store has to keep of what an agent said.
func saidBy(t *testing.T, f *fleet.Fleet, name string) Said {
	t.Helper()
	body, err := agentOf(t, f, name).MarshalSaid()
	require.NoError(t, err)
	return Said{UID: uidOf(name), Body: body}
}

func TestConformWritesWhatWasSaid(t *testing.T) {
	conform(t, func(t *testing.T, s Store, reopen func() Store) {
		f := fleetOf("a", "b", "c")
		require.NoError(t, s.Write(ctx, all(f)))
		said := func() map[opampwire.InstanceUID][]*fleet.Channel {
			s = reopen()
			loaded, err := s.Load(ctx)
			require.NoError(t, err)
			assert.Zero(t, loaded.Unreadable)
			out := map[opampwire.InstanceUID][]*fleet.Channel{}
			for _, a := range loaded.Agents {
				out[a.UID] = a.Channels
			}
			return out
		}
		f.Report(connOf(1), saying("a", 1, "one"), testNow)
		f.Report(connOf(2), saying("b", 1, "two"), testNow)
		require.NoError(t, s.WriteSaid(ctx, []Said{saidBy(t, f, "a"), saidBy(t, f, "b"), {UID: uidOf("nobody"), Body: []byte("{}")}, {UID: uidOf("nor him")}}))
		got := said()
		require.Len(t, got, 3)
		assert.Equal(t, agentOf(t, f, "a").Channels, got[uidOf("a")])
		assert.Equal(t, agentOf(t, f, "b").Channels, got[uidOf("b")])
		assert.Empty(t, got[uidOf("c")])

		f.Report(connOf(1), saying("a", 2, "more"), testNow)
		require.NoError(t, s.WriteSaid(ctx, []Said{saidBy(t, f, "a"), {UID: uidOf("b")}, {UID: uidOf("c"), Body: []byte("damaged")}}))
		got = said()
		require.Len(t, got, 3, "what can't be read costs nobody the agent")
		assert.Equal(t, agentOf(t, f, "a").Channels, got[uidOf("a")])
		assert.Empty(t, got[uidOf("b")])
		assert.Empty(t, got[uidOf("c")])

		require.NoError(t, s.Write(ctx, Batch{Removed: []opampwire.InstanceUID{uidOf("a")}, Agents: []Change{changeOf(Kept{}, agentOf(t, f, "a"))}}))
		assert.Empty(t, said()[uidOf("a")], "it went with the agent")
	})
}

// history is a log with something of everything.
func history(n int) (out []fleet.Event) {
	kinds := fleet.EventKinds()
	for i := range n {
		e := fleet.Event{
			ID: uint64(i + 1), At: testNow.Add(time.Duration(i/3) * time.Second), Kind: kinds[i%len(kinds)],
			Subject: "pipeline:traces > exporter:otlp", From: "StatusOK", To: "StatusPermanentError", Detail: "é\x00'\"",
		}
		if i%7 != 0 {
			e.UID, e.Logical = uidOf(fmt.Sprint(i%5)), fmt.Sprint("host.name=", i%2)
		}
		if i%11 == 0 {
			e.Logical = ""
		}
		out = append(out, e)
	}
	return out
}

func TestConformAnswersWhatMemoryAnswers(t *testing.T) {
	events := history(500)
	queries := map[string]fleet.EventQuery{
		"all":             {},
		"one agent":       {UID: uidOf("1")},
		"one identity":    {Logical: "host.name=1"},
		"agent and kin":   {UID: uidOf("2"), Logical: "host.name=1"},
		"nobody":          {UID: uidOf("nobody")},
		"no identity":     {Logical: "host.name=9"},
		"some kinds":      {Kinds: []fleet.EventKind{fleet.EventLost, fleet.EventHealth}},
		"an unknown kind": {Kinds: []fleet.EventKind{"x"}},
		"from":            {From: testNow.Add(100 * time.Second)},
		"until":           {Until: testNow.Add(20 * time.Second)},
		"between":         {From: testNow.Add(20 * time.Second), Until: testNow.Add(21 * time.Second)},
		"before":          {Before: 17},
		"everything":      {UID: uidOf("1"), Kinds: []fleet.EventKind{fleet.EventLost}, From: testNow, Until: testNow.Add(time.Hour), Before: 400, Limit: 3},
	}
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		require.NoError(t, s.Write(ctx, Batch{Events: events}))
		for name, q := range queries {
			for _, limit := range []int{0, 1, 7, 1000} {
				q.Limit = limit
				got := pages(t, s, q)
				var want []fleet.Event
				for _, e := range slices.Backward(events) {
					if q.Wants(&e) {
						want = append(want, e)
					}
				}
				require.Equal(t, want, got, "%s, %d at a time", name, limit)
			}
		}
	})
}

// pages reads all pages of a query, one after the other.
func pages(t *testing.T, s Store, q fleet.EventQuery) (out []fleet.Event) {
	t.Helper()
	for {
		page, err := s.Events(ctx, q)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Events), q.Bound().Limit)
		out = append(out, page.Events...)
		if page.Next == 0 {
			return out
		}
		q.Before = page.Next
	}
}

func TestConformPrunesWhatIsOldAndUnused(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		f := fleetOf("a")
		b := all(f)
		b.Events = history(300) // 100 seconds
		require.NoError(t, s.Write(ctx, b))
		was := agentOf(t, f, "a")
		msg := heartbeat("a", 1)
		msg.EffectiveConfig = configOf("other: {}")
		f.Report(connOf(1), msg, testNow)
		is := agentOf(t, f, "a")
		require.NoError(t, s.Write(ctx, Batch{Agents: []Change{changeOf(keptOf(was), is)}}))

		cutoff := testNow.Add(50 * time.Second)
		rounds := prune(t, s, cutoff, 40)
		assert.GreaterOrEqual(t, rounds, 150/40)
		got := pages(t, s, fleet.EventQuery{})
		require.Len(t, got, 150)
		assert.Equal(t, cutoff, got[len(got)-1].At)

		old, err := s.Config(ctx, was.Config.Sum())
		require.NoError(t, err)
		assert.NotNil(t, old, "it was left a moment ago")
		prune(t, s, time.Now().Add(time.Hour), 1000)
		old, err = s.Config(ctx, was.Config.Sum())
		require.NoError(t, err)
		assert.Nil(t, old)
		current, err := s.Config(ctx, is.Config.Sum())
		require.NoError(t, err)
		assert.NotNil(t, current, "what an agent has is never deleted")
		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		require.Len(t, loaded.Agents, 1)
		sameAgent(t, is, loaded.Agents[0])
	})
}

// prune goes on until there is nothing left to delete, and counts how often it did.
func prune(t *testing.T, s Store, before time.Time, limit int) (rounds int) {
	t.Helper()
	for ; ; rounds++ {
		n, err := s.Prune(ctx, before, limit)
		require.NoError(t, err)
		if n == 0 {
			return rounds
		}
		require.Less(t, rounds, 10_000)
	}
}

func TestConformReadersDoNotWait(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		f := fleetOf("a", "b", "c")
		require.NoError(t, s.Write(ctx, all(f)))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 50 {
				assert.NoError(t, s.Write(ctx, Batch{Events: []fleet.Event{{ID: uint64(1000 + i), Kind: fleet.EventServer, At: testNow}}}))
			}
		}()
		for range 50 {
			_, err := s.Events(ctx, fleet.EventQuery{})
			require.NoError(t, err)
			_, err = s.Load(ctx)
			require.NoError(t, err)
		}
		<-done
	})
}

func TestConformEndsWithItsContext(t *testing.T) {
	conform(t, func(t *testing.T, s Store, _ func() Store) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.Error(t, s.Write(ended, all(fleetOf("a"))))
		_, err := s.Load(ended)
		require.Error(t, err)
		_, err = s.Events(ended, fleet.EventQuery{})
		require.Error(t, err)
		_, err = s.Prune(ended, testNow, 1)
		require.Error(t, err)
		require.Error(t, s.WriteHeard(ended, []fleet.Heard{{UID: uidOf("a")}}))
		require.Error(t, s.WriteSaid(ended, []Said{{UID: uidOf("a"), Body: []byte("{}")}}))
		loaded, err := s.Load(ctx)
		require.NoError(t, err)
		assert.Empty(t, loaded.Agents)
	})
}
