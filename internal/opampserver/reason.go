// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/tally"
)

// Reason says why a peer, a request or a message was refused, or a message to a peer not sent.
type Reason string

const (
	ReasonBadInstanceUID   Reason = "bad_instance_uid"   // not 16 bytes, or all zero
	ReasonContentEncoding  Reason = "content_encoding"   // neither identity nor gzip
	ReasonEarlyData        Reason = "early_data"         // frames before the handshake was answered
	ReasonFirstMessage     Reason = "first_message"      // connected and stayed silent
	ReasonHandshake        Reason = "handshake"          // not a WebSocket handshake
	ReasonHost             Reason = "host"               // a web page that calls this host by another name
	ReasonIncomplete       Reason = "incomplete"         // an HTTP body that ended early
	ReasonMalformed        Reason = "malformed"          // not an OpAMP message
	ReasonMaxConnections   Reason = "max_connections"    // Settings.MaxConnections
	ReasonMaxExchanges     Reason = "max_exchanges"      // Settings.MaxExchanges
	ReasonMediaType        Reason = "media_type"         // a body that is not application/x-protobuf
	ReasonMemory           Reason = "memory"             // Settings.MaxBufferedBytes
	ReasonMethod           Reason = "method"             // neither GET nor POST
	ReasonNotConnected     Reason = "not_connected"      // a message to a connection that is not there
	ReasonOrigin           Reason = "origin"             // a web page of another host
	ReasonPanic            Reason = "panic"              // a fault of this process
	ReasonPath             Reason = "path"               // another path than OpAMP's
	ReasonProtocol         Reason = "protocol"           // frames that break RFC 6455
	ReasonQueueFull        Reason = "queue_full"         // a message to a peer for which too much waits already
	ReasonReply            Reason = "reply"              // a message to a peer that is too large or not encodable
	ReasonShutdown         Reason = "shutdown"           // arrived while the server was leaving
	ReasonSilent           Reason = "silent"             // no answer to a ping
	ReasonSlowMessage      Reason = "slow_message"       // a message took longer than Settings.MessageTimeout
	ReasonTextFrame        Reason = "text_frame"         // OpAMP messages are binary
	ReasonTooLarge         Reason = "too_large"          // Settings.MaxMessageSize
	ReasonTooManyFailures  Reason = "too_many_failures"  // not looked at: too many wrong credentials came from this address
	ReasonUnauthorized     Reason = "unauthorized"       // an authenticator said no
	ReasonUnsent           Reason = "unsent"             // a message to a peer whose connection ended first
	ReasonUpgradeRequired  Reason = "upgrade_required"   // GET without a WebSocket upgrade
	ReasonWriteTimeout     Reason = "write_timeout"      // reads slower than it is answered
	ReasonMalformedTooMany Reason = "malformed_too_many" // nothing but refused messages: closed
)

// Reasons lists every Reason there is.
func Reasons() []Reason {
	return []Reason{
		ReasonBadInstanceUID, ReasonContentEncoding, ReasonEarlyData, ReasonFirstMessage,
		ReasonHandshake, ReasonHost, ReasonIncomplete, ReasonMalformed, ReasonMalformedTooMany, ReasonMaxConnections,
		ReasonMaxExchanges, ReasonMediaType, ReasonMemory, ReasonMethod, ReasonNotConnected, ReasonOrigin,
		ReasonPanic, ReasonPath, ReasonProtocol, ReasonQueueFull, ReasonReply, ReasonShutdown, ReasonSilent,
		ReasonSlowMessage, ReasonTextFrame, ReasonTooLarge, ReasonTooManyFailures, ReasonUnauthorized, ReasonUnsent,
		ReasonUpgradeRequired, ReasonWriteTimeout,
	}
}

// ledger counts refusals and speaks of each kind at most once in a tally.QuietPeriod.
// Safe for concurrent use.
type ledger struct {
	log   *zap.Logger
	tally *tally.Tally[Reason]
}

func newLedger(log *zap.Logger) *ledger { return &ledger{log: log, tally: tally.New(Reasons())} }

// note counts one refusal of peer. The error names what was wrong; it must hold
// nothing of the peer's choosing that is not bounded and quoted.
func (l *ledger) note(reason Reason, peer string, err error, more ...zap.Field) {
	since, due := l.tally.Note(reason, 1)
	if !due {
		return
	}
	fields := append([]zap.Field{
		zap.String("reason", string(reason)),
		zap.String("peer", peer),
		zap.Int64("since_last_line", since),
		zap.Error(err),
	}, more...)
	switch reason {
	case ReasonPanic:
		l.log.Error("fault while serving an OpAMP peer", fields...)
	case ReasonQueueFull, ReasonReply:
		l.log.Warn("did not send a message to an OpAMP peer", fields...)
	default:
		l.log.Warn("refused an OpAMP peer", fields...)
	}
}

// count is note for what happens without anybody's fault, and is said nothing of.
func (l *ledger) count(reason Reason) { l.tally.Add(reason, 1) }

func (l *ledger) counts() map[Reason]int64 { return l.tally.Counts() }
