// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// keepEvery is how often what waits is written down. A message that is sent within
	// that time is never written.
	keepEvery = 250 * time.Millisecond
	// keepRetry is how soon a write that failed is tried again.
	keepRetry = 10 * time.Second
	// loadLimit is how long the first message waits for what was kept, and useLimit how
	// long one use of the store may take.
	loadLimit = 2 * time.Second
	useLimit  = 5 * time.Second
	// keepStopLimit is how long the end waits for the last write.
	keepStopLimit = 500 * time.Millisecond
)

// Store holds records outside of the process. One goroutine calls it; Open comes first,
// and nothing but it unless it succeeds.
type Store interface {
	// Field names the store by the user's key.
	Field() zap.Field
	// Open takes the store for this registry alone.
	Open(ctx context.Context) error
	// Get returns nil where nothing was ever kept.
	Get(ctx context.Context, key string) ([]byte, error)
	// Apply writes and deletes, all of it or nothing where the store can.
	Apply(ctx context.Context, set map[string][]byte, remove []string) error
	Close(ctx context.Context) error
}

// keeper writes down what waits, in segments: now and then the messages that have come
// and are not sent yet, together. A segment goes when all of its messages have gone.
// Whatever the store does is done in the keeper's own goroutine: one that hangs, fails or
// panics keeps nobody from anything.
type keeper struct {
	// Fixed at construction.
	registry *Registry
	store    Store
	logger   *zap.Logger
	news     chan struct{} // a level of size 1: something is to be written
	quit     chan struct{} // closed by stop
	loaded   chan struct{} // closed when there is nothing to wait for any more
	done     chan struct{} // closed when run has returned
	life     context.Context
	end      context.CancelFunc

	// Guarded by the registry's lock.
	started  bool
	tick     uint64 // of the last write
	segments map[uint32]*segment
	finished map[string]uint64 // the highest number of each capability that has left while it was kept
	stale    bool              // something that is kept has left
	waived   bool              // the store came too late and is not used

	// Owned by run.
	failing bool // the last write failed
}

func newKeeper(r *Registry, store Store, logger *zap.Logger) *keeper {
	k := &keeper{
		registry: r, store: store, logger: logger.With(store.Field()),
		news: make(chan struct{}, 1), quit: make(chan struct{}), loaded: make(chan struct{}), done: make(chan struct{}),
		segments: make(map[uint32]*segment), finished: make(map[string]uint64),
	}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

// Open reads what was kept and then lets messages out. It returns when that is done, when
// ctx ends, or when it is given up: then the store is left as it is until the next start.
// It is called once.
func (r *Registry) Open(ctx context.Context) {
	if r.keeper == nil {
		return
	}
	r.mu.Lock()
	r.keeper.started = true
	r.mu.Unlock()
	go r.keeper.run()
	limit := time.NewTimer(loadLimit)
	defer limit.Stop()
	select {
	case <-r.keeper.loaded:
	case <-limit.C:
		r.keeper.waive()
	case <-ctx.Done(): // there is nobody to send to any more, and still something to keep
	}
}

// waive goes on without the store, unless it has answered.
func (k *keeper) waive() {
	k.registry.mu.Lock()
	defer k.registry.mu.Unlock()
	if !k.registry.held {
		return // at the last moment
	}
	k.waived = true
	k.registry.letOutLocked()
	k.logger.Warn("The storage of custom messages does not answer; this collector goes on without it", zap.Duration("waited", loadLimit))
}

func (r *Registry) letOutLocked() {
	r.held = false
	for _, q := range r.queues {
		q.giveRoom()
	}
	r.link.Nudge()
}

func (k *keeper) run() {
	defer close(k.done)
	if err := k.use(k.store.Open); err != nil {
		k.goWithout(err)
		return
	}
	defer func() { _ = k.use(k.store.Close) }()
	if !k.restore() {
		return
	}
	pause := time.NewTimer(keepEvery)
	defer pause.Stop()
	for {
		select {
		case <-k.quit:
			k.write(true)
			return
		case <-k.news:
		}
		for more := true; more; {
			pause.Reset(keepEvery)
			if k.failing {
				pause.Reset(keepRetry)
			}
			select {
			case <-k.quit:
				k.write(true)
				return
			case <-pause.C:
			}
			more = k.write(false)
		}
	}
}

// goWithout lets messages out where there is no store.
func (k *keeper) goWithout(err error) {
	defer close(k.loaded)
	k.registry.mu.Lock()
	defer k.registry.mu.Unlock()
	if k.waived {
		return // nobody waits any more
	}
	k.waived = true
	k.registry.letOutLocked()
	k.logger.Warn("Cannot use the storage of custom messages; those that are unsent when this collector stops are lost", zap.Error(err))
}

// restore reads what was kept, and reports whether that went, in time.
func (k *keeper) restore() bool {
	h, err := k.load()
	if err != nil && !errors.Is(err, errDamaged) { // what is there may be good: it is left alone
		k.goWithout(err)
		return false
	}
	defer close(k.loaded)
	if err != nil {
		k.logger.Warn("Some custom messages that were kept over a restart cannot be read", zap.Error(err))
	}
	k.registry.mu.Lock()
	defer k.registry.mu.Unlock()
	if k.waived {
		return false
	}
	k.segments, k.finished = h.segments, h.done
	if err != nil { // of how many messages nobody can tell
		k.registry.countsLocked(otherLabel).dropped[droppedDamaged]++
	}
	k.registry.restoreLocked(h)
	k.registry.letOutLocked()
	return true
}

// use calls the store. A panic is an error: the database below file_storage panics on a
// damaged file.
func (k *keeper) use(call func(ctx context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(k.life, useLimit)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the storage panicked: %v", r)
		}
	}()
	return call(ctx)
}

