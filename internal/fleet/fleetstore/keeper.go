// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var errNeverWritten = errors.New("it could not be opened")

// Settings of a [Keeper]. A zero field takes its default.
type Settings struct {
	// Open opens the store. It is called again after it failed, and after the store was damaged.
	Open func(context.Context) (Store, error)
	// SetAside moves a damaged store away, so that Open makes a new one, and says where it is now. nil leaves it: then
	// nothing is kept.
	SetAside func(now time.Time) (string, error)
	// Name is what log lines call the store, such as the key and the path of its file.
	Name string
	// Retention is how long events are kept. Default 30 days.
	Retention time.Duration
	// Window is how long changes are gathered before they are written. Default 50 ms.
	Window time.Duration
	// CheckpointEvery is how often it is written when agents were last heard. Default 1 minute.
	CheckpointEvery time.Duration
	// SaidEvery is how often it is written what agents said by custom messages. Default 10 seconds.
	SaidEvery time.Duration
	// PruneEvery is how often what is too old is looked for. Default 1 minute.
	PruneEvery time.Duration
	// Logger gets what went wrong, once a minute at most. Default none.
	Logger *zap.Logger
	// Advise adds to an error what to do. Default none.
	Advise func(error) error
	// Changed is told when keeping begins to fail, and, with nil, when it works again. It must not block. Default none.
	Changed func(error)
}

const (
	// batchRows is how many agents, and how many events, one transaction has at most.
	batchRows = 1000
	// mostAhead is how many transactions of events there are at most before one of agents: all that memory has room for.
	mostAhead = 64
	// saidRows is of how many agents one transaction says what they said: each may have said a hundred kilobytes.
	saidRows = 100
	// pruneRows is how many rows of a kind are deleted at a time: briefly, for writes wait.
	pruneRows = 500
	// firstRetry and lastRetry bound the time between attempts to write again.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// logEvery is how often a failure that lasts is worth a line.
	logEvery = time.Minute
	// roomRows is how many of the oldest events make room where the store is full.
	roomRows = 5000
)

// KeeperStats are figures about keeping.
type KeeperStats struct {
	Store    Stats
	Events   uint64 // events that were written
	Agents   uint64 // states of agents that were written
	Lost     uint64 // events for which there was no room in memory while the store failed
	Trimmed  uint64 // events that made room before their time
	Failures uint64 // attempts that failed
	Failing  bool
	Problem  error     // the last, while it fails
	Since    time.Time // when it began to fail
}

// Keeper writes a fleet behind into a store. It has one goroutine, between Start and Stop.
type Keeper struct {
	// Fixed at construction.
	fleet    *fleet.Fleet
	settings Settings
	seed     maphash.Seed

	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	store Store       // nil while there is none; guarded by mu
	stats KeeperStats // guarded by mu
	// written is the last event that is in the store. Guarded by mu.
	written uint64

	// Owned by the goroutine, and by Start before it.
	kept     map[opampwire.InstanceUID]Kept
	surplus  []opampwire.InstanceUID // were loaded and not taken in: they are to be removed
	event    uint64                  // events up to this ID were written
	position fleet.Position          // agents up to this were written
	said     fleet.Position          // what agents said up to this was written
	lost     uint64                  // events of which it is written that they are lost
	heard    time.Time               // when agents were last heard is written up to this
	damaged  error                   // why the store can't be used any more
	retry    time.Duration           // until the next attempt; 0 while all is well
	logged   time.Time
	futile   bool // room was made, and there was none all the same
}

