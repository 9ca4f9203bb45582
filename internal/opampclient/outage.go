// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"time"

	"go.uber.org/zap"
)

// quiet is the least time between the lines of two outages. A server that comes and
// goes more often than that is one story, told once.
const quiet = time.Minute

// outage tells the log when the server is lost and when it is back: one line each,
// with the cause, however many attempts lie between. One goroutine owns it.
type outage struct {
	logger *zap.Logger

	down      bool
	since     time.Time
	attempts  int
	told      bool      // this outage has its line, so its end gets one too
	lastTold  time.Time // when an outage was last put into words
	connected bool      // the server has answered before
}

// failed notes an attempt, or a connection, that came to nothing.
func (o *outage) failed(f *failure, now time.Time) {
	o.attempts++
	if o.down {
		o.logger.Debug("Still no OpAMP server", zap.String("reason", string(f.reason)), zap.Error(f.err))
		return
	}
	o.down, o.since, o.attempts = true, now, 1
	if o.told = o.lastTold.IsZero() || now.Sub(o.lastTold) >= quiet; !o.told {
		return
	}
	o.lastTold = now
	text := "Cannot reach the OpAMP server, trying again in the background; the collector is not affected"
	if o.connected {
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
		o.logger.Info("The OpAMP server answers again",
			zap.Duration("outage", now.Sub(o.since).Round(time.Millisecond)), zap.Int("attempts", o.attempts))
	case !o.down && first:
		o.logger.Info("Connected to the OpAMP server")
	}
	o.down, o.told = false, false
}