func (k *keeper) get(key string) (data []byte, err error) {
	err = k.use(func(ctx context.Context) (err error) {
		data, err = k.store.Get(ctx, key)
		return err
	})
	return data, err
}

// restored is a message that was kept, and where.
type restored struct {
	numbered
	segment *segment
}

// holdings are what a store was found to hold.
type holdings struct {
	messages []restored // in the order in which they were sent
	segments map[uint32]*segment
	done     map[string]uint64 // the highest number of each capability that need not be sent
	number   uint64            // the highest that was ever given to one of these
}

// load reads what was kept. What is damaged is left out.
func (k *keeper) load() (holdings, error) {
	h := holdings{segments: make(map[uint32]*segment), done: make(map[string]uint64)}
	data, err := k.get(indexKey)
	if err != nil || data == nil {
		return h, err
	}
	x, err := decodeIndex(data)
	if err != nil {
		return h, err
	}
	for capability, number := range x.Done {
		h.done[capability] = number
		h.number = max(h.number, number)
	}
	var errs []error
	for _, id := range x.Segments {
		if h.segments[id] != nil {
			continue
		}
		s := &segment{id: id, last: make(map[string]uint64)}
		h.segments[id] = s
		data, err := k.get(segmentKey(id))
		if err != nil {
			return h, err
		}
		messages, err := decodeSegment(data)
		for _, m := range messages {
			h.number = max(h.number, m.number)
			s.last[m.msg.GetCapability()] = max(s.last[m.msg.GetCapability()], m.number)
			if m.number > h.done[m.msg.GetCapability()] {
				h.messages = append(h.messages, restored{m, s})
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("segment %d: %w", id, err))
		}
	}
	slices.SortStableFunc(h.messages, func(a, b restored) int { return cmp.Compare(a.number, b.number) })
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return h, errors.Join(errs...)
}

// restoreSlack is how far what was kept may be past the bounds of a queue: what came in
// while it was read the last time is beyond them.
const restoreSlack = 2

