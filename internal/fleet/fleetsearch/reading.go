// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"container/list"
	"fmt"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
)

// share is what a question reads of the configs that are unread.
type share struct {
	// all is how many it reads before it is answered, if that are all that are unread: what changed a moment ago is in the
	// answer.
	all int
	// some is how many it reads of more, the last reported first: the answer lacks others in any case.
	some int
}

// usualShare is a few tens of ms, and a few: a config as Collectors tell them takes some 50 to 100 µs.
var usualShare = share{all: 256, some: 64}

// maxReadBytes bounds what is read at a time, for there are long configs. One is read however long it is.
const maxReadBytes = 1 << 20

// facts of a config, and by how many agents it is run.
type facts struct {
	fleetconfig.Facts // of one that is unread only the hash
	config            *fleet.Config
	users             int
	unread            *unread // nil of one that is read
}

// unread is who waits for what is in a config.
type unread struct {
	place *list.Element // in reading.queue; nil if somebody reads it
	slots []int         // whose columns wait; row.seat is where in here
}

// batch is configs that somebody reads outside of the index's lock.
type batch struct {
	configs []*fleet.Config // fixed at construction
	done    chan struct{}   // closed when the index has what is in them
}

// reading is what of the configs is unread. It is guarded by Index.mu.
type reading struct {
	queue   *list.List // of *facts that nobody reads yet, the last reported at the back
	batches map[*batch]struct{}
	unread  int // configs in queue and in batches that somebody runs
}

// restart forgets what is unread, but not who reads.
func (r *reading) restart() {
	r.queue, r.unread = list.New(), 0
	if r.batches == nil {
		r.batches = map[*batch]struct{}{}
	}
}

// add counts one that is unread, and puts it into the queue unless somebody reads it.
func (r *reading) add(f *facts, isRead bool) {
	r.unread++
	f.unread = &unread{}
	if !isRead {
		f.unread.place = r.queue.PushBack(f)
	}
}

// drop forgets one that is read now, or that nobody runs any more.
func (r *reading) drop(f *facts) {
	r.unread--
	r.unqueue(f)
}

func (r *reading) unqueue(f *facts) {
	if f.unread.place != nil {
		r.queue.Remove(f.unread.place)
		f.unread.place = nil
	}
}

// take takes up to n configs out of the queue, from its back or from its front. It is nil if there are none.
func (r *reading) take(n int, back bool) *batch {
	b := &batch{done: make(chan struct{})}
	for room := maxReadBytes; len(b.configs) < n && r.queue.Len() > 0; {
		e := r.queue.Front()
		if back {
			e = r.queue.Back()
		}
		f := e.Value.(*facts)
		if room -= bytesOf(f.config); room < 0 && len(b.configs) > 0 {
			break
		}
		r.unqueue(f)
		b.configs = append(b.configs, f.config)
	}
	if len(b.configs) == 0 {
		return nil
	}
	r.batches[b] = struct{}{}
	return b
}

func bytesOf(c *fleet.Config) (n int) {
	for i := range c.Files {
		n += len(c.Files[i].Body)
	}
	return n
}

// takeThis takes one config out of the queue. If somebody reads it already, those are who to wait for.
func (r *reading) takeThis(f *facts) (mine *batch, others []*batch) {
	if f.unread.place == nil {
		return nil, r.inHand()
	}
	r.unqueue(f)
	mine = &batch{configs: []*fleet.Config{f.config}, done: make(chan struct{})}
	r.batches[mine] = struct{}{}
	return mine, nil
}

// inHand is what others read.
func (r *reading) inHand() (out []*batch) {
	for b := range r.batches {
		out = append(out, b)
	}
	return out
}

// forQuestion takes what a question reads itself, and what others read that it waits for.
func (r *reading) forQuestion(s share) (mine *batch, others []*batch) {
	if r.queue.Len() > s.all {
		return r.take(s.some, true), nil
	}
	others = r.inHand()
	return r.take(s.all, true), others
}

// Unread is how many configs that agents run are not read yet: of these the hash is known, and neither variant, family
// and findings nor what else is in them. Every answer has this number. When it was not 0, [Index.Rounds] grows as soon as
// all are read, and watchers of the fleet are woken ([fleet.Fleet.Wake]), so that the question can be asked again.
func (x *Index) Unread() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.unreadLocked()
}

// Rounds is how often all configs were read after an answer had been given without some.
func (x *Index) Rounds() uint64 { return x.rounds.Load() }

