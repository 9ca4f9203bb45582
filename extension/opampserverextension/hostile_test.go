// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// line is a way to a server: it carries the bytes of a message there, and the answer back.
type line func(t *testing.T, payload []byte) *protobufs.ServerToAgent

// lines are both transports. Each call opens another connection.
var lines = map[string]func(t *testing.T, s *server) line{
	"websocket": func(t *testing.T, s *server) line {
		t.Helper()
		ws, _, err := dial(s, nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		ws.SetReadLimit(1 << 20)
		return func(t *testing.T, payload []byte) *protobufs.ServerToAgent {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, ws.Write(ctx, websocket.MessageBinary, append([]byte{0}, payload...)))
			_, got, err := ws.Read(ctx)
			require.NoError(t, err)
			reply := new(protobufs.ServerToAgent)
			require.NoError(t, opampwire.ParseFrame(got, reply))
			return reply
		}
	},
	"http": func(_ *testing.T, s *server) line {
		return func(t *testing.T, payload []byte) *protobufs.ServerToAgent {
			t.Helper()
			resp, err := http.Post("http://"+s.agents.Addr().String()+"/v1/opamp", "application/x-protobuf", bytes.NewReader(payload))
			require.NoError(t, err)
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			reply := new(protobufs.ServerToAgent)
			require.NoError(t, proto.Unmarshal(got, reply), string(got))
			require.Equal(t, reply.GetErrorResponse().GetType() == protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest && reply.GetErrorResponse() != nil,
				resp.StatusCode == http.StatusBadRequest)
			return reply
		}
	},
}

// overBoth runs a test over each transport, with a server and a bystander who must notice nothing.
func overBoth(t *testing.T, test func(t *testing.T, s *server, open func() line)) {
	t.Helper()
	for name, open := range lines {
		t.Run(name, func(t *testing.T) {
			s := start(t, "", nopHost)
			bystander := connect(t, s)
			bystander.say(described("bystander"))
			test(t, s, func() line { return open(t, s) })
			require.Zero(t, bystander.say(&protobufs.AgentToServer{}).GetFlags())
			require.Equal(t, fleet.LivenessConnected, liveness(t, s, bystander.uid))
		})
	}
}

func marshal(t *testing.T, msg *protobufs.AgentToServer) []byte {
	t.Helper()
	raw, err := proto.Marshal(msg)
	require.NoError(t, err)
	return raw
}

// from is a message of an agent, with what else it says.
func from(uid opampwire.InstanceUID, seq uint64, msg *protobufs.AgentToServer) *protobufs.AgentToServer {
	msg.InstanceUid, msg.SequenceNum = uid.Bytes(), seq
	return msg
}

// requireBadRequest holds a reply to what is said of malformed messages: an error, and nothing beside it.
func requireBadRequest(t *testing.T, reply *protobufs.ServerToAgent) {
	t.Helper()
	require.NotNil(t, reply.GetErrorResponse())
	require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, reply.GetErrorResponse().GetType())
	require.NotEmpty(t, reply.GetErrorResponse().GetErrorMessage())
	require.Zero(t, reply.GetCapabilities())
	require.Zero(t, reply.GetFlags())
	require.Nil(t, reply.GetCustomCapabilities())
}

func nested(depth int) *protobufs.ComponentHealth {
	h := &protobufs.ComponentHealth{}
	for range depth {
		h = &protobufs.ComponentHealth{ComponentHealthMap: map[string]*protobufs.ComponentHealth{"c": h}}
	}
	return h
}

func nestedValue(depth int) *protobufs.AnyValue {
	v := &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: "deep"}}
	for range depth {
		v = &protobufs.AnyValue{Value: &protobufs.AnyValue_KvlistValue{KvlistValue: &protobufs.KeyValueList{
			Values: []*protobufs.KeyValue{{Key: "k", Value: v}},
		}}}
	}
	return v
}

func nestedComponents(depth int) map[string]*protobufs.ComponentDetails {
	m := map[string]*protobufs.ComponentDetails{}
	for range depth {
		m = map[string]*protobufs.ComponentDetails{"c": {SubComponentMap: m}}
	}
	return m
}

