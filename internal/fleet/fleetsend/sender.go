// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetsend carries custom messages from people and programs to agents: the fleet says where to, a transport
// takes them there.
//
// It knows nobody who asks: who may send is for the caller to say. What is sent is bounded by the fleet, in size, in
// how often, and in how much waits.
package fleetsend

import (
	"errors"
	"fmt"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// ErrBusy says that too much waits to be written to the agent already.
var ErrBusy = errors.New("the agent reads slower than it is sent to")

// Transport sends a message on a WebSocket without blocking: an [opampserver.Server].
type Transport interface {
	Send(connection uint64, msg *protobufs.ServerToAgent) error
}

// Sender is safe for concurrent use, and never blocks.
type Sender struct {
	// Fixed at construction.
	fleet     *fleet.Fleet
	transport Transport
	now       func() time.Time
}

// New returns a Sender to the agents of f.
func New(f *fleet.Fleet, t Transport) *Sender { return &Sender{fleet: f, transport: t, now: time.Now} }

// Receipt says what became of a message.
type Receipt struct {
	// Fate is fleet.MessageDelivered, which means that the agent's connection has it and not that the agent read it,
	// or fleet.MessageQueued.
	Fate fleet.MessageFate
	// Expires is until when a queued message waits for the agent's poll.
	Expires time.Time
}

// Send takes a message to an agent. The error is one of [fleet.Fleet.Post], or [ErrBusy], and then nothing was sent.
func (s *Sender) Send(uid opampwire.InstanceUID, p fleet.Posting) (Receipt, error) {
	d, err := s.fleet.Post(uid, p, s.now())
	if err != nil {
		return Receipt{}, err
	}
	if d.Conn == 0 {
		return Receipt{Fate: fleet.MessageQueued, Expires: d.Expires}, nil
	}
	switch err := s.transport.Send(d.Conn, d.Message); {
	case errors.Is(err, opampserver.ErrNotConnected):
		return Receipt{}, fleet.ErrNotConnected // its connection ended just now
	case errors.Is(err, opampserver.ErrQueueFull):
		return Receipt{}, ErrBusy
	case err != nil:
		return Receipt{}, fmt.Errorf("%w: %w", fleet.ErrBadPost, err)
	}
	s.fleet.Posted(uid, p, s.now())
	return Receipt{Fate: fleet.MessageDelivered}, nil
}
