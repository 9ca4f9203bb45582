// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// window is what is promised: how long a change is not yet handed to the store.
const window = 100 * time.Millisecond

// keep starts a keeper of f that ends with the test.
func keep(t *testing.T, f *fleet.Fleet, s Settings) *Keeper {
	t.Helper()
	k := NewKeeper(f, s)
	require.NoError(t, k.Start(ctx))
	t.Cleanup(func() { _ = k.Stop(ctx) })
	return k
}

func TestEachTransitionIsHandedOverInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		keep(t, f, Settings{Open: store.open})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		for seq := uint64(1); seq <= 200; seq++ {
			f.Report(connOf(1), change("a", seq), time.Now())
			time.Sleep(7 * time.Millisecond)
		}
		time.Sleep(window)
		synctest.Wait()
		store.look(func(s *fakeStore) {
			require.Len(t, s.events, int(f.LastEvent()))
			for i, e := range s.events {
				require.Equal(t, uint64(i+1), e.ID)
				require.LessOrEqual(t, s.written[i].Sub(e.At), window)
			}
			assert.Less(t, s.writes, 60, "what happens together is written together")
		})
	})
}

// slowStore takes as long for an agent as a busy machine does.
type slowStore struct {
	*fakeStore
	agent time.Duration
}

func (s *slowStore) Write(ctx context.Context, b Batch) error {
	time.Sleep(time.Duration(len(b.Agents)) * s.agent)
	return s.fakeStore.Write(ctx, b)
}

// More agents come and go than can be written. What has happened is written all the same: it does not wait for them.
func TestWhatHappenedDoesNotWaitForAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, most = 200, 400
		store := &slowStore{fakeStore: newFakeStore(), agent: 2 * time.Second / perSecond}
		f := fleet.New(fleet.Settings{MaxAgents: most})
		k := NewKeeper(f, Settings{Open: func(context.Context) (Store, error) { return store, nil }})
		require.NoError(t, k.Start(ctx))
		defer func() { _ = k.Stop(ctx) }()
		for i := range 20 * perSecond {
			f.Report(connOf(i+1), fullReport(fmt.Sprint(i), 0), time.Now())
			f.Disconnected(connOf(i), time.Now())
			time.Sleep(time.Second / perSecond)
		}
		synctest.Wait()
		happened := f.LastEvent()
		meanwhile := uint64(most) * uint64(store.agent) * happened / uint64(20*time.Second) // while all agents are written once
		require.LessOrEqual(t, happened-k.Stats().Events, meanwhile+2*batchRows)
		require.Greater(t, happened, 2*(meanwhile+2*batchRows), "it would be more otherwise")
		require.NoError(t, k.Stop(ctx))
		store.look(func(s *fakeStore) {
			for i, e := range s.events {
				require.Equal(t, uint64(i+1), e.ID, "all of them, in order")
			}
			require.Len(t, s.events, int(happened))
			require.Len(t, s.agents, most)
		})
	})
}

func TestAnUnchangedHeartbeatCausesNoStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		keep(t, f, Settings{Open: store.open})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		time.Sleep(time.Second)
		synctest.Wait()
		var before int
		store.look(func(s *fakeStore) { before = s.writes })
		for seq := uint64(1); seq <= 10_000; seq++ {
			f.Report(connOf(1), heartbeat("a", seq), time.Now())
			if seq%1000 == 0 {
				time.Sleep(time.Second)
			}
		}
		synctest.Wait()
		store.look(func(s *fakeStore) {
			assert.Equal(t, before, s.writes)
			assert.Empty(t, s.heard)
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		store.look(func(s *fakeStore) {
			assert.Equal(t, before+1, s.writes, "once a minute, for all together")
			require.Len(t, s.heard, 1)
			assert.Equal(t, uint64(10_000), s.heard[0].Seq)
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		store.look(func(s *fakeStore) { assert.Equal(t, before+1, s.writes, "who says nothing is not written") })
	})
}

// However many agents there are: what is known of them is in memory, and no cache of it has a size that they outgrow.
func TestThousandsOfAgentsAreNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5_000
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		keep(t, f, Settings{Open: store.open})
		for i := range n {
			f.Report(connOf(i+1), fullReport(fmt.Sprint(i), 0), time.Now())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		var reads, writes int
		store.look(func(s *fakeStore) { reads, writes = s.reads, s.writes })
		for seq := uint64(1); seq <= 3; seq++ {
			for i := range n {
				reply := f.Report(connOf(i+1), heartbeat(fmt.Sprint(i), seq), time.Now())
				require.Zero(t, reply.GetFlags(), "everything is known")
			}
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		store.look(func(s *fakeStore) {
			assert.Equal(t, reads, s.reads)
			assert.Equal(t, writes, s.writes)
		})
	})
}

func TestOfAnAgentTheLastStateIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		k := keep(t, f, Settings{Open: store.open})
		synctest.Wait()
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		for seq := uint64(1); seq <= 3000; seq++ {
			f.Report(connOf(1), change("a", seq), time.Now())
		}
		time.Sleep(window)
		synctest.Wait()
		stats := k.Stats()
		assert.Equal(t, uint64(1), stats.Agents)
		assert.Equal(t, f.LastEvent(), stats.Events)
		assert.Equal(t, uint64(1+1+3*3000), stats.Events, "of its transitions, each")
		store.look(func(s *fakeStore) { assert.Equal(t, uint64(3000), s.agents[uidOf("a")].Seq) })
	})
}

// A file that is deleted or moved away is noticed: what went on to be written into it would be lost with the process.
func TestAFileThatIsTakenAwayBeginsAnew(t *testing.T) {
	path := pathIn(t)
	f := fleet.New(fleet.Settings{})
	failed := make(chan error, 10)
	k := keep(t, f, Settings{Open: opener(path), Changed: func(err error) { failed <- err }, Window: time.Millisecond})
	f.Report(connOf(1), fullReport("a", 0), testNow)
	waitWritten(k, f)
	for _, end := range []string{"", "-wal", "-shm", "-lock"} {
		require.NoError(t, os.Remove(path+end))
	}
	f.Report(connOf(1), change("a", 1), testNow)
	require.ErrorIs(t, <-failed, ErrGone)
	require.NoError(t, <-failed)
	waitWritten(k, f)
	require.NoError(t, k.Stop(ctx))

	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	require.Len(t, loaded.Agents, 1)
	sameAgent(t, agentOf(t, f, "a"), loaded.Agents[0])
	assert.Equal(t, f.LastEvent(), loaded.LastEvent)
	assert.Len(t, pages(t, s, fleet.EventQuery{}), int(f.LastEvent()), "all that is in memory")
	require.NoError(t, s.Close())
}

// waitWritten waits until all that happened is in the store.
func waitWritten(k *Keeper, f *fleet.Fleet) {
	for k.Stats().Failing || k.lastWritten() < f.LastEvent() {
		time.Sleep(time.Millisecond)
	}
}

func (k *Keeper) lastWritten() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.written
}

// While nothing can be written the history has what is in memory alone, and then what was written before.
func TestTheHistoryIsWholeWhileNothingIsWritten(t *testing.T) {
	path := pathIn(t)
	f := fleet.New(fleet.Settings{})
	full := &fullStore{}
	k := keep(t, f, Settings{Window: time.Millisecond, Advise: func(err error) error { return fmt.Errorf("%w: buy a disk", err) }, Open: func(ctx context.Context) (Store, error) {
		s, err := OpenSQLite(ctx, SQLiteSettings{Path: path})
		full.Store = s
		return full, err
	}})
	f.Report(connOf(1), fullReport("a", 0), time.Now())
	for seq := uint64(1); seq <= 20; seq++ {
		f.Report(connOf(1), change("a", seq), time.Now())
	}
	waitWritten(k, f)
	full.full.Store(true)
	for seq := uint64(21); seq <= 40; seq++ {
		f.Report(connOf(1), change("a", seq), time.Now())
	}
	for k.Stats().Failures < 2 {
		time.Sleep(time.Millisecond)
	}
	require.ErrorContains(t, k.Stats().Problem, "no room left: buy a disk")
	require.Less(t, k.lastWritten(), f.LastEvent())
	for _, limit := range []int{1, 7, 1000} {
		var ids []uint64
		for q := (fleet.EventQuery{Limit: limit}); ; {
			page, err := k.Events(ctx, q)
			require.NoError(t, err)
			for _, e := range page.Events {
				ids = append(ids, e.ID)
			}
			if q.Before = page.Next; page.Next == 0 {
				break
			}
		}
		require.Len(t, ids, int(f.LastEvent()), "%d at a time", limit)
		for i, id := range ids {
			require.Equal(t, f.LastEvent()-uint64(i), id)
		}
	}
	full.full.Store(false)
	assert.Equal(t, 1, int(full.prunes.Load()), "of the history no more is given up than is of use")
}

