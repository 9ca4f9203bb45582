// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import "time"

const (
	// messageInterval is the least time between two ordinary messages.
	messageInterval = time.Second
	// expressInterval is the least time between two messages that did not wait
	// for messageInterval.
	expressInterval = 10 * time.Second
)

// pace says when the next message may leave. The zero pace permits one now.
type pace struct {
	next    time.Time // no ordinary message before
	express time.Time // no worsening ahead of next before
}

// due is the earliest time for a message, which may be past. A worsening may
// overtake the interval.
func (p *pace) due(worse bool) time.Time {
	if worse && p.canOvertake() {
		return p.express
	}
	return p.next
}

// canOvertake tells whether a worsening could leave before an ordinary message.
func (p *pace) canOvertake() bool { return p.express.Before(p.next) }

// sent notes a message that leaves now.
func (p *pace) sent(now time.Time) {
	if now.Before(p.next) {
		p.express = now.Add(expressInterval)
	}
	p.next = now.Add(messageInterval)
}
