// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/binary"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// serverCapabilities are all that this server ever claims: it listens. It goes out with each reply, which costs
// two bytes and spares remembering who heard it.
const serverCapabilities = uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus |
	protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)

// RefuseReason names why a message was answered with an error.
type RefuseReason string

const (
	RefuseBadUID         RefuseReason = "bad_instance_uid" // not 16 bytes, or all zero
	RefuseConnectionFull RefuseReason = "connection_full"  // too many agents on one connection
	RefuseFleetFull      RefuseReason = "too_many_agents"  // no room, and nobody gone who could make some
)

// RefuseReasons lists every reason.
func RefuseReasons() []RefuseReason {
	return []RefuseReason{RefuseBadUID, RefuseConnectionFull, RefuseFleetFull}
}

// maxEchoedUID bounds what is sent back of an instance_uid that is none.
const maxEchoedUID = 64

func acknowledge(uid opampwire.InstanceUID) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{InstanceUid: uid.Bytes(), Capabilities: serverCapabilities}
}

// badRequest is an error that trying again won't cure.
func badRequest(uid []byte, text string) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid: append([]byte(nil), uid[:min(len(uid), maxEchoedUID)]...),
		ErrorResponse: &protobufs.ServerErrorResponse{
			Type:         protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest,
			ErrorMessage: text,
		},
	}
}

// unavailable asks the agent to come back later. Agents that were refused together should not return together,
// so the delay, between one and two times retryAfter, differs from agent to agent.
func unavailable(uid opampwire.InstanceUID, text string) *protobufs.ServerToAgent {
	const retryAfter = 30 * time.Second
	spread := time.Duration(binary.BigEndian.Uint16(uid[14:])) * retryAfter / (1 << 16)
	return &protobufs.ServerToAgent{
		InstanceUid: uid.Bytes(),
		ErrorResponse: &protobufs.ServerErrorResponse{
			Type:         protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
			ErrorMessage: text,
			Details: &protobufs.ServerErrorResponse_RetryInfo{
				RetryInfo: &protobufs.RetryInfo{RetryAfterNanoseconds: uint64(retryAfter + spread)},
			},
		},
	}
}