// fullStore has no room when it is told so.
type fullStore struct {
	Store
	full   atomic.Bool
	prunes atomic.Int64
}

func (s *fullStore) Prune(context.Context, time.Time, int) (int, error) {
	s.prunes.Add(1)
	return 1, nil
}

func (s *fullStore) Write(ctx context.Context, b Batch) error {
	if s.full.Load() {
		return ErrFull
	}
	return s.Store.Write(ctx, b)
}

// An agent may say something each second: that is written every ten, and changes nothing else of it.
func TestWhatIsSaidIsWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		keep(t, f, Settings{Open: store.open, CheckpointEvery: time.Hour})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		f.Report(connOf(2), fullReport("b", 0), time.Now())
		time.Sleep(1500 * time.Millisecond) // never at the instant of a write
		var before int
		store.look(func(s *fakeStore) { before = s.writes })
		position := f.Position()
		for seq := uint64(1); seq <= 30; seq++ {
			f.Report(connOf(1), saying("a", seq, fmt.Sprint("text ", seq)), time.Now())
			f.Tick(time.Now())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.NotEqual(t, position, f.Position(), "people see it")
		store.look(func(s *fakeStore) {
			assert.Equal(t, before+3, s.writes)
			assert.Len(t, s.said, 3)
			assert.Contains(t, string(s.said[2].Body), "text 29")
		})
		time.Sleep(time.Hour - time.Minute)
		synctest.Wait()
		store.look(func(s *fakeStore) { assert.Equal(t, before+4, s.writes, "the last of it, and then nothing") })
	})
}

// What was said while the store failed, or was another one, is written when there is one.
func TestWhatWasSaidIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		k := keep(t, f, Settings{Open: store.open})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		time.Sleep(time.Second)
		store.failWith(errBroken)
		f.Report(connOf(1), saying("a", 1, "while it failed"), time.Now())
		time.Sleep(time.Minute)
		store.failWith(nil)
		store.look(func(s *fakeStore) { s.said = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		store.look(func(s *fakeStore) {
			require.Len(t, s.said, 1)
			assert.Contains(t, string(s.said[0].Body), "while it failed")
		})

		f.Report(connOf(1), saying("a", 2, "last words"), time.Now())
		f.Leave(time.Now())
		require.NoError(t, k.Stop(ctx))
		store.look(func(s *fakeStore) {
			require.Len(t, s.said, 2)
			assert.Contains(t, string(s.said[1].Body), "last words")
		})
	})
}

// A new file in place of a damaged one has what was said before, and what was read from the damaged one.
func TestWhatWasSaidOutlivesADamagedFile(t *testing.T) {
	path := pathIn(t)
	f := fleet.New(fleet.Settings{})
	k := NewKeeper(f, Settings{Open: opener(path)})
	require.NoError(t, k.Start(ctx))
	f.Report(connOf(1), fullReport("a", 0), time.Now())
	f.Report(connOf(1), saying("a", 1, "long ago"), time.Now())
	require.NoError(t, k.Stop(ctx))

	f = fleet.New(fleet.Settings{})
	k = NewKeeper(f, Settings{Open: opener(path), SetAside: func(now time.Time) (string, error) { return SetAside(path, now) }})
	require.NoError(t, k.Start(ctx))
	require.Equal(t, []byte("long ago"), agentOf(t, f, "a").Channel("x.y").Last[0].Data)
	k.stop() // its goroutine; what follows is what that would do
	k.running.Wait()
	k.failed(ErrDamaged)
	require.NoError(t, k.open(ctx))
	require.NoError(t, k.Stop(ctx))

	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Len(t, loaded.Agents, 1)
	assert.Equal(t, []byte("long ago"), loaded.Agents[0].Channel("x.y").Last[0].Data)
}

func TestWhenItFailsAgentsAreServedAndItCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		core, logs := observer.New(zap.InfoLevel)
		var told []error
		k := keep(t, f, Settings{Open: store.open, Logger: zap.New(core), Changed: func(err error) { told = append(told, err) }})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		time.Sleep(time.Second)
		store.failWith(errBroken)
		seq := uint64(0)
		for range 10 * 60 {
			seq++
			require.Nil(t, f.Report(connOf(1), change("a", seq), time.Now()).GetErrorResponse())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.True(t, k.Stats().Failing)
		assert.LessOrEqual(t, k.Stats().Failures, uint64(30), "it is tried ever less often")
		failures := logs.FilterMessageSnippet("not kept").Len()
		assert.GreaterOrEqual(t, failures, 8)
		assert.LessOrEqual(t, failures, 10, "a line a minute")

		store.failWith(nil)
		time.Sleep(lastRetry + window)
		synctest.Wait()
		assert.False(t, k.Stats().Failing)
		assert.Equal(t, []error{errBroken, nil}, told)
		assert.Zero(t, k.Stats().Lost)
		store.look(func(s *fakeStore) {
			require.Len(t, s.events, int(f.LastEvent()))
			assert.Equal(t, seq, s.agents[uidOf("a")].Seq)
		})
	})
}

func TestWhatMemoryHasNoRoomForIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		k := keep(t, f, Settings{Open: store.open})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		time.Sleep(time.Second)
		store.failWith(errBroken)
		for seq := uint64(1); seq <= 30_000; seq++ { // three transitions each
			f.Report(connOf(1), change("a", seq), time.Now())
		}
		time.Sleep(time.Minute)
		store.failWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		lost := k.Stats().Lost
		require.NotZero(t, lost)
		store.look(func(s *fakeStore) {
			var gaps []fleet.Event
			for i, e := range s.events {
				require.True(t, i == 0 || e.ID > s.events[i-1].ID)
				if e.Kind == fleet.EventGap {
					gaps = append(gaps, e)
				}
			}
			require.Len(t, gaps, 1)
			assert.Equal(t, fmt.Sprint(lost), gaps[0].To)
			assert.Equal(t, f.LastEvent(), uint64(len(s.events)-1)+lost, "each is there or counted")
		})
	})
}

func TestTheForgottenAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{MaxAgents: 10})
		keep(t, f, Settings{Open: store.open})
		for i := range 5000 { // more than removals are remembered
			f.Report(connOf(i+1), fullReport(fmt.Sprint(i), 0), time.Now())
			f.Disconnected(connOf(i+1), time.Now())
			if i%2500 == 3 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(window)
		synctest.Wait()
		agents, _ := f.Agents()
		require.Len(t, agents, 10)
		store.look(func(s *fakeStore) {
			assert.Len(t, s.agents, 10)
			for _, a := range agents {
				assert.Same(t, a, s.agents[a.UID])
			}
		})
	})
}

func TestOldEventsArePruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		keep(t, f, Settings{Open: store.open, Retention: 24 * time.Hour, PruneEvery: time.Minute})
		start := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		store.look(func(s *fakeStore) { assert.Equal(t, []time.Time{start.Add(time.Minute - 24*time.Hour)}, s.pruned) })
	})
}

func TestStopWritesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		k := NewKeeper(f, Settings{Open: store.open})
		require.NoError(t, k.Stop(ctx), "it was not started")
		require.NoError(t, k.Start(ctx))
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		f.Report(connOf(1), heartbeat("a", 1), time.Now())
		f.Leave(time.Now())
		f.Disconnected(connOf(1), time.Now())
		require.NoError(t, k.Stop(ctx))
		require.NoError(t, k.Stop(ctx))
		store.look(func(s *fakeStore) {
			assert.Equal(t, 1, s.closed)
			require.Len(t, s.heard, 1)
			assert.Equal(t, uint64(1), s.heard[0].Seq)
			assert.Equal(t, "stopped", s.events[len(s.events)-1].To)
			assert.Equal(t, fleet.LivenessConnected, s.agents[uidOf("a")].Liveness, "that we leave says nothing of it")
		})
	})
}

func TestStopSaysWhatWasNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, f := newFakeStore(), fleet.New(fleet.Settings{})
		k := NewKeeper(f, Settings{Open: store.open, Name: "database.path"})
		require.NoError(t, k.Start(ctx))
		store.failWith(errBroken)
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		err := k.Stop(ctx)
		require.ErrorIs(t, err, errBroken)
		assert.ErrorContains(t, err, "database.path: the last changes were not kept")
	})
}

// again is a fleet that has read what another one left.
func again(t *testing.T, path string) (*fleet.Fleet, *Keeper) {
	t.Helper()
	f := fleet.New(fleet.Settings{})
	return f, keep(t, f, Settings{Open: opener(path)})
}

