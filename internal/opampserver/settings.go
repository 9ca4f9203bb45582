// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// leastBudget is room for small messages, however small the limit of one is.
const leastBudget = 64 << 20

// Settings bound what a Server takes on. A zero field means its default.
type Settings struct {
	Logger *zap.Logger // nil: no log

	MaxMessageSize   int64 // bytes of one message, after decompression; 64 MiB (Message Size Limits)
	MaxConnections   int   // open WebSockets; 20,000
	MaxExchanges     int   // plain HTTP exchanges at a time; 1,024
	MaxBufferedBytes int64 // of all messages that are being received; 8 × MaxMessageSize, at least 64 MiB

	// What Server.Send may queue. One message may wait for a peer whatever its size.
	MaxUnsentMessages int   // for one WebSocket, times the agents that a Relay says it has; 1,024
	MaxUnsentBytes    int64 // the same; 1 MiB
	MaxAllUnsentBytes int64 // for all of them; 2 × MaxMessageSize, at least 64 MiB

	// FirstMessageTimeout is how long a new WebSocket may stay silent; 30 s, for
	// agents on hosts that are busy starting.
	FirstMessageTimeout time.Duration
	// MessageTimeout is how long a message of up to 64 KiB may take from its first byte
	// to its last; 1 min. A larger one must come at 64 KiB a second.
	MessageTimeout time.Duration
	// PingInterval is the silence after which a WebSocket is pinged; a second one
	// as long ends the connection. 45 s: an agent that keeps to the protocol's
	// heartbeat of 30 s is never pinged, and a proxy that forgets idle connections
	// after a minute never forgets ours.
	PingInterval time.Duration
	// WriteTimeout is how long one write may take; 10 s.
	WriteTimeout time.Duration
	// CloseTimeout is how long a peer may take to answer a Close frame; 500 ms.
	CloseTimeout time.Duration
}

func (s Settings) withDefaults() Settings {
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	orDefault(&s.MaxMessageSize, opampwire.DefaultMaxMessageSize)
	orDefault(&s.MaxConnections, 20_000)
	orDefault(&s.MaxExchanges, 1024)
	orDefault(&s.MaxBufferedBytes, max(8*s.MaxMessageSize, leastBudget))
	orDefault(&s.MaxUnsentMessages, 1024)
	orDefault(&s.MaxUnsentBytes, 1<<20)
	orDefault(&s.MaxAllUnsentBytes, max(2*s.MaxMessageSize, leastBudget))
	orDefault(&s.FirstMessageTimeout, 30*time.Second)
	orDefault(&s.MessageTimeout, time.Minute)
	orDefault(&s.PingInterval, 45*time.Second)
	orDefault(&s.WriteTimeout, 10*time.Second)
	orDefault(&s.CloseTimeout, 500*time.Millisecond)
	return s
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
