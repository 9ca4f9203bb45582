// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"math"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// verdict is what a message of the server comes to. Everything that is not in it was
// read and left alone.
type verdict struct {
	foreign     bool                     // for another agent, all of it ignored
	newUID      *opampwire.InstanceUID   // from now on this is our name
	heartbeat   time.Duration            // the offered interval; 0 is no word on it
	unavailable bool                     // go away, and come back after retryAfter
	retryAfter  time.Duration            // 0 is no word on it
	rejected    string                   // the server could not read our message, in its words
	refused     []string                 // offers that a read-only agent does not take
	custom      *protobufs.CustomMessage // for a component that takes such
	dropped     []drop
}

type drop struct {
	what   string
	reason Reason
}

// receive notes what the server asks for and says what else follows from its message.
func (s *session) receive(msg *protobufs.ServerToAgent, st state, now time.Time) verdict {
	var v verdict
	// An empty UID is what servers of one agent a connection send; the supervisor does.
	if uid := msg.GetInstanceUid(); len(uid) > 0 && string(uid) != string(st.uid[:]) {
		return verdict{foreign: true, dropped: []drop{{"message", ReasonForeignUID}}}
	}
	if e := msg.GetErrorResponse(); e != nil {
		s.receiveError(e, &v)
		// Other fields of an error response carry no meaning (ServerErrorResponse).
		return v
	}
	v.dropped = s.declare(msg.GetCapabilities(), st)
	flags := msg.GetFlags()
	s.wantFull = s.wantFull || flags&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState) != 0
	s.wantList = s.wantList || flags&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents) != 0
	s.receiveIdentity(msg.GetAgentIdentification(), st, now, &v)
	receiveHeartbeat(msg.GetConnectionSettings().GetOpamp(), st, &v)
	v.refused = offers(msg)
	v.custom = msg.GetCustomMessage()
	return v
}

func (s *session) receiveError(e *protobufs.ServerErrorResponse, v *verdict) {
	switch e.GetType() {
	case protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable:
		v.unavailable = true
		v.retryAfter = time.Duration(min(e.GetRetryInfo().GetRetryAfterNanoseconds(), math.MaxInt64))
	default:
		// A message that could not be read once will not be readable the second time
		// (Bad Request), so nothing is repeated.
		v.rejected = e.GetErrorMessage()
		if v.rejected == "" {
			v.rejected = e.GetType().String()
		}
	}
}

// receiveIdentity takes a new instance UID, a few times a minute at most: a server that
// renames with every message would otherwise make us somebody else all the time.
func (s *session) receiveIdentity(id *protobufs.AgentIdentification, st state, now time.Time, v *verdict) {
	if id == nil {
		return
	}
	uid, err := opampwire.InstanceUIDFromBytes(id.GetNewInstanceUid())
	if err != nil {
		v.dropped = append(v.dropped, drop{"new_instance_uid", ReasonMalformed})
		return
	}
	if uid == st.uid {
		return
	}
	recent := s.uidChanges[:0]
	for _, at := range s.uidChanges {
		if d := now.Sub(at); d >= 0 && d < uidChangeWindow {
			recent = append(recent, at)
		}
	}
	s.uidChanges = recent
	if len(recent) >= maxUIDChanges {
		v.dropped = append(v.dropped, drop{"new_instance_uid", ReasonTooOften})
		return
	}
	s.uidChanges = append(s.uidChanges, now)
	v.newUID = &uid
	// The server knows nothing of the new name yet.
	s.forget()
}

// receiveHeartbeat reads the offered interval. A zero can't be told from an absent
// field, so it is no word; the agent's heartbeat is the user's to turn off.
func receiveHeartbeat(o *protobufs.OpAMPConnectionSettings, st state, v *verdict) {
	seconds := o.GetHeartbeatIntervalSeconds()
	if seconds == 0 || st.capabilities&protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat == 0 {
		return
	}
	if seconds < uint64(minHeartbeat/time.Second) || seconds > uint64(maxHeartbeat/time.Second) {
		v.dropped = append(v.dropped, drop{"heartbeat_interval", ReasonOutOfRange})
		return
	}
	v.heartbeat = time.Duration(seconds) * time.Second
}

// offers names everything in msg that would change an agent that took it.
func offers(msg *protobufs.ServerToAgent) []string {
	var names []string
	add := func(present bool, name string) {
		if present {
			names = append(names, name)
		}
	}
	cs := msg.GetConnectionSettings()
	o := cs.GetOpamp()
	add(msg.GetRemoteConfig() != nil, "remote_config")
	add(msg.GetPackagesAvailable() != nil, "packages_available")
	add(msg.GetCommand() != nil, "command")
	add(o.GetDestinationEndpoint() != "" || o.GetHeaders() != nil || o.GetCertificate() != nil ||
		o.GetTls() != nil || o.GetProxy() != nil, "opamp_connection_settings")
	add(cs.GetOwnMetrics() != nil, "own_metrics")
	add(cs.GetOwnTraces() != nil, "own_traces")
	add(cs.GetOwnLogs() != nil, "own_logs")
	add(len(cs.GetOtherConnections()) > 0, "other_connections")
	return names
}