func TestAfterARestartNobodyIsAskedWhoNeedNotBe(t *testing.T) {
	path := pathIn(t)
	f, k := again(t, path)
	for i := range 100 {
		f.Report(connOf(i+1), fullReport(fmt.Sprint(i), 0), testNow)
		f.Report(connOf(i+1), heartbeat(fmt.Sprint(i), 1), testNow)
	}
	f.Leave(testNow)
	require.NoError(t, k.Stop(ctx))

	f, k = again(t, path)
	agents, _ := f.Agents()
	require.Len(t, agents, 100, "they are there at once")
	for _, a := range agents {
		require.Equal(t, fleet.LivenessUnknown, a.Liveness)
		require.Equal(t, fleet.ConditionUnknown, a.Condition())
		require.NotNil(t, a.Config)
	}
	for i := range 100 {
		seq := uint64(2)
		if i == 50 {
			seq = 7 // it said something while nobody listened
		}
		f.Report(connOf(i+1), heartbeat(fmt.Sprint(i), seq), time.Now())
	}
	assert.Equal(t, uint64(1), f.Stats().FullStateRequests)
	assert.Zero(t, f.Stats().ComponentsRequests)
	assert.Equal(t, 100, f.Stats().Agents[fleet.LivenessConnected])
	require.NoError(t, k.Stop(ctx))

	_, k = again(t, path)
	page, err := k.Events(ctx, fleet.EventQuery{Kinds: []fleet.EventKind{fleet.EventAppeared, fleet.EventConnected, fleet.EventLost, fleet.EventSilent}})
	require.NoError(t, err)
	for _, e := range page.Events {
		assert.Equal(t, fleet.EventAppeared, e.Kind, "the server's own outages make nobody look dead")
	}
}

func TestADatabaseThatIsInUseIsTakenInLater(t *testing.T) {
	path := pathIn(t)
	f, k := again(t, path)
	f.Report(connOf(1), fullReport("old", 0), testNow)
	f.Report(connOf(2), fullReport("both", 0), testNow)
	require.NoError(t, k.Stop(ctx))
	holder := openFile(t, path)

	changed := make(chan error, 10)
	f = fleet.New(fleet.Settings{})
	k = keep(t, f, Settings{Open: opener(path), Changed: func(err error) { changed <- err }})
	require.ErrorIs(t, <-changed, ErrLocked)
	f.Report(connOf(1), fullReport("new", 0), testNow)
	f.Report(connOf(2), fullReport("both", 3), testNow)
	require.NoError(t, holder.Close())
	require.NoError(t, <-changed)

	for _, name := range []string{"old", "new", "both"} {
		_, ok := f.Agent(uidOf(name))
		assert.True(t, ok, name)
	}
	both, _ := f.Agent(uidOf("both"))
	assert.True(t, both.Present())
	require.NoError(t, k.Stop(ctx))
	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, loaded.Agents, 3)
	got := pages(t, s, fleet.EventQuery{Kinds: []fleet.EventKind{fleet.EventAppeared}})
	assert.Len(t, got, 4, "no event took the place of another")
	require.NoError(t, s.Close())
}

func TestADamagedDatabaseIsPutAside(t *testing.T) {
	path := pathIn(t)
	f, k := again(t, path)
	f.Report(connOf(1), fullReport("a", 0), testNow)
	require.NoError(t, k.Stop(ctx))
	damage(t, path)
	damaged, err := os.ReadFile(path)
	require.NoError(t, err)

	f = fleet.New(fleet.Settings{})
	core, logs := observer.New(zap.ErrorLevel)
	k = keep(t, f, Settings{
		Open: opener(path), Logger: zap.New(core),
		SetAside: func(now time.Time) (string, error) { return SetAside(path, now) },
	})
	f.Report(connOf(1), fullReport("b", 0), testNow)
	require.NoError(t, k.Stop(ctx))

	require.Equal(t, 1, logs.FilterMessageSnippet("damaged").Len())
	files, err := filepath.Glob(path + ".damaged-*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	kept, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.Equal(t, damaged, kept, "nothing of it is lost")
	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, loaded.Agents, 1)
	require.NoError(t, s.Close())
}

