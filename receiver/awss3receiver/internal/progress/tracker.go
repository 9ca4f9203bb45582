// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"maps"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

const (
	// rateSpan is the time that a rate is of.
	rateSpan = 30 * time.Second
	// rateStep is the least time between two samples for it.
	rateStep = time.Second
)

// Tracker is the latest state of one ingest. Its methods may be called from several goroutines and
// do not block.
type Tracker struct {
	wake chan struct{} // a level, not a queue

	mu       sync.Mutex
	state    ingestprogress.Progress
	retrying map[string]struct{} // operations that are being tried again
	samples  []sample            // the oldest is about rateSpan old
}

// sample is how much was done at a time.
type sample struct {
	at             time.Time
	objects, bytes uint64
	position       int64
}

// NewTracker begins an ingest of which id, type, mode and range are known.
func NewTracker(about ingestprogress.Progress) *Tracker {
	about.Began = time.Now().UnixNano()
	about.State = ingestprogress.StateListing
	return &Tracker{wake: make(chan struct{}, 1), state: about, retrying: map[string]struct{}{}}
}

func (t *Tracker) change(f func(*ingestprogress.Progress)) {
	t.mu.Lock()
	f(&t.state)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Range says what is to be read. A zero end is open.
func (t *Tracker) Range(start, end time.Time) {
	t.change(func(p *ingestprogress.Progress) { p.Start, p.End = nano(start), nano(end) })
}

// Listed says that another object was found.
func (t *Tracker) Listed(bytes int64) {
	t.change(func(p *ingestprogress.Progress) {
		p.ObjectsListed++
		p.BytesListed += uint64(max(bytes, 0))
	})
}

// AllListed says that there will be no more, or again that there may be.
func (t *Tracker) AllListed(all bool) {
	t.change(func(p *ingestprogress.Progress) { p.Listed = all })
}

// Begin says which object is in hand.
func (t *Tracker) Begin(key string) {
	t.change(func(p *ingestprogress.Progress) {
		p.Key = key
		p.State = ingestprogress.StateIngesting
	})
}

// Waiting says that there is nothing to do until something new is stored.
func (t *Tracker) Waiting() {
	t.change(func(p *ingestprogress.Progress) { p.State, p.Key = ingestprogress.StateWaiting, "" })
}

// Position says up to which time all is read.
func (t *Tracker) Position(at time.Time) {
	t.change(func(p *ingestprogress.Progress) { p.Position = max(p.Position, nano(at)) })
}

// Delivered says that the object in hand is done with.
func (t *Tracker) Delivered(bytes int64) {
	t.change(func(p *ingestprogress.Progress) {
		p.ObjectsDone++
		p.BytesDone += uint64(max(bytes, 0))
	})
}

// Dropped says that the object in hand is done with though it is not, or not in whole, in the
// pipeline. failed tells one that should be from one that was passed over on purpose.
func (t *Tracker) Dropped(bytes int64, reason string, failed bool, err error) {
	t.change(func(p *ingestprogress.Progress) {
		p.ObjectsDone++
		p.BytesDone += uint64(max(bytes, 0))
		if failed {
			p.ObjectsFailed++
			p.Error = text(err)
		} else {
			p.ObjectsSkipped++
		}
		failures := maps.Clone(p.Failures) // a snapshot may have the former one
		if failures == nil {
			failures = map[string]uint64{}
		}
		failures[reason]++
		p.Failures = failures
	})
}

// Accepted says that the pipeline took records.
func (t *Tracker) Accepted(records int) {
	t.change(func(p *ingestprogress.Progress) { p.Records += uint64(max(records, 0)) })
}

// Retry says that something failed and is tried again.
func (t *Tracker) Retry(operation string, err error) {
	t.change(func(p *ingestprogress.Progress) {
		p.Retries++
		p.Error = text(err)
		t.retrying[operation] = struct{}{}
	})
}

// Recovered says that it went well.
func (t *Tracker) Recovered(operation string) {
	t.change(func(*ingestprogress.Progress) { delete(t.retrying, operation) })
}

// Failed says that no more is read, and why.
func (t *Tracker) Failed(err error) {
	t.change(func(p *ingestprogress.Progress) { p.State, p.Error = ingestprogress.StateFailed, text(err) })
}

// Completed says that all is read.
func (t *Tracker) Completed() {
	t.change(func(p *ingestprogress.Progress) {
		p.State, p.Key = ingestprogress.StateCompleted, ""
		p.Position = max(p.Position, p.End)
	})
}

// Snapshot is the state as of now, with what follows from it.
func (t *Tracker) Snapshot() ingestprogress.Progress {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.state
	p.Updated = now.UnixNano()
	if len(t.retrying) > 0 && !final(p.State) {
		p.State = ingestprogress.StateRetrying
	}
	oldest := t.sample(now)
	if seconds := now.Sub(oldest.at).Seconds(); seconds > 0 && !final(p.State) {
		p.ObjectsPerSecond = float64(p.ObjectsDone-oldest.objects) / seconds
		p.BytesPerSecond = float64(p.BytesDone-oldest.bytes) / seconds
	}
	p.Percent = percent(p)
	p.ETASeconds = eta(p, oldest, now)
	return p
}

// sample keeps what is done now and gives what was done about rateSpan ago.
func (t *Tracker) sample(now time.Time) sample {
	if len(t.samples) == 0 {
		t.samples = append(t.samples, sample{at: time.Unix(0, t.state.Began), position: t.state.Start})
	}
	if now.Sub(t.samples[len(t.samples)-1].at) >= rateStep {
		t.samples = append(t.samples, sample{now, t.state.ObjectsDone, t.state.BytesDone, t.state.Position})
	}
	for len(t.samples) > 2 && now.Sub(t.samples[1].at) >= rateSpan {
		t.samples = t.samples[1:]
	}
	return t.samples[0]
}

// percent is by bytes where all is listed, else by time, else unknown.
func percent(p ingestprogress.Progress) float64 {
	switch {
	case p.State == ingestprogress.StateCompleted:
		return 100
	case p.End == 0 || p.End <= p.Start:
		return -1
	case p.Listed && p.BytesListed > 0:
		return within(100 * float64(p.BytesDone) / float64(p.BytesListed))
	}
	return within(100 * float64(max(p.Position, p.Start)-p.Start) / float64(p.End-p.Start))
}

// eta is from the rate of bytes where all is listed, else from that of the position.
func eta(p ingestprogress.Progress, oldest sample, now time.Time) float64 {
	switch {
	case final(p.State):
		return 0
	case p.End == 0:
		return -1
	case p.Listed && p.BytesPerSecond > 0:
		return float64(p.BytesListed-min(p.BytesDone, p.BytesListed)) / p.BytesPerSecond
	case !p.Listed && p.Position > oldest.position:
		perNano := float64(p.Position-oldest.position) / float64(now.Sub(oldest.at))
		if perNano > 0 {
			return time.Duration(float64(max(p.End-p.Position, 0)) / perNano).Seconds()
		}
	}
	return -1
}

func within(percent float64) float64 { return min(max(percent, 0), 100) }

func final(state ingestprogress.State) bool {
	return state == ingestprogress.StateCompleted || state == ingestprogress.StateFailed
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
