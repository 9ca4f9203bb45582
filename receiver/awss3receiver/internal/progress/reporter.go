// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

const (
	// interval is the least time between two reports.
	interval = time.Second
	// askedInterval is the least time between two that the server asks for. What it asks for sooner
	// waits for the next one.
	askedInterval = 100 * time.Millisecond
	// logInterval is how often a report that cannot be sent is worth a line.
	logInterval = time.Minute
)

// Handler is the capability as the OpAMP extension gives it. An
// opampcustommessages.CustomCapabilityHandler is one.
type Handler interface {
	Message() <-chan *protobufs.CustomMessage
	SendMessage(messageType string, message []byte) (chan struct{}, error)
	Unregister()
}

// Reporter tells the server the latest state of a Tracker.
type Reporter struct {
	// Fixed at construction.
	tracker *Tracker
	handler Handler
	logger  *zap.Logger
	// status is whether contrib's message is sent too: it is of ranges with an end.
	status bool

	stop    chan struct{} // closed when there is nothing more to come
	cancel  context.CancelFunc
	running sync.WaitGroup

	// Owned by run.
	reported time.Time
	logged   time.Time
}

// StartReporter begins to report. It has to be stopped.
func StartReporter(tracker *Tracker, handler Handler, status bool, logger *zap.Logger) *Reporter {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reporter{
		tracker: tracker, handler: handler, logger: logger, status: status,
		stop: make(chan struct{}), cancel: cancel,
	}
	r.running.Go(func() { r.run(ctx) })
	return r
}

// Stop sends the last state, for as long as ctx allows, and gives the capability back.
func (r *Reporter) Stop(ctx context.Context) {
	close(r.stop)
	defer context.AfterFunc(ctx, r.cancel)()
	r.running.Wait()
	r.cancel()
	r.handler.Unregister()
}

// run sends the first state at once, then the latest whenever there is a newer one and a second has
// passed, at once when it is the last one or the server asks, and ends with the one that is the
// latest then.
func (r *Reporter) run(ctx context.Context) {
	r.report(ctx)
	told := r.tracker.Snapshot().State
	pause := time.NewTimer(interval)
	defer pause.Stop()
	paused, changed := true, false
	messages := r.handler.Message()
	for {
		select {
		case <-r.tracker.wake:
			changed = true
			if state := r.tracker.Snapshot().State; final(state) && !final(told) {
				paused = false
			}
		case message, open := <-messages:
			if !open {
				messages = nil // there is no more, and a closed channel would be read for ever
			}
			if message.GetType() != ingestprogress.TypeReport {
				continue // nothing else has an effect
			}
			changed = true
			paused = paused && time.Since(r.reported) < askedInterval
		case <-pause.C:
			paused = false
		case <-r.stop:
			r.report(ctx)
			return
		case <-ctx.Done():
			return
		}
		if changed && !paused {
			told = r.report(ctx)
			changed, paused = false, true
			pause.Reset(interval)
		}
	}
}

// report sends the latest state in both messages, and waits for room as long as it takes.
func (r *Reporter) report(ctx context.Context) ingestprogress.State {
	r.reported = time.Now()
	if r.status {
		r.send(ctx, ingestprogress.TypeStatus, ingestprogress.EncodeStatus)
	}
	return r.send(ctx, ingestprogress.TypeProgress, ingestprogress.EncodeProgress)
}

// send sends what is true once there is room for it.
func (r *Reporter) send(ctx context.Context, messageType string, encode func(ingestprogress.Progress) ([]byte, error)) ingestprogress.State {
	for {
		state := r.tracker.Snapshot()
		data, err := encode(state)
		if err != nil {
			r.log("The progress of an ingest cannot be put into a message", err)
			return state.State
		}
		room, err := r.handler.SendMessage(messageType, data)
		switch {
		case err == nil:
			return state.State
		case !errors.Is(err, types.ErrCustomMessagePending) || room == nil:
			r.log("The progress of an ingest could not be told to the OpAMP server; the next report will tell it", err)
			return state.State
		}
		select {
		case <-room:
		case <-ctx.Done():
			return state.State
		}
	}
}

func (r *Reporter) log(message string, err error) {
	if now := time.Now(); now.Sub(r.logged) >= logInterval {
		r.logged = now
		r.logger.Warn(message, zap.Error(err))
	}
}
