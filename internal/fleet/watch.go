// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Position is a moment in the life of a fleet: all changes up to Version, of the fleet that called itself Epoch.
// A fleet that was started anew has another epoch, so a position of the old one is worth nothing there.
type Position struct {
	Epoch   string
	Version uint64
}

// ErrBadPosition says that a text is no [Position].
var ErrBadPosition = errors.New("not a position")

// String is Epoch-Version.
func (p Position) String() string { return p.Epoch + "-" + strconv.FormatUint(p.Version, 10) }

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	epoch, digits, ok := strings.Cut(s, "-")
	version, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || epoch == "" {
		return Position{}, fmt.Errorf("%w: %.64q", ErrBadPosition, s)
	}
	return Position{Epoch: epoch, Version: version}, nil
}

// Delta is what changed between two positions. States, not events: an agent that changed often is in it once.
type Delta struct {
	// Position to ask from next time.
	Position Position
	// Reset says that the old position is not known any more: Agents is everybody, and whoever is not in it is gone.
	Reset bool
	// Agents that are new or changed, the last change last.
	Agents []*Agent
	// Removed agents are forgotten. An agent can be in both lists, if it was forgotten and came back.
	Removed []opampwire.InstanceUID
}

// Empty reports whether nothing happened.
func (d Delta) Empty() bool { return !d.Reset && len(d.Agents) == 0 && len(d.Removed) == 0 }

// Position of now.
func (f *Fleet) Position() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.positionLocked()
}

func (f *Fleet) positionLocked() Position { return Position{Epoch: f.epoch, Version: f.version} }

// Since returns what changed after p. Its cost is that of what changed, not of the fleet.
func (f *Fleet) Since(p Position) Delta {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinceLocked(p)
}

func (f *Fleet) sinceLocked(p Position) Delta {
	d := Delta{Position: f.positionLocked()}
	if p.Epoch != f.epoch || p.Version > f.version || p.Version < f.removals.forgotten {
		d.Reset = true
		p.Version = 0
	} else {
		d.Removed = f.removals.since(p.Version)
	}
	for r := f.byVersion.tail; r != nil && r.agent.Version > p.Version; r = r.version.prev {
		d.Agents = append(d.Agents, r.agent)
	}
	reverse(d.Agents)
	return d
}

func reverse[T any](s []T) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// Watcher is told that something changed. It has to look what, with [Fleet.Since].
type Watcher struct {
	// C holds at most one wake, however much happened since it was looked at. It is never closed.
	C <-chan struct{}

	c     chan struct{}
	fleet *Fleet
}

// Watch starts telling. The watcher must be closed.
func (f *Fleet) Watch() *Watcher {
	c := make(chan struct{}, 1)
	w := &Watcher{C: c, c: c, fleet: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers[w] = struct{}{}
	return w
}

// Close ends the telling. Closing twice is no event.
func (w *Watcher) Close() {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	delete(w.fleet.watchers, w)
}

// Wake wakes every watcher though no agent has changed, for those who tell of more than agents: what somebody makes of
// the agents has.
func (f *Fleet) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeLocked()
}

func (f *Fleet) wakeLocked() {
	for w := range f.watchers {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

// removals is a bounded memory of who was forgotten.
type removals struct {
	log       []removal
	forgotten uint64 // positions before this version can't be told who was removed
}

type removal struct {
	version uint64
	uid     opampwire.InstanceUID
}

const maxRemovals = 1024

func (r *removals) add(x removal) {
	if len(r.log) == maxRemovals {
		half := maxRemovals / 2
		r.forgotten = r.log[half-1].version
		r.log = append(r.log[:0], r.log[half:]...)
	}
	r.log = append(r.log, x)
}

func (r *removals) since(version uint64) (out []opampwire.InstanceUID) {
	for i := len(r.log) - 1; i >= 0 && r.log[i].version > version; i-- {
		out = append(out, r.log[i].uid)
	}
	return out
}
