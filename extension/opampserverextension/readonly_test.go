// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	mayClaim = uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus |
		protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)
	mayAsk = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState |
		protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)
)

// requireListensOnly proves that a reply offers, sends and orders nothing: the fields
// it may hold are listed, so one that a later version of the protocol adds fails too.
func requireListensOnly(t *testing.T, reply *protobufs.ServerToAgent) {
	t.Helper()
	reply.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		require.Contains(t, []protoreflect.Name{"instance_uid", "capabilities", "flags", "error_response", "agent_identification"}, field.Name())
		return true
	})
	require.Zero(t, reply.GetCapabilities()&^mayClaim)
	require.Zero(t, reply.GetFlags()&^mayAsk)
	if reply.GetErrorResponse() == nil {
		require.Equal(t, mayClaim, reply.GetCapabilities())
	}
}

// imagined is a message with a random choice of fields, among them all that ask for
// something: connection settings, packages, a new instance UID.
func imagined(rng *rand.Rand, uids []opampwire.InstanceUID) *protobufs.AgentToServer {
	msg := new(protobufs.AgentToServer)
	fill(rng, msg.ProtoReflect(), 4)
	if rng.IntN(10) > 0 {
		msg.InstanceUid = uids[rng.IntN(len(uids))].Bytes()
	}
	if rng.IntN(2) > 0 {
		msg.SequenceNum = rng.Uint64N(4)
	}
	if rng.IntN(3) > 0 {
		msg.Capabilities = rng.Uint64()
	}
	return msg
}

func fill(rng *rand.Rand, msg protoreflect.Message, depth int) {
	fields := msg.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if rng.IntN(3) == 0 || (depth == 0 && field.Message() != nil) {
			continue
		}
		switch {
		case field.IsMap():
			fillMap(rng, msg.Mutable(field).Map(), field.MapValue(), depth)
		case field.IsList():
			for range rng.IntN(3) {
				msg.Mutable(field).List().Append(value(rng, field, msg.NewField(field).List().NewElement, depth))
			}
		default:
			msg.Set(field, value(rng, field, func() protoreflect.Value { return msg.NewField(field) }, depth))
		}
	}
}

func fillMap(rng *rand.Rand, m protoreflect.Map, field protoreflect.FieldDescriptor, depth int) {
	for range rng.IntN(3) {
		key := protoreflect.ValueOfString(words[rng.IntN(len(words))]).MapKey()
		m.Set(key, value(rng, field, m.NewValue, depth))
	}
}

var words = []string{"", "a", "otlp", "service.name", "<script>", "\x00", "org.opentelemetry.collector.receiver.awss3"}

func value(rng *rand.Rand, field protoreflect.FieldDescriptor, empty func() protoreflect.Value, depth int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.MessageKind:
		v := empty()
		fill(rng, v.Message(), depth-1)
		return v
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(words[rng.IntN(len(words))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(words[rng.IntN(len(words))]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rng.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rng.IntN(6)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rng.Float64())
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rng.Int64())
	default: // uint64 and fixed64
		return protoreflect.ValueOfUint64(rng.Uint64())
	}
}

func someUIDs(n int) []opampwire.InstanceUID {
	uids := make([]opampwire.InstanceUID, n)
	for i := range uids {
		uids[i] = opampwire.NewInstanceUID()
	}
	return uids
}

// Whatever agents say and ask for, on whichever connection, the fleet only listens.
func TestFleetNeverOffersAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	uids := someUIDs(20)
	r := reception{fleet.New(fleet.Settings{MaxAgents: 15, MaxAgentsPerConnection: 2})}
	for range 20_000 {
		c := opampserver.ConnInfo{ID: 1 + rng.Uint64N(5), Transport: opampserver.TransportWebSocket}
		if rng.IntN(3) == 0 {
			c.Transport = opampserver.TransportHTTP
		}
		requireListensOnly(t, r.OnMessage(context.Background(), c, imagined(rng, uids)))
		if rng.IntN(50) == 0 {
			r.OnClose(c)
		}
	}
	refused := r.fleet.Stats().Refused
	for _, reason := range fleet.RefuseReasons() {
		require.Positive(t, refused[reason], "the messages tried that: %s", reason)
	}
	require.Positive(t, r.fleet.Stats().FullStateRequests)
	require.Positive(t, r.fleet.Stats().ComponentsRequests)
}

// The same over the wire, with messages that were damaged on the way.
func TestServerNeverOffersAnything(t *testing.T) {
	s := start(t, "", nopHost)
	rng := rand.New(rand.NewPCG(3, 4))
	uids := someUIDs(5)
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // for all of them
	defer cancel()
	ws, _, err := dial(s, nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	damaged := 0
	for i := range 2000 {
		msg := imagined(rng, uids)
		if i%3 == 0 { // three refused messages in a row would end the connection
			msg.InstanceUid = uids[0].Bytes()
		}
		frame, err := opampwire.AppendFrame(nil, msg)
		require.NoError(t, err)
		if i%3 == 2 {
			damaged++
			frame[rng.IntN(len(frame))] ^= byte(1 + rng.IntN(255))
		}
		require.NoError(t, ws.Write(ctx, websocket.MessageBinary, frame))
		_, payload, err := ws.Read(ctx)
		require.NoError(t, err)
		reply := new(protobufs.ServerToAgent)
		require.NoError(t, proto.Unmarshal(payload[1:], reply))
		requireListensOnly(t, reply)
	}
	require.Positive(t, damaged)
}