// What is no message is answered with what is wrong, what is only odd is taken: the same over both transports.
func TestHostileMessagesAreAnsweredAlikeOverBothTransports(t *testing.T) {
	uid := opampwire.NewInstanceUID()
	whole := func(msg *protobufs.AgentToServer) []byte { return marshal(t, from(uid, 1, msg)) }
	heartbeat := whole(&protobufs.AgentToServer{})
	of := func(b []byte) []byte { return marshal(t, &protobufs.AgentToServer{InstanceUid: b}) }
	group := protowire.AppendTag(protowire.AppendTag(bytes.Clone(heartbeat), 900, protowire.StartGroupType), 900, protowire.EndGroupType)
	bad := map[string][]byte{
		"truncated":           marshal(t, from(uid, 1, described("x")))[:30],
		"garbage":             []byte("hello, is anybody there"),
		"wrong wire type":     protowire.AppendVarint(protowire.AppendTag(bytes.Clone(heartbeat), 4, protowire.BytesType), 99),
		"group without end":   protowire.AppendTag(bytes.Clone(heartbeat), 900, protowire.StartGroupType),
		"end without group":   protowire.AppendTag(bytes.Clone(heartbeat), 900, protowire.EndGroupType),
		"field 0":             append(bytes.Clone(heartbeat), 0, 0),
		"string not UTF-8":    append(bytes.Clone(heartbeat), 0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff),
		"no bytes":            nil,
		"uid absent":          marshal(t, &protobufs.AgentToServer{SequenceNum: 3}),
		"uid of 15 bytes":     of(make([]byte, 15)),
		"uid of 17 bytes":     of(bytes.Repeat([]byte{1}, 17)),
		"uid as ULID text":    of([]byte("01ARZ3NDEKTSV4RRFFQ69G5FAV")),
		"uid all zero":        of(make([]byte, 16)),
		"health 12,000 deep":  whole(&protobufs.AgentToServer{Health: nested(12_000)}),
		"two uids, last bad":  append(bytes.Clone(heartbeat), of([]byte{1, 2, 3})...),
		"value 12,000 deep":   whole(&protobufs.AgentToServer{AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: "k", Value: nestedValue(12_000)}}}}),
		"parts 12,000 deep":   whole(&protobufs.AgentToServer{AvailableComponents: &protobufs.AvailableComponents{Components: nestedComponents(12_000)}}),
		"length beyond 2^63":  append(bytes.Clone(heartbeat), 0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		"varint of 11 bytes":  append(bytes.Clone(heartbeat), 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		"text where a number": append(bytes.Clone(heartbeat), []byte(`{"instance_uid":"x"}`)...),
	}
	odd := map[string][]byte{
		"unknown field":         protowire.AppendVarint(protowire.AppendTag(bytes.Clone(heartbeat), 5000, protowire.VarintType), 7),
		"empty group":           group,
		"two uids, last counts": append(of(bytes.Repeat([]byte{7}, 16)), heartbeat...),
		"seq of 2^64-1":         marshal(t, from(uid, math.MaxUint64, &protobufs.AgentToServer{})),
		"health 3,000 deep":     whole(&protobufs.AgentToServer{Health: nested(3000)}),
		"value 3,000 deep":      whole(&protobufs.AgentToServer{AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: "k", Value: nestedValue(1500)}}}}),
		"parts 3,000 deep":      whole(&protobufs.AgentToServer{AvailableComponents: &protobufs.AvailableComponents{Hash: []byte("h"), Components: nestedComponents(2000)}}),
		"key of 1 MiB":          whole(&protobufs.AgentToServer{AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: strings.Repeat("k", 1<<20)}}}}),
		"hash of 1 MiB":         whole(&protobufs.AgentToServer{AvailableComponents: &protobufs.AvailableComponents{Hash: make([]byte, 1<<20)}}),
		"all capabilities":      whole(&protobufs.AgentToServer{Capabilities: math.MaxUint64}),
		"no capabilities": whole(&protobufs.AgentToServer{
			Health: &protobufs.ComponentHealth{Healthy: true}, RemoteConfigStatus: &protobufs.RemoteConfigStatus{}, PackageStatuses: &protobufs.PackageStatuses{},
		}),
		"asks for settings": whole(&protobufs.AgentToServer{ConnectionSettingsRequest: &protobufs.ConnectionSettingsRequest{
			Opamp: &protobufs.OpAMPConnectionSettingsRequest{CertificateRequest: &protobufs.CertificateRequest{Csr: []byte("csr")}},
		}}),
		"data of 1 MiB": whole(&protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{Capability: "c", Data: make([]byte, 1<<20)}}),
	}
	overBoth(t, func(t *testing.T, s *server, open func() line) {
		for name, payload := range bad {
			say := open()
			requireBadRequestNamed(t, name, say(t, payload))
			require.Nil(t, say(t, marshal(t, from(uid, 1, &protobufs.AgentToServer{}))).GetErrorResponse(), "%s: it may go on", name)
		}
		for name, payload := range odd {
			reply := open()(t, payload)
			require.Nil(t, reply.GetErrorResponse(), name)
			require.Equal(t, uid.Bytes(), reply.GetInstanceUid(), name)
			requireListensOnly(t, reply)
			require.Nil(t, reply.GetConnectionSettings(), name)
		}
		a, known := s.fleet.Agent(uid)
		require.True(t, known)
		require.NotContains(t, a.Capabilities.Names(), "", "undefined bits are nothing")
		require.LessOrEqual(t, len(a.Channel("c").Last[0].Data), 4<<10)
	})
}

