// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
)

const (
	// maxStrikes is how many connections in a row may end with one message written alone
	// before its capability has to wait.
	maxStrikes = 3
	// leastPenance and mostPenance bound that wait, which doubles.
	leastPenance = time.Minute
	mostPenance  = 10 * time.Minute
	// carefulFrom is how many faults in a row make the suspects go out one by one.
	carefulFrom = 2
)

// suspects are messages that were unanswered when a connection ended, one of which may
// have been the cause: a server may fail on one message each time that it gets it. Sent
// one by one they show which it is, and its capability waits then, so that the report
// and the other capabilities get through.
type suspects struct {
	faults int // in a row
	left   int // messages to be given out again, until which faults count as in a row
}

// carefulLocked reports whether the next message has to wait for the one that is out.
func (r *Registry) carefulLocked() bool {
	return r.suspects.faults >= carefulFrom && r.suspects.left > 0 && r.flight.len() > 0
}

// clearLocked notes that a message was not the cause of anything.
func (r *Registry) clearLocked() {
	if r.suspects.left == 0 {
		return
	}
	if r.suspects.left--; r.suspects.left == 0 {
		r.suspects.faults = 0
	}
}

// Again implements opampclient.CustomMessages.
func (r *Registry) Again(now time.Time, fault opampclient.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	alone := r.flight.len() == 1
	if alone && fault == opampclient.FaultTooLarge {
		q := r.flight.at(0)
		r.sayLocked("Dropped a custom message that is too large for the OpAMP server", q.capability,
			zap.Int("bytes", q.items.at(0).size()))
		r.overLocked(func(c *counts) { c.dropped[droppedServerLimit]++ })
	}
	if r.flight.len() == 0 {
		return
	}
	if fault != opampclient.NoFault {
		r.suspects.faults++
		r.suspects.left = max(r.suspects.left, r.flight.len())
		if alone {
			r.strikeLocked(r.flight.at(0), now)
		}
	}
	for r.flight.len() > 0 {
		r.flight.pop().out = 0
	}
}

func (r *Registry) strikeLocked(q *queue, now time.Time) {
	if q.strikes++; q.strikes < maxStrikes {
		return
	}
	q.penance = min(max(leastPenance, 2*q.penance), mostPenance)
	q.until = now.Add(q.penance)
	r.sayLocked("The connection to the OpAMP server ends whenever a custom message is sent; those of its capability wait",
		q.capability, zap.Int("times", q.strikes), zap.Duration("wait", q.penance))
}