// NewKeeper returns a keeper of f. It does nothing before Start.
func NewKeeper(f *fleet.Fleet, s Settings) *Keeper {
	if s.Retention <= 0 {
		s.Retention = 30 * 24 * time.Hour
	}
	if s.Window <= 0 {
		s.Window = 50 * time.Millisecond
	}
	if s.CheckpointEvery <= 0 {
		s.CheckpointEvery = time.Minute
	}
	if s.SaidEvery <= 0 {
		s.SaidEvery = 10 * time.Second
	}
	if s.PruneEvery <= 0 {
		s.PruneEvery = time.Minute
	}
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.Advise == nil {
		s.Advise = func(err error) error { return err }
	}
	if s.Changed == nil {
		s.Changed = func(error) {}
	}
	f.Unkept(0, f.Position(), 0) // from now on what gets lost is counted
	return &Keeper{fleet: f, settings: s, seed: maphash.MakeSeed(), kept: map[opampwire.InstanceUID]Kept{}}
}

// Start takes what the store has into the fleet, and begins to write. What the user has to put right is an error: a
// file that is not ours, or that a newer version wrote, or that can't be made. What may pass (the file is locked, the
// disk is full) is not: the fleet is served, and it is tried again.
func (k *Keeper) Start(ctx context.Context) error {
	if err := k.open(ctx); err != nil {
		if !passes(err) {
			return fmt.Errorf("%s: %w", k.settings.Name, k.settings.Advise(err))
		}
		k.failed(err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k.stop = cancel
	k.running.Go(func() { k.run(running) })
	return nil
}

// passes reports whether an error may be gone at the next attempt.
func passes(err error) bool {
	return errors.Is(err, ErrLocked) || errors.Is(err, ErrFull) || errors.Is(err, ErrDamaged)
}

// Stop writes what is left, as long as ctx lives, and closes the store. Without Start it does nothing.
func (k *Keeper) Stop(ctx context.Context) error {
	if k.stop == nil {
		return nil
	}
	k.stop()
	k.running.Wait()
	k.stop = nil
	var err error
	if k.opened() == nil {
		err = errNeverWritten
	} else {
		if err = k.flush(ctx); err == nil {
			err = errors.Join(k.checkpoint(ctx), k.writeSaid(ctx))
		}
		err = errors.Join(err, k.close())
	}
	if err != nil {
		return fmt.Errorf("%s: the last changes were not kept: %w", k.settings.Name, err)
	}
	return nil
}

// Stats of now.
func (k *Keeper) Stats() KeeperStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store != nil {
		k.stats.Store = k.store.Stats()
	}
	return k.stats
}

// Events answers from the store; from memory while there is none, and what could not be written yet.
func (k *Keeper) Events(ctx context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	s := k.opened()
	if s == nil {
		return k.fleet.Events(q), nil
	}
	k.mu.Lock()
	failing, written := k.stats.Failing, k.written
	k.mu.Unlock()
	q = q.Bound()
	if !failing || (q.Before != 0 && q.Before <= written+1) {
		return s.Events(ctx, q)
	}
	page := k.fleet.Events(q)
	for i, e := range page.Events {
		if e.ID > written {
			continue
		}
		q.Before, q.Limit = written+1, q.Limit-i
		rest, err := s.Events(ctx, q)
		rest.Events = append(page.Events[:i:i], rest.Events...)
		return rest, err
	}
	n := len(page.Events)
	if page.Next != 0 || n == q.Limit {
		page.Next = page.Events[n-1].ID
		return page, nil
	}
	q.Before, q.Limit = written+1, q.Limit-n // memory has no more
	rest, err := s.Events(ctx, q)
	rest.Events = append(page.Events, rest.Events...)
	return rest, err
}

// Config returns an effective config that some agent has or had, nil if none is known.
func (k *Keeper) Config(ctx context.Context, sum fleet.Sum) (*fleet.Config, error) {
	if s := k.opened(); s != nil {
		return s.Config(ctx, sum)
	}
	return k.fleet.Config(sum), nil
}

func (k *Keeper) opened() Store {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.store
}

func (k *Keeper) setStore(s Store) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.store = s
}

func (k *Keeper) close() error {
	s := k.opened()
	k.setStore(nil)
	return s.Close()
}