// restoreLocked puts what was kept in front of what has come since.
func (r *Registry) restoreLocked(h holdings) {
	came := make(map[*queue]fifo[*item], len(r.queues))
	for _, q := range r.queues {
		came[q] = q.items
		q.items = fifo[*item]{}
		r.chargeLocked(q, -q.bytes)
	}
	r.number = max(r.number, h.number)
	for _, m := range h.messages {
		r.restoreOneLocked(m)
	}
	for q, items := range came {
		for i := range items.len() {
			r.number++
			items.at(i).number = r.number
			q.items.push(items.at(i))
			r.chargeLocked(q, items.at(i).size())
		}
	}
	if len(h.segments) > 0 {
		r.keeper.stale = true
		r.keeper.nudge()
	}
	if len(h.messages) > 0 {
		r.set.Logger.Info("Custom messages were kept over a restart and are sent now", zap.Int("messages", len(h.messages)))
	}
}

func (r *Registry) restoreOneLocked(m restored) {
	q, err := r.queueLocked(m.msg.GetCapability())
	if err != nil { // others have come since
		r.countsLocked(m.msg.GetCapability()).dropped[droppedRestored]++
		r.sayLocked("Dropped custom messages that were kept over a restart", m.msg.GetCapability(), zap.Error(err))
		return
	}
	i := &item{msg: m.msg, number: m.number, settled: make(chan struct{}), kept: m.segment, again: true}
	if q.items.len() >= restoreSlack*r.set.QueueSize || q.bytes+i.size() > restoreSlack*r.set.QueueBytes ||
		r.bytes+i.size() > restoreSlack*r.set.TotalBytes {
		q.counts.dropped[droppedRestored]++
		r.sayLocked("Dropped custom messages that were kept over a restart: they are more than twice as many as may wait", q.capability)
		return
	}
	q.items.push(i)
	r.chargeLocked(q, i.size())
	m.segment.live++
}

func (k *keeper) nudge() {
	select {
	case k.news <- struct{}{}:
	default: // it will look anyway
	}
}

// addedLocked notes an item that is to be kept if it is still there in a while.
func (k *keeper) addedLocked(i *item) {
	i.tick = k.tick
	k.nudge()
}

// leftLocked notes an item that need not be kept any more.
func (k *keeper) leftLocked(i *item) {
	if i.kept == nil {
		return
	}
	i.kept.live--
	k.finishedLocked(i)
}

func (k *keeper) finishedLocked(i *item) {
	k.finished[i.msg.GetCapability()] = max(k.finished[i.msg.GetCapability()], i.number)
	k.stale = true
	k.nudge()
}

// write brings the store up to date, and reports whether there is more to be written
// before anything happens. Messages that have just come are left out, for they will
// mostly be gone in a moment, unless this is the last write.
func (k *keeper) write(last bool) (more bool) {
	k.registry.mu.Lock()
	items, young := k.dueLocked(last)
	if len(items) == 0 && !k.stale {
		k.registry.mu.Unlock()
		return young
	}
	dead := k.deadLocked()
	k.stale = false
	fresh := k.groupLocked(items)
	x := k.indexLocked(fresh)
	k.registry.mu.Unlock()

	set, remove := map[string][]byte{indexKey: x.encode()}, make([]string, 0, len(dead))
	for id, items := range fresh {
		set[segmentKey(id)] = encodeSegment(items)
	}
	for _, id := range dead {
		remove = append(remove, segmentKey(id))
	}
	err := k.use(func(ctx context.Context) error { return k.store.Apply(ctx, set, remove) })

	k.registry.mu.Lock()
	defer k.registry.mu.Unlock()
	if err != nil {
		k.stale, k.failing = true, true
		k.registry.sayLocked("Cannot write to the storage of custom messages; those that are unsent when this collector stops may be lost",
			"", zap.Error(err), k.store.Field())
		return true
	}
	k.failing = false
	for _, id := range dead {
		delete(k.segments, id)
	}
	k.keptLocked(fresh)
	return young || k.stale
}

