// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// run writes what changes, until ctx ends.
func (k *Keeper) run(ctx context.Context) {
	watcher := k.fleet.Watch()
	defer watcher.Close()
	if k.retry > 0 { // Start failed
		sleep(ctx, k.retry)
	}
	for ctx.Err() == nil {
		if err := k.work(ctx, watcher); err != nil && ctx.Err() == nil {
			k.failed(err)
			sleep(ctx, k.retry)
		}
	}
}

// sleep returns when d has passed, or ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// work writes until something fails, or ctx ends.
func (k *Keeper) work(ctx context.Context, watcher *fleet.Watcher) error {
	if k.opened() == nil {
		if err := k.open(ctx); err != nil {
			return err
		}
	}
	if err := k.flush(ctx); err != nil {
		return err
	}
	k.recovered()
	checkpoint := time.NewTicker(k.settings.CheckpointEvery)
	defer checkpoint.Stop()
	said := time.NewTicker(k.settings.SaidEvery)
	defer said.Stop()
	prune := time.NewTicker(k.settings.PruneEvery)
	defer prune.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.C:
			sleep(ctx, k.settings.Window)
			err = k.flush(ctx)
		case <-checkpoint.C:
			err = k.checkpoint(ctx)
		case <-said.C:
			err = k.writeSaid(ctx)
		case <-prune.C:
			err = k.prune(ctx, time.Now())
		}
		if err != nil {
			return err
		}
	}
}

// flush writes all that was not written.
func (k *Keeper) flush(ctx context.Context) error {
	for {
		if err := k.writeAhead(ctx); err != nil {
			return err
		}
		unkept := k.fleet.Unkept(k.event, k.position, batchRows)
		k.noteLost(&unkept)
		if err := k.writeUnkept(ctx, unkept); err != nil {
			return err
		}
		k.position, k.surplus = unkept.Position, nil
		if len(unkept.Events) < batchRows {
			return nil
		}
	}
}

// noteLost puts an event into the hole that events have left which nobody could keep.
func (k *Keeper) noteLost(u *fleet.Keeping) {
	n := u.Lost - k.lost
	if n == 0 || len(u.Events) == 0 {
		return
	}
	first := u.Events[0]
	gap := fleet.Event{
		ID: first.ID - 1, At: first.At, Kind: fleet.EventGap, To: strconv.FormatUint(n, 10),
		Detail: "memory had no room for them while the database could not be written",
	}
	u.Events = slices.Insert(u.Events, 0, gap)
	k.mu.Lock()
	k.stats.Lost = u.Lost
	k.mu.Unlock()
}

// writeAhead writes what has happened before the agents that it happened to, where that is much: of agents the last state
// is enough, however late it is written, but of events memory has room for so many only, and an event costs a small part
// of what an agent does. What is left belongs with the next agents.
func (k *Keeper) writeAhead(ctx context.Context) error {
	for range mostAhead {
		events, lost := k.fleet.UnkeptEvents(k.event, batchRows)
		if len(events) < batchRows {
			return nil
		}
		u := fleet.Keeping{Events: events, Lost: lost}
		k.noteLost(&u)
		b := Batch{Events: u.Events}
		if err := k.write(ctx, func(s Store) error { return s.Write(ctx, b) }); err != nil {
			return err
		}
		k.wrote(b)
		k.lost = lost
	}
	return nil
}

// writeUnkept writes in transactions that are not too large.
func (k *Keeper) writeUnkept(ctx context.Context, u fleet.Keeping) error {
	removed := k.removed(&u)
	for _, uid := range removed {
		delete(k.kept, uid) // it may be there again
	}
	b := Batch{Events: u.Events, Removed: removed}
	for rest := u.Agents; ; {
		var err error
		if b.Agents, rest, err = k.changes(rest); err != nil {
			return err
		}
		if len(b.Events)+len(b.Removed)+len(b.Agents) > 0 {
			if err := k.write(ctx, func(s Store) error { return s.Write(ctx, b) }); err != nil {
				return err
			}
			k.wrote(b)
		}
		k.lost = max(k.lost, u.Lost)
		if b = (Batch{}); len(rest) == 0 {
			return nil
		}
		if err := k.writeAhead(ctx); err != nil {
			return err
		}
	}
}

// removed are the agents that are to be deleted.
func (k *Keeper) removed(u *fleet.Keeping) []opampwire.InstanceUID {
	out := slices.Concat(k.surplus, u.Removed)
	if !u.Reset {
		return out
	}
	there := make(map[opampwire.InstanceUID]bool, len(u.Agents))
	for _, a := range u.Agents {
		there[a.UID] = true
	}
	for uid := range k.kept {
		if !there[uid] {
			out = append(out, uid)
		}
	}
	return out
}

