// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"maps"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// MaxComponents is how many component instances are kept. A Collector has tens;
// the bound holds against a caller that makes up names.
const MaxComponents = 4096

// phase is where the Collector is in its life.
type phase int

const (
	phaseStarting phase = iota // before Ready
	phaseReady
	phaseStopping // after NotReady
)

// state is the latest that is known of one component instance.
type state struct {
	event *componentstatus.Event
	since time.Time // when the present run of one status began
}

type instances map[componentstatus.InstanceID]state

// Stats counts from construction on. Each event is one of those that were reported by
// themselves, Dropped, Suppressed, Coalesced, or still waits to be looked at.
type Stats struct {
	Events     uint64 // status events that arrived
	Reports    uint64 // messages sent
	Dropped    uint64 // events of components beyond MaxComponents
	Suppressed uint64 // events after which all was as last told
	Coalesced  uint64 // events that left in one message with a later one
}

// Recorder holds the latest status of every component. Its methods may be called
// in any order and from any goroutine.
type Recorder struct {
	// Fixed at construction.
	started time.Time
	changed chan struct{} // size 1, never closed: some status is new
	turned  chan struct{} // size 1, never closed: the phase is new
	quit    chan struct{} // closed by the first Stop

	mu sync.Mutex
	// Guarded by mu.
	latest     instances
	atNotReady instances // latest as it was when stopping began
	phase      phase
	phaseSince time.Time
	stopped    bool
	done       chan struct{} // nil until Start; closed when the goroutine has left
	stats      Stats
	news       uint64 // events that are in latest and in no message yet
}

// New makes a Recorder of a Collector that was started at the given time, which
// is the start time of every part in every message.
func New(started time.Time) *Recorder {
	return &Recorder{
		started: started,
		changed: make(chan struct{}, 1),
		turned:  make(chan struct{}, 1),
		quit:    make(chan struct{}),
		latest:  instances{},
	}
}

// ComponentStatusChanged records the event as the latest of its component. It
// never blocks, allocates nothing for a component it knows, and ignores what
// arrives after Stop.
func (r *Recorder) ComponentStatusChanged(source *componentstatus.InstanceID, event *componentstatus.Event) {
	if source == nil || event == nil || event.Status() == componentstatus.StatusNone {
		return
	}
	r.mu.Lock()
	news := r.recordLocked(*source, event)
	r.mu.Unlock()
	if news {
		signal(r.changed)
	}
}

// recordLocked keys by value: the service makes new pointers for the same
// instance when it reloads. It reports whether anybody should look.
func (r *Recorder) recordLocked(id componentstatus.InstanceID, event *componentstatus.Event) bool {
	if r.stopped {
		return false
	}
	r.stats.Events++
	prev, known := r.latest[id]
	if !known && len(r.latest) >= MaxComponents {
		r.stats.Dropped++
		return false
	}
	since := event.Timestamp()
	if known && prev.event.Status() == event.Status() {
		if isBare(prev.event) && isBare(event) {
			r.stats.Suppressed++
			return false // the same again; memory_limiter says OK once a second
		}
		since = prev.since
	}
	r.latest[id] = state{event: event, since: since}
	r.news++
	return true
}

// isBare tells an event that says no more than its status.
func isBare(e *componentstatus.Event) bool {
	return e.Err() == nil && (e.Attributes() == pcommon.Map{} || e.Attributes().Len() == 0)
}

// Ready says that every pipeline runs. The first tree follows.
func (r *Recorder) Ready() { r.turn(phaseReady) }

// NotReady says that the pipelines are about to stop.
func (r *Recorder) NotReady() { r.turn(phaseStopping) }

func (r *Recorder) turn(to phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.phase == to {
		return
	}
	r.phase, r.phaseSince = to, time.Now()
	if to == phaseStopping {
		r.atNotReady = maps.Clone(r.latest)
	}
	signal(r.turned)
}

// Start hands every message to send, the first one before it returns. The
// message is send's to keep and must not be changed; send must not block. A second
// Start, and one after Stop, does nothing.
func (r *Recorder) Start(send func(*protobufs.ComponentHealth)) {
	r.mu.Lock()
	if r.stopped || r.done != nil {
		r.mu.Unlock()
		return
	}
	done := make(chan struct{})
	r.done = done
	r.mu.Unlock()

	rep := &reporter{recorder: r, send: send}
	rep.sayStarting()
	go func() {
		defer close(done)
		rep.run()
	}()
}

// Stop ends the reports and waits for the goroutine, which first says StatusStopping
// if NotReady was called and that has not left yet.
func (r *Recorder) Stop() {
	r.mu.Lock()
	first := !r.stopped
	r.stopped = true
	done := r.done
	r.mu.Unlock()

	if first {
		close(r.quit)
	}
	if done != nil {
		<-done
	}
}

// Stats are the counts so far.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// currentPhase is the phase and when it was entered.
func (r *Recorder) currentPhase() (phase, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase, r.phaseSince
}

// snapshot is what is known now, and how many of the events in it are in no message.
func (r *Recorder) snapshot() (all instances, news uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.latest), r.news
}

// snapshotAtNotReady is immutable: nothing is recorded into it any more.
func (r *Recorder) snapshotAtNotReady() instances {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.atNotReady
}

// noteReport counts a message with that many events in it.
func (r *Recorder) noteReport(news uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Reports++
	r.news -= news
	if news > 0 {
		r.stats.Coalesced += news - 1
	}
}

// noteSame counts events that together changed nothing.
func (r *Recorder) noteSame(news uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.news -= news
	r.stats.Suppressed += news
}

// signal sets a level, not a queue: many before the reader looks are one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
