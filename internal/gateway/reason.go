// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/tally"
)

// Reason says in a word why a message was not forwarded or an agent was sent away. The set
// is closed, so that it can label a metric. What ends a connection before the gateway has
// a message of it has a Reason of opampserver's.
type Reason string

// From agents.
const (
	ReasonNoUpstream     Reason = "no_upstream"     // no connection to the server: made up for by the announcement
	ReasonUpstreamQueue  Reason = "upstream_queue"  // no room for it within the write timeout
	ReasonUpstreamLost   Reason = "upstream_lost"   // queued when the connection to the server ended
	ReasonUpstreamFailed Reason = "upstream_failed" // over plain HTTP: no answer, or not a good one
	ReasonUpstreamLimit  Reason = "upstream_limit"  // larger than what the server has closed a connection for
	ReasonDuplicate      Reason = "duplicate"       // another connection has the instance UID
	ReasonReidentified   Reason = "reidentified"    // the same, and it was given another one
	ReasonMaxAgents      Reason = "max_agents"      // limits.max_agents
	ReasonConnectionFull Reason = "connection_full" // limits.max_agents_per_connection
	ReasonReserved       Reason = "reserved"        // it speaks by a capability that is the gateway's
	ReasonMalformed      Reason = "malformed"       // not an OpAMP message
)

// From the server.
const (
	ReasonUnknownUID      Reason = "unknown_uid"      // for an agent that is not here
	ReasonNoUID           Reason = "no_uid"           // for nobody, on a connection of many
	ReasonForeignUID      Reason = "foreign_uid"      // for another agent, on the connection of one
	ReasonAgentGone       Reason = "agent_gone"       // for an agent whose connection has ended
	ReasonAgentSlow       Reason = "agent_slow"       // for an agent with too much waiting: it is closed
	ReasonMailboxFull     Reason = "mailbox_full"     // for an agent that polls too seldom
	ReasonSuperseded      Reason = "superseded"       // a bare acknowledgement, for an agent that polls, by a message that says more
	ReasonServerMalformed Reason = "server_malformed" // not an OpAMP message
)

// Reasons lists every Reason there is.
func Reasons() []Reason {
	return []Reason{
		ReasonNoUpstream, ReasonUpstreamQueue, ReasonUpstreamLost, ReasonUpstreamFailed, ReasonUpstreamLimit,
		ReasonDuplicate, ReasonReidentified, ReasonMaxAgents, ReasonConnectionFull, ReasonReserved, ReasonMalformed,
		ReasonUnknownUID, ReasonNoUID, ReasonForeignUID, ReasonAgentGone, ReasonAgentSlow, ReasonMailboxFull,
		ReasonSuperseded, ReasonServerMalformed,
	}
}

// errTooLarge says that a message is beyond a limit.
var errTooLarge = errors.New("message too large")

// drops counts what is not forwarded and speaks of each kind at most once in a
// tally.QuietPeriod. Safe for concurrent use.
type drops struct {
	log   *zap.Logger
	tally *tally.Tally[Reason]
}

func newDrops(log *zap.Logger) *drops { return &drops{log: log, tally: tally.New(Reasons())} }

// note counts n messages. The error must hold nothing of a peer's choosing that is not
// bounded and quoted.
func (d *drops) note(r Reason, n int64, err error) {
	if n == 0 {
		return
	}
	since, due := d.tally.Note(r, n)
	if !due {
		return
	}
	d.log.Warn("messages are not forwarded",
		zap.String("reason", string(r)), zap.Int64("since_last_line", since), zap.Error(err))
}

func (d *drops) counts() map[Reason]int64 { return d.tally.Counts() }
