// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// open opens the store and takes what it has into the fleet. What is damaged is put aside.
func (k *Keeper) open(ctx context.Context) error {
	if k.damaged != nil {
		return k.openAnew(ctx, k.damaged)
	}
	s, err := k.settings.Open(ctx)
	if err != nil {
		return k.openAnew(ctx, err)
	}
	loaded, err := s.Load(ctx)
	if err != nil {
		return k.openAnew(ctx, errors.Join(err, s.Close()))
	}
	if loaded.Unreadable > 0 {
		k.settings.Logger.Warn("agents that can't be read are left out until they report again",
			zap.String("store", k.settings.Name), zap.Int("agents", loaded.Unreadable))
	}
	k.adopt(loaded)
	k.setStore(s)
	k.fleet.Note("started", "", time.Now())
	return nil
}

// adopt takes in what was loaded. Where the fleet has agents already, which were never written, all of it is looked at.
func (k *Keeper) adopt(loaded Loaded) {
	before := k.fleet.Position()
	empty := before.Version == 0
	k.fleet.Restore(loaded.Agents, loaded.LastEvent, time.Now())
	k.event, k.position, k.said = loaded.LastEvent, fleet.Position{}, fleet.Position{}
	if empty {
		k.position = k.fleet.Position()
		k.said = k.position
	}
	k.noteWritten()
	clear(k.kept)
	for _, a := range loaded.Agents {
		kept := keptOf(a) // with no version where the fleet knew better
		switch is, taken := k.fleet.Agent(a.UID); {
		case !taken:
			k.surplus = append(k.surplus, a.UID)
		case is == a:
			kept.Said = a.Said()
		}
		k.kept[a.UID] = kept
	}
}

// openAnew puts a damaged store away and begins another, if that is what is wrong.
func (k *Keeper) openAnew(ctx context.Context, why error) error {
	if !errors.Is(why, ErrDamaged) || k.settings.SetAside == nil {
		return why
	}
	where, err := k.settings.SetAside(time.Now())
	if err != nil {
		return errors.Join(why, err)
	}
	k.damaged = nil
	s, err := k.settings.Open(ctx)
	if err != nil {
		return err
	}
	k.settings.Logger.Error("the database is damaged; it was put aside, and a new one begins with what is in memory",
		zap.String("store", k.settings.Name), zap.String("damaged", where), zap.Error(why))
	// Nothing of memory is in the new one.
	clear(k.kept)
	k.surplus, k.event, k.position, k.said, k.heard = nil, 0, fleet.Position{}, fleet.Position{}, time.Time{}
	k.noteWritten()
	k.setStore(s)
	k.fleet.Note("started", "with a new database; the damaged one is "+where, time.Now())
	return nil
}

// failed notes that something did not work. It is tried again, ever less often.
func (k *Keeper) failed(err error) {
	k.retry = min(max(2*k.retry, firstRetry), lastRetry)
	switch {
	case k.opened() == nil:
	case errors.Is(err, ErrDamaged):
		k.damaged = errors.Join(err, k.close())
	case errors.Is(err, ErrGone): // where there is none a new one begins, with all that is in memory
		err = errors.Join(err, k.close())
		k.heard = time.Time{}
	}
	err = k.settings.Advise(err)
	k.mu.Lock()
	k.stats.Failures++
	first := !k.stats.Failing
	k.stats.Failing, k.stats.Problem = true, err
	if first {
		k.stats.Since = time.Now()
	}
	k.mu.Unlock()
	if first {
		k.settings.Changed(err)
	}
	if now := time.Now(); first || now.Sub(k.logged) >= logEvery {
		k.logged = now
		k.settings.Logger.Error("the fleet is not kept; agents are served from memory, and it is tried again",
			zap.String("store", k.settings.Name), zap.Error(err))
	}
}

// recovered notes that it works again.
func (k *Keeper) recovered() {
	if k.retry == 0 {
		return
	}
	k.retry = 0
	k.mu.Lock()
	k.stats.Failing, k.stats.Problem, k.stats.Since = false, nil, time.Time{}
	k.mu.Unlock()
	k.settings.Changed(nil)
	k.settings.Logger.Info("the fleet is kept again", zap.String("store", k.settings.Name))
}