func TestWithoutLeaveToPutAsideADamagedDatabaseStaysWhereItIs(t *testing.T) {
	path := pathIn(t)
	_, k := again(t, path)
	require.NoError(t, k.Stop(ctx))
	damage(t, path)
	f := fleet.New(fleet.Settings{})
	k = NewKeeper(f, Settings{Open: opener(path), Name: "database.path: " + path})
	require.NoError(t, k.Start(ctx))
	assert.True(t, k.Stats().Failing)
	f.Report(connOf(1), fullReport("b", 0), testNow)
	page, err := k.Events(ctx, fleet.EventQuery{})
	require.NoError(t, err)
	assert.Len(t, page.Events, 1, "answers come from memory")
	require.Error(t, k.Stop(ctx))
}

func TestADatabaseThatIsDamagedWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, f := newFakeStore(), newFakeStore(), fleet.New(fleet.Settings{})
		next := first
		keep(t, f, Settings{
			Open:     func(ctx context.Context) (Store, error) { return next.open(ctx) },
			SetAside: func(time.Time) (string, error) { next = second; return "elsewhere", nil },
		})
		f.Report(connOf(1), fullReport("a", 0), time.Now())
		time.Sleep(time.Second)
		first.failWith(fmt.Errorf("page 7: %w", ErrDamaged))
		f.Report(connOf(2), fullReport("b", 0), time.Now())
		time.Sleep(time.Minute)
		synctest.Wait()
		first.look(func(s *fakeStore) { assert.Equal(t, 1, s.closed) })
		second.look(func(s *fakeStore) {
			assert.Len(t, s.agents, 2, "all of memory is in the new one")
			assert.Len(t, s.events, int(f.LastEvent()), "what the old one had not taken, and what it had")
		})
	})
}

func TestWhenItIsFullTheOldestMakeRoom(t *testing.T) {
	path := pathIn(t)
	f := fleet.New(fleet.Settings{})
	k := keep(t, f, Settings{Open: func(ctx context.Context) (Store, error) {
		return OpenSQLite(ctx, SQLiteSettings{Path: path, MaxBytes: 1 << 20})
	}})
	changes := uint64(10_000)
	if testing.Short() {
		changes = 4000
	}
	f.Report(connOf(1), fullReport("a", 0), testNow)
	for seq := uint64(1); seq <= changes; seq++ {
		f.Report(connOf(1), change("a", seq), testNow)
	}
	require.NoError(t, k.Stop(ctx))
	stats := k.Stats()
	assert.NotZero(t, stats.Trimmed)
	assert.False(t, stats.Failing)
	s := openFile(t, path)
	page, err := s.Events(ctx, fleet.EventQuery{Limit: 1})
	require.NoError(t, err)
	assert.Equal(t, f.LastEvent(), page.Events[0].ID, "the last one is there")
	require.NoError(t, s.Close())
}

func TestWhatTheUserHasToPutRightFailsTheStart(t *testing.T) {
	path := pathIn(t)
	require.NoError(t, os.WriteFile(path, []byte("this is a shopping list, and not a database of anybody's"), 0o600))
	k := NewKeeper(fleet.New(fleet.Settings{}), Settings{Open: opener(path), Name: "database.path: " + path})
	err := k.Start(ctx)
	require.ErrorIs(t, err, ErrForeign)
	assert.ErrorContains(t, err, "database.path: "+path)
	require.NoError(t, k.Stop(ctx))
}

func TestAgentsForWhomThereIsNoRoomAreRemoved(t *testing.T) {
	path := pathIn(t)
	f, k := again(t, path)
	for i := range 10 {
		f.Report(connOf(i+1), fullReport(fmt.Sprint(i), 0), testNow)
	}
	require.NoError(t, k.Stop(ctx))
	small := fleet.New(fleet.Settings{MaxAgents: 3})
	k = keep(t, small, Settings{Open: opener(path)})
	require.NoError(t, k.Stop(ctx))
	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, loaded.Agents, 3)
	require.NoError(t, s.Close())
}

func TestSetAsideNeverOverwrites(t *testing.T) {
	path := pathIn(t)
	require.NoError(t, os.WriteFile(path, []byte("1"), 0o600))
	require.NoError(t, os.WriteFile(path+"-wal", []byte("2"), 0o600))
	where, err := SetAside(path, testNow)
	require.NoError(t, err)
	wal, err := os.ReadFile(where + "-wal")
	require.NoError(t, err)
	assert.Equal(t, "2", string(wal))
	require.NoError(t, os.WriteFile(path, []byte("3"), 0o600))
	_, err = SetAside(path, testNow)
	require.Error(t, err)
	_, err = SetAside(filepath.Join(t.TempDir(), "none"), testNow)
	require.ErrorIs(t, err, os.ErrNotExist)
}
