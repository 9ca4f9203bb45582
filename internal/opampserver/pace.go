// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import "time"

const (
	// leastRate is how fast a large message must come, in bytes a second, counted anew
	// in each paceWindow: who sent much at once may not stall the longer for it, and
	// one lost packet does no harm.
	leastRate  = 64 << 10
	paceWindow = 20 * time.Second
)

// pace says by when more of a message must have come. A message of up to smallMessage
// bytes may take Settings.MessageTimeout; a larger one must go on at leastRate. The
// zero pace is that of a message that has not begun.
type pace struct {
	by   time.Time
	next int64 // how much of the message begins the next window
}

// due is when the next byte is due, after n of them.
func (p *pace) due(n int64, timeout time.Duration) time.Time {
	if p.by.IsZero() {
		p.by, p.next = time.Now().Add(timeout), smallMessage
	}
	if n >= p.next {
		window := min(paceWindow, timeout)
		p.by, p.next = time.Now().Add(window), n+int64(leastRate*window.Seconds())
	}
	return p.by
}
