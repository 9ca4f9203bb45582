// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	// placeLimit is how long the first report waits for what was kept, and how long any
	// one use of the place may take. It is longer than file_storage waits for its own
	// lock (1 s), so that it gets to say why.
	placeLimit = 2 * time.Second
	// keeperStopLimit is how long the end of the extension waits for the place.
	keeperStopLimit = 500 * time.Millisecond
	// saveRetry is how soon a save that failed is tried again.
	saveRetry = time.Minute
)

// keeper keeps an extension's instance UID in a place. Whatever the place does is
// done in the keeper's own goroutine: one that hangs keeps nobody else from anything.
type keeper struct {
	// Fixed at construction.
	uids   *Registry
	id     component.ID
	place  Place
	logger *zap.Logger
	hostID func() string

	found  chan opampwire.InstanceUID // of size 1: the UID to begin with
	change chan struct{}              // a level of size 1: the UID in use is not kept yet
	quit   chan struct{}              // closed by stop
	done   chan struct{}              // closed when run has returned
	life   context.Context            // of all uses of the place
	end    context.CancelFunc

	mu     sync.Mutex
	waived bool // guarded by mu: wait has gone without

	// Owned by run.
	host    string
	failing bool // the last save failed
}

func newKeeper(uids *Registry, id component.ID, place Place, logger *zap.Logger) *keeper {
	k := &keeper{
		uids:   uids,
		id:     id,
		place:  place,
		logger: logger.With(place.field()),
		hostID: HostID,
		found:  make(chan opampwire.InstanceUID, 1),
		change: make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

func (k *keeper) start() { go k.run() }

// wait is the UID to begin with. It is called once. Where the place does not answer in
// time the extension goes on with the process's own UID, and a late answer changes
// nothing any more: the place is left as it is until the next start or reload.
func (k *keeper) wait(ctx context.Context) opampwire.InstanceUID {
	limit := time.NewTimer(placeLimit)
	defer limit.Stop()
	select {
	case uid := <-k.found:
		return uid
	case <-limit.C:
	case <-ctx.Done():
	}
	if k.waive() {
		return <-k.found // at the last moment
	}
	uid := k.uids.of(k.id).uid
	if ctx.Err() == nil {
		k.logger.Warn("What keeps the instance UID does not answer; this collector goes on with one that is not kept",
			zap.Duration("waited", placeLimit), zap.Stringer("instance_uid", uid))
	}
	return uid
}

// settle hands the UID to wait and makes it the process's, unless wait has gone.
func (k *keeper) settle(known knownUID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waived {
		return false
	}
	k.uids.set(k.id, known)
	k.found <- known.uid
	return true
}

// waive gives up waiting, unless the UID is there.
func (k *keeper) waive() (found bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waived = len(k.found) == 0
	return !k.waived
}

// nudge says that another UID is in use. It does not block.
func (k *keeper) nudge() {
	select {
	case k.change <- struct{}{}:
	default: // it will look anyway
	}
}

// stop waits until everything is kept, not longer than keeperStopLimit.
func (k *keeper) stop(ctx context.Context) {
	defer k.end()
	close(k.quit)
	limit := time.NewTimer(keeperStopLimit)
	defer limit.Stop()
	select {
	case <-k.done:
	case <-limit.C:
		k.logger.Warn("What keeps the instance UID hangs and is left behind", zap.Duration("waited", keeperStopLimit))
	case <-ctx.Done():
	}
}

func (k *keeper) run() {
	defer close(k.done)
	known, unsaved, open := k.begin()
	if open {
		defer k.close()
	}
	if k.settle(known) && open {
		k.keep(known.uid, unsaved)
	}
}

// begin finds the UID to begin with, and says whether it has yet to be saved and
// whether the place is open.
func (k *keeper) begin() (known knownUID, unsaved, open bool) {
	ctx, cancel := context.WithTimeout(k.life, placeLimit)
	defer cancel()
	if err := k.place.open(ctx); err != nil {
		return k.withoutPlace(err), false, false
	}
	k.host = k.hostID()
	data, err := k.place.load(ctx)
	if err != nil {
		// The record may be good: it is not overwritten but by a UID that the server assigns.
		known = k.uids.of(k.id)
		k.logger.Warn("The kept instance UID cannot be read; this collector goes on with one that is not kept",
			zap.Error(err), zap.Stringer("instance_uid", known.uid))
		return known, false, true
	}
	known = k.choose(data)
	return known, !bytes.Equal(data, k.record(known.uid)), true
}

// withoutPlace is the UID where the place cannot be had. If another process has it
// that must not be the one that the place holds.
func (k *keeper) withoutPlace(err error) knownUID {
	known, text := k.uids.of(k.id), "The instance UID cannot be kept; this collector goes on with one that is not"
	if errors.Is(err, errHeld) {
		known, text = k.uids.own(k.id), "Another collector keeps its instance UID in the same place; "+
			"this one goes on with another, which is not kept"
	}
	k.logger.Warn(text, zap.Error(err), zap.Stringer("instance_uid", known.uid))
	return known
}

// choose is the UID to use where data was kept. An empty file is one that
// somebody made room with.
func (k *keeper) choose(data []byte) knownUID {
	known := k.uids.of(k.id)
	if len(data) == 0 {
		return known
	}
	kept, err := decodeRecord(data)
	switch {
	case err != nil:
		k.logger.Warn("What was kept is no instance UID and is overwritten",
			zap.Error(err), zap.Stringer("instance_uid", known.uid))
	case kept.hostID != "" && k.host != "" && kept.hostID != k.host:
		known = k.uids.own(k.id)
		k.logger.Warn("The kept instance UID is that of a collector on another host, of which this seems to be a copy; "+
			"this one begins anew", zap.String("kept_host_id", kept.hostID), zap.String("host_id", k.host),
			zap.Stringer("kept_instance_uid", kept.uid), zap.Stringer("instance_uid", known.uid))
	case known.origin == originAssigned && known.uid != kept.uid: // and it could not be saved before a reload
	default:
		if k.host == "" {
			k.host = kept.hostID
		}
		return knownUID{kept.uid, originKept}
	}
	return known
}

func (k *keeper) record(uid opampwire.InstanceUID) []byte {
	return record{uid: uid, hostID: k.host}.encode()
}

// keep saves uid, if it is unsaved, and each that follows it, until stop.
func (k *keeper) keep(uid opampwire.InstanceUID, unsaved bool) {
	for {
		if unsaved {
			unsaved = !k.save(uid)
		}
		var retry <-chan time.Time
		if unsaved {
			retry = time.After(saveRetry)
		}
		select {
		case <-k.change:
			uid, unsaved = k.uids.of(k.id).uid, true
		case <-retry:
		case <-k.quit:
			k.lastSave(uid, unsaved)
			return
		}
	}
}

func (k *keeper) lastSave(uid opampwire.InstanceUID, unsaved bool) {
	select {
	case <-k.change:
		uid, unsaved = k.uids.of(k.id).uid, true
	default:
	}
	if unsaved {
		k.save(uid)
	}
}

// save reports whether it did. Of failures in a row the first and their end are logged.
func (k *keeper) save(uid opampwire.InstanceUID) bool {
	ctx, cancel := context.WithTimeout(k.life, placeLimit)
	defer cancel()
	err := k.place.save(ctx, k.record(uid))
	switch {
	case err != nil && !k.failing:
		k.logger.Warn("The instance UID could not be kept; this is tried again every minute",
			zap.Error(err), zap.Stringer("instance_uid", uid))
	case err == nil && k.failing:
		k.logger.Info("The instance UID is kept again", zap.Stringer("instance_uid", uid))
	}
	k.failing = err != nil
	if err != nil {
		return false
	}
	k.uids.kept(k.id, uid)
	return true
}

func (k *keeper) close() {
	ctx, cancel := context.WithTimeout(context.Background(), placeLimit)
	defer cancel()
	if err := k.place.close(ctx); err != nil {
		k.logger.Warn("What keeps the instance UID could not be closed", zap.Error(err))
	}
}