// unreadLocked is what an answer says that is given under the lock.
func (x *Index) unreadLocked() int {
	if x.reading.unread > 0 {
		x.answered.Store(true)
	}
	return x.reading.unread
}

// Read takes in what changed and reads up to n configs, those first that have waited the longest. It returns how many are
// left that nobody reads. Called from time to time it spares questions the work, and those that wait their share of it.
func (x *Index) Read(n int) (left int) {
	if x.upToDate() {
		return 0
	}
	x.mu.Lock()
	x.refreshLocked()
	b := x.reading.take(n, false)
	left = x.reading.queue.Len()
	x.mu.Unlock()
	x.readBatch(b)
	return left
}

// readNamed reads the config whose hash begins with prefix before all others: somebody asks for this one.
func (x *Index) readNamed(prefix string) {
	x.mu.Lock()
	f := x.factsOf(prefix)
	if f == nil || f.unread == nil {
		x.mu.Unlock()
		return
	}
	mine, others := x.reading.takeThis(f)
	x.mu.Unlock()
	x.readAndWait(mine, others)
}

// readAndWait reads a batch, and waits for what others read meanwhile.
func (x *Index) readAndWait(mine *batch, others []*batch) {
	x.readBatch(mine)
	for _, b := range others {
		<-b.done
	}
}

// readBatch reads configs while others go on, and takes in what is in them.
func (x *Index) readBatch(b *batch) {
	if b == nil {
		return
	}
	known := make([]fleetconfig.Facts, len(b.configs))
	for i, c := range b.configs {
		known[i] = x.examineSafely(c)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range known {
		x.settleLocked(f)
	}
	delete(x.reading.batches, b)
	close(b.done)
	x.tellReadLocked()
}

// examineSafely outlives a config that the examination can't stand. It was written by others, and this may be a goroutine
// of its own, whose panic would end the process.
func (x *Index) examineSafely(c *fleet.Config) (f fleetconfig.Facts) {
	defer func() {
		if p := recover(); p != nil {
			hash := c.Hash()
			half := hash[:len(hash)/2]
			f = fleetconfig.Facts{
				Hash: hash, Variant: half, Family: half, Label: "not readable", Bytes: bytesOf(c),
				Problem: fmt.Sprintf("it can't be read: %.200v", p),
			}
		}
	}()
	return x.examine(c)
}

// settleLocked takes in what is in a config, if somebody runs it still.
func (x *Index) settleLocked(known fleetconfig.Facts) {
	f := x.facts[known.Hash]
	if f == nil || f.unread == nil {
		return
	}
	x.reading.drop(f)
	slots := f.unread.slots
	f.Facts, f.unread = known, nil
	for _, slot := range slots {
		x.applyFacts(slot, f)
		if r := &x.rows[slot]; r.bare {
			x.applyParts(slot, r.agent)
		}
	}
}

// tellReadLocked wakes those who have answers that were given before all was read.
func (x *Index) tellReadLocked() {
	if x.reading.unread == 0 && x.answered.CompareAndSwap(true, false) {
		x.rounds.Add(1)
		x.fleet.Wake()
	}
}

// holdFacts counts the agent of a slot among those that run a config.
func (x *Index) holdFacts(slot int, c *fleet.Config) *facts {
	if c == nil {
		return nil
	}
	hash := c.Hash()
	f := x.facts[hash]
	if f == nil {
		f = &facts{Facts: fleetconfig.Facts{Hash: hash}, config: c}
		x.facts[hash] = f
		before := x.before[hash]
		if before != nil && before.unread == nil {
			f.Facts = before.Facts
		} else {
			x.reading.add(f, before != nil && before.unread.place == nil)
		}
	}
	f.users++
	if wait := f.unread; wait != nil {
		x.rows[slot].seat = int32(len(wait.slots)) //nolint:gosec // there are not so many agents
		wait.slots = append(wait.slots, slot)
	}
	return f
}

// dropFacts counts an agent out, which waits at a seat if the config is unread.
func (x *Index) dropFacts(f *facts, seat int32) {
	if f == nil {
		return
	}
	if wait := f.unread; wait != nil {
		last := len(wait.slots) - 1
		if moved := wait.slots[last]; int(seat) < last { // else it is who goes, and may have a seat elsewhere by now
			wait.slots[seat], x.rows[moved].seat = moved, seat
		}
		wait.slots = wait.slots[:last]
	}
	if f.users--; f.users > 0 {
		return
	}
	delete(x.facts, f.Hash)
	if f.unread != nil {
		x.reading.drop(f)
	}
}