func requireBadRequestNamed(t *testing.T, name string, reply *protobufs.ServerToAgent) {
	t.Helper()
	require.NotNil(t, reply.GetErrorResponse(), name)
	requireBadRequest(t, reply)
}

// However an agent counts, it is asked at most once for each gap, and not at all once it has told everything.
func TestHostileCountsAreNoPingPong(t *testing.T) {
	sequences := map[string][]uint64{
		"zero twice": {0, 0}, "repeats": {1, 2, 2, 2, 3}, "backwards": {9, 8, 7, 6}, "wraps": {math.MaxUint64 - 1, math.MaxUint64, 0, 1},
		"starts at one": {1, 2, 3}, "stands": {5, 5, 5, 5, 5, 5, 5, 5}, "random": {77, 3, 1 << 40, 12, 13, 14, 2},
	}
	overBoth(t, func(t *testing.T, _ *server, open func() line) {
		const everything = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
		for name, seqs := range sequences {
			say, uid := open(), opampwire.NewInstanceUID()
			asked, gaps := 0, 1
			for i, seq := range seqs {
				if i > 0 && seq != seqs[i-1]+1 {
					gaps++
				}
				if say(t, marshal(t, from(uid, seq, &protobufs.AgentToServer{Capabilities: 1}))).GetFlags()&everything != 0 {
					asked++
				}
			}
			assert.LessOrEqual(t, asked, gaps, name)
			assert.Positive(t, asked, "%s: nothing is known of it", name)
			next := seqs[len(seqs)-1] + 1
			for i := range uint64(5) {
				reply := say(t, marshal(t, from(uid, next+i, described("counts"))))
				assert.Zero(t, reply.GetFlags()&everything, "%s: all was told", name)
			}
		}
	})
}

// A goodbye is somebody's own, may be the first thing that is said, and need not be the last.
func TestHostileGoodbyes(t *testing.T) {
	bye := func(uid opampwire.InstanceUID, seq uint64) *protobufs.AgentToServer {
		return from(uid, seq, &protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
	}
	overBoth(t, func(t *testing.T, s *server, open func() line) {
		first := opampwire.NewInstanceUID()
		require.Nil(t, open()(t, marshal(t, bye(first, 0))).GetErrorResponse())
		_, known := s.fleet.Agent(first)
		assert.False(t, known, "who says no more than goodbye is nobody")

		say, uid := open(), opampwire.NewInstanceUID()
		say(t, marshal(t, from(uid, 0, described("back and forth"))))
		for seq := uint64(1); seq < 7; seq += 2 {
			say(t, marshal(t, bye(uid, seq)))
			assert.Equal(t, fleet.LivenessGoodbye, liveness(t, s, uid))
			say(t, marshal(t, from(uid, seq+1, &protobufs.AgentToServer{})))
			assert.Equal(t, fleet.LivenessConnected, liveness(t, s, uid))
		}

		victim := connect(t, s)
		victim.say(described("victim"))
		require.Nil(t, open()(t, marshal(t, bye(victim.uid, 1))).GetErrorResponse())
		assert.Equal(t, fleet.LivenessConnected, liveness(t, s, victim.uid), "nobody says goodbye for another")
	})
}

// A hash is what an agent says it is: the same of two agents makes neither's list the other's.
func TestHostileHashesPoisonNobody(t *testing.T) {
	overBoth(t, func(t *testing.T, s *server, open func() line) {
		tell := func(name string) opampwire.InstanceUID {
			uid := opampwire.NewInstanceUID()
			msg := described(name)
			msg.Capabilities |= uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents)
			msg.AvailableComponents = &protobufs.AvailableComponents{Hash: []byte("the same"), Components: map[string]*protobufs.ComponentDetails{name: {}}}
			open()(t, marshal(t, from(uid, 0, msg)))
			return uid
		}
		for _, uid := range []opampwire.InstanceUID{tell("one"), tell("other")} {
			a, _ := s.fleet.Agent(uid)
			require.Len(t, a.Components.List, 1)
			assert.Equal(t, a.ServiceName(), a.Components.List[0].Name)
		}
		uid := opampwire.NewInstanceUID()
		msg := described("believes")
		msg.Capabilities |= uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents)
		msg.AvailableComponents = &protobufs.AvailableComponents{Hash: []byte("the same")}
		reply := open()(t, marshal(t, from(uid, 0, msg)))
		assert.NotZero(t, reply.GetFlags()&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents), "it is asked")
	})
}

