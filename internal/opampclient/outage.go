// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"time"

	"go.uber.org/zap"
)

const (
	// quiet is the least time between two lines about one thing that goes on.
	quiet = time.Minute
	// quietOutage is the least time between the lines of two outages for one reason, which
	// have a line each for their beginning and their end. A server that comes and goes
	// more often than that is one story, told once.
	quietOutage = 2 * quiet
	// steady is how long a server must have answered for its loss to be a new story.
	steady = 30 * time.Second
)

// outage tells the log when the server is lost and when it is back: one line each,
// with the cause, however many attempts lie between. One goroutine owns it.
type outage struct {
	logger *zap.Logger

	down      bool
	since     time.Time
	attempts  int
	told      bool      // this outage has its line, so its end gets one too
	reason    Reason    // of this outage
	connected bool      // the server has answered before
	answering time.Time // since when the server answers; zero while it does not
	// lastTold is when each reason last had a line, for an outage's beginning or its end.
	lastTold map[Reason]time.Time
}

// failed notes an attempt, or a connection, that came to nothing.
func (o *outage) failed(f *failure, now time.Time) {
	o.attempts++
	if o.down {
		o.logger.Debug("Still no OpAMP server", zap.String("reason", string(f.reason)), zap.Error(f.err))
		return
	}
	o.down, o.since, o.attempts, o.reason = true, now, 1, f.reason
	if o.told = o.isNews(f.reason, now); !o.told {
		return
	}
	o.note(now)
	text := "Cannot reach the OpAMP server, trying again in the background; the collector is not affected"
	switch {
	case f.open:
		text = "The OpAMP server is connected but does not answer reports; the collector is not affected"
	case o.connected:
		text = "Lost the OpAMP server, trying again in the background; the collector is not affected"
	}
	o.logger.Warn(text, zap.String("reason", string(f.reason)), zap.Error(f.err))
}

// answered notes that the server replied.
func (o *outage) answered(now time.Time) {
	first := !o.connected
	o.connected = true
	switch {
	case o.down && o.told:
		o.note(now)
		o.logger.Info("The OpAMP server answers again",
			zap.Duration("outage", now.Sub(o.since).Round(time.Millisecond)), zap.Int("attempts", o.attempts))
	case !o.down && first:
		o.logger.Info("Connected to the OpAMP server")
	}
	if o.down || first {
		o.answering = now
	}
	o.down, o.told = false, false
}

// isNews reports whether an outage that begins now is worth a line.
func (o *outage) isNews(r Reason, now time.Time) bool {
	wasSteady := !o.answering.IsZero() && now.Sub(o.answering) >= steady
	last, before := o.lastTold[r]
	return wasSteady || !before || now.Sub(last) >= quietOutage
}

// note notes that the reason of this outage has a line now.
func (o *outage) note(now time.Time) {
	if o.lastTold == nil {
		o.lastTold = make(map[Reason]time.Time)
	}
	o.lastTold[o.reason] = now
}