// dueLocked are the items to be written, and whether there are others that are too young.
func (k *keeper) dueLocked(last bool) (due []*item, young bool) {
	for _, q := range k.registry.rotation {
		for i := range q.items.len() {
			switch it := q.items.at(i); {
			case it.kept != nil:
			case last || it.tick < k.tick:
				due = append(due, it)
			default:
				young = true
			}
		}
	}
	k.tick++
	return due, young
}

// deadLocked are the segments that nobody needs.
func (k *keeper) deadLocked() []uint32 {
	var dead []uint32
	for id, s := range k.segments {
		if s.live == 0 {
			dead = append(dead, id)
		}
	}
	return dead
}

// groupLocked makes segments of items, with ids that are free.
func (k *keeper) groupLocked(items []*item) map[uint32][]*item {
	fresh := make(map[uint32][]*item)
	var id uint32
	room := 0
	for _, i := range items {
		if room < i.size() {
			for ; k.segments[id] != nil || fresh[id] != nil; id++ {
				continue
			}
			room = segmentSize
		}
		room -= i.size()
		fresh[id] = append(fresh[id], i)
	}
	return fresh
}

func (k *keeper) indexLocked(fresh map[uint32][]*item) index {
	x := index{Done: make(map[string]uint64)}
	for id, s := range k.segments {
		if s.live == 0 {
			continue
		}
		x.Segments = append(x.Segments, id)
		for capability := range s.last {
			if n := k.finished[capability]; n > 0 {
				x.Done[capability] = n
			}
		}
	}
	for capability := range k.finished {
		if _, needed := x.Done[capability]; !needed {
			delete(k.finished, capability)
		}
	}
	x.Segments = slices.AppendSeq(x.Segments, maps.Keys(fresh))
	slices.Sort(x.Segments)
	return x
}

// keptLocked notes that segments are written. What has left meanwhile is not needed.
func (k *keeper) keptLocked(fresh map[uint32][]*item) {
	for id, items := range fresh {
		s := &segment{id: id, last: make(map[string]uint64)}
		k.segments[id] = s
		for _, i := range items {
			s.last[i.msg.GetCapability()] = max(s.last[i.msg.GetCapability()], i.number)
			if i.over {
				k.finishedLocked(i)
				continue
			}
			i.kept = s
			s.live++
		}
	}
}

// stop waits until all is written, not longer than keepStopLimit.
func (k *keeper) stop(ctx context.Context) {
	defer k.end()
	close(k.quit)
	limit := time.NewTimer(keepStopLimit)
	defer limit.Stop()
	select {
	case <-k.done:
	case <-limit.C:
		k.logger.Warn("The storage of custom messages hangs and is left behind", zap.Duration("waited", keepStopLimit))
	case <-ctx.Done():
	}
}

// Close ends the registry: nothing is taken any more, and what is unsent is kept, where
// there is a store, or lost and counted. It waits for the store half a second at most.
// The client must have been stopped.
func (r *Registry) Close(ctx context.Context) {
	r.mu.Lock()
	again := r.phase == stopped
	r.phase = stopped
	r.releaseLocked()
	keeping := r.keeper != nil && r.keeper.started
	r.mu.Unlock()
	if again {
		return
	}
	if keeping {
		r.keeper.stop(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lost, kept := 0, 0
	for _, q := range r.queues {
		for i := range q.items.len() {
			if q.items.at(i).kept != nil {
				kept++
				continue
			}
			if q.items.at(i).unmissed {
				continue
			}
			q.counts.dropped[droppedStop]++
			lost++
		}
	}
	switch {
	case lost > 0 && r.keeper == nil:
		r.set.Logger.Warn("Custom messages that the OpAMP server has not got are lost; a storage extension would keep them (storage)",
			zap.Int("messages", lost))
	case lost > 0:
		r.set.Logger.Warn("Custom messages that the OpAMP server has not got are lost; they could not be written to their storage",
			zap.Int("messages", lost), r.keeper.store.Field())
	}
	if kept > 0 {
		r.set.Logger.Info("Custom messages that the OpAMP server has not got are kept for the next start", zap.Int("messages", kept))
	}
}