// changes are the next of those agents of whom something else was written, as many as belong into a batch.
func (k *Keeper) changes(agents []*fleet.Agent) (out []Change, rest []*fleet.Agent, err error) {
	for i, a := range agents {
		kept := k.kept[a.UID]
		if kept.Version == a.Version {
			continue
		}
		if len(out) == batchRows {
			return out, agents[i:], nil
		}
		c := Change{Kept: kept, Is: a}
		if c.State, err = a.Marshal(); err != nil {
			return nil, nil, err
		}
		is := k.keptOf(&c)
		if kept.State == is.State && kept.Config == is.Config && kept.Components == is.Components {
			k.kept[a.UID] = is // only what is not kept has changed, such as its custom messages
			continue
		}
		out = append(out, c)
	}
	return out, nil, nil
}

// keptOf is what is kept when c was written.
func (k *Keeper) keptOf(c *Change) Kept {
	is := keptOf(c.Is)
	is.State = max(1, maphash.Bytes(k.seed, c.State))
	is.Said = c.Kept.Said // that is written apart
	return is
}

// write writes to the store, and makes room once, where there is none. Where that did not help, because others fill the
// disk, no more of the history is given up for it.
func (k *Keeper) write(ctx context.Context, to func(Store) error) error {
	s := k.opened()
	err := to(s)
	if err == nil {
		k.futile = false
	}
	if !errors.Is(err, ErrFull) || k.futile {
		return err
	}
	n, roomErr := s.Prune(ctx, time.Now(), roomRows)
	if roomErr != nil || n == 0 {
		return err
	}
	k.mu.Lock()
	k.stats.Trimmed += uint64(n)
	k.mu.Unlock()
	err = to(s)
	k.futile = errors.Is(err, ErrFull)
	return err
}

func (k *Keeper) wrote(b Batch) {
	if n := len(b.Events); n > 0 {
		k.event = b.Events[n-1].ID
		k.fleet.Kept(k.event)
		k.noteWritten()
	}
	for _, c := range b.Agents {
		k.kept[c.Is.UID] = k.keptOf(&c)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.Events += uint64(len(b.Events))
	k.stats.Agents += uint64(len(b.Agents))
}

func (k *Keeper) noteWritten() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.written = k.event
}

// checkpoint writes when agents were last heard.
func (k *Keeper) checkpoint(ctx context.Context) error {
	const overlap = time.Second // a report that was stamped before now may yet be folded in
	now := time.Now()
	for list := range slices.Chunk(k.fleet.HeardSince(k.heard), 10*batchRows) {
		if err := k.write(ctx, func(s Store) error { return s.WriteHeard(ctx, list) }); err != nil {
			return err
		}
	}
	k.heard = now.Add(-overlap)
	return nil
}

// writeSaid writes what agents said since it was written last.
func (k *Keeper) writeSaid(ctx context.Context) error {
	if err := k.flush(ctx); err != nil { // nothing can be said of who is not there
		return err
	}
	upTo := k.position // who is new since then comes next time
	agents := slices.DeleteFunc(k.fleet.Since(k.said).Agents, func(a *fleet.Agent) bool {
		kept := k.kept[a.UID]
		return kept.Version == 0 || kept.Said == a.Said()
	})
	for part := range slices.Chunk(agents, saidRows) {
		list := make([]Said, 0, len(part))
		for _, a := range part {
			body, err := a.MarshalSaid()
			if err != nil {
				return err
			}
			list = append(list, Said{UID: a.UID, Body: body})
		}
		if err := k.write(ctx, func(s Store) error { return s.WriteSaid(ctx, list) }); err != nil {
			return err
		}
		for _, a := range part {
			kept := k.kept[a.UID]
			kept.Said = a.Said()
			k.kept[a.UID] = kept
		}
	}
	k.said = upTo
	return nil
}

// maxPrunes bounds how long pruning goes on at a time.
const maxPrunes = 100

// prune deletes what is too old, a little at a time; what changes meanwhile is written in between.
func (k *Keeper) prune(ctx context.Context, now time.Time) error {
	for range maxPrunes {
		n, err := k.opened().Prune(ctx, now.Add(-k.settings.Retention), pruneRows)
		if err != nil || n == 0 {
			return err
		}
		if err := k.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}