// Texts of agents are texts everywhere.
func TestHostileTextsAreHarmless(t *testing.T) {
	const evil = "<script>alert(1)</script>\x1b[31m\x00\r\nforged: line\u202e"
	core, logged := observer.New(zapcore.DebugLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	s := newServer(configOf(t, ""), set)
	require.NoError(t, s.Start(context.Background(), nopHost))
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })
	for _, open := range lines {
		uid := opampwire.NewInstanceUID()
		msg := described(evil)
		msg.Health = &protobufs.ComponentHealth{Status: evil, LastError: evil, ComponentHealthMap: map[string]*protobufs.ComponentHealth{evil: {Status: evil, LastError: evil}}}
		msg.CustomMessage = &protobufs.CustomMessage{Capability: evil, Type: evil, Data: []byte(evil)}
		open(t, s)(t, marshal(t, from(uid, 0, msg)))
		for _, path := range []string{"/", "/agents", "/problems", "/events", "/agents/" + uid.String()} {
			resp := get(t, s.webURL()+path)
			page := body(t, resp)
			require.Equal(t, http.StatusOK, resp.StatusCode, path)
			assert.NotContains(t, page, "<script>alert", path)
			assert.NotContains(t, page, "\x1b", path)
			assert.NotContains(t, page, "\x00", path)
			assert.NotContains(t, page, "\u202e", path)
		}
	}
	for _, entry := range logged.All() {
		assert.NotContains(t, entry.Message, "script")
	}
}

// A million instance UIDs on one connection are bounded by what one may have; over plain HTTP by what all may.
func TestHostileNumbersOfInstanceUIDs(t *testing.T) {
	for name, open := range lines {
		t.Run(name, func(t *testing.T) {
			s := start(t, "limits: {max_agents: 100, max_agents_per_connection: 50}", nopHost)
			say := open(t, s)
			refused := 0
			for i := range uint64(500) {
				uid := opampwire.InstanceUID{0x01}
				binary.BigEndian.PutUint64(uid[8:], i+1)
				reply := say(t, marshal(t, from(uid, 0, described("many"))))
				if e := reply.GetErrorResponse(); e != nil {
					refused++
					if name == "websocket" { // to try again on this connection won't cure it
						require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, e.GetType())
						continue
					}
					require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable, e.GetType())
					require.GreaterOrEqual(t, e.GetRetryInfo().GetRetryAfterNanoseconds(), uint64(30*time.Second))
				}
			}
			most := map[string]int{"websocket": 50, "http": 100}[name]
			assert.Equal(t, 500-most, refused)
			assert.Len(t, agentsOf(s), most)
		})
	}
}

func TestHeadsThatTrickleHaveADeadline(t *testing.T) {
	s := start(t, "agents: {read_header_timeout: 1s}", nopHost)
	nc, err := net.Dial("tcp", s.agents.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	_, err = nc.Write([]byte("POST /v1/opamp HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	require.NoError(t, err)
	_, err = io.ReadAll(nc)
	require.NoError(t, err, "the server ends it")
}
