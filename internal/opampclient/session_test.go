// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const allCapabilities = protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fullReport is a report with every part.
func fullReport() Report {
	return Report{
		InstanceUID:  opampwire.InstanceUID{1, 2, 3},
		Capabilities: allCapabilities,
		Description: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{
			Key:   "service.name",
			Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: "otelcol"}},
		}}},
		Health:             health("StatusOK"),
		EffectiveConfig:    config("receivers: {}"),
		Components:         components("hash-1"),
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"org.example"}},
	}
}

func health(status string) *protobufs.ComponentHealth {
	return &protobufs.ComponentHealth{Healthy: status == "StatusOK", Status: status}
}

func config(body string) *protobufs.EffectiveConfig {
	return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(body), ContentType: "text/yaml"}},
	}}
}

func components(hash string) *protobufs.AvailableComponents {
	return &protobufs.AvailableComponents{
		Hash:       []byte(hash),
		Components: map[string]*protobufs.ComponentDetails{"receivers": {}},
	}
}

// told lists the parts that a message carries; a "+" marks the whole list of components.
func told(msg *protobufs.AgentToServer) string {
	if msg == nil {
		return "nothing"
	}
	var names []string
	add := func(present bool, name string) {
		if present {
			names = append(names, name)
		}
	}
	add(msg.AgentDescription != nil, "description")
	add(msg.Health != nil, "health="+msg.GetHealth().GetStatus())
	add(msg.EffectiveConfig != nil, "config")
	add(msg.AvailableComponents != nil && msg.AvailableComponents.Components == nil, "components")
	add(msg.AvailableComponents != nil && msg.AvailableComponents.Components != nil, "components+")
	add(msg.CustomCapabilities != nil, "custom")
	add(msg.AgentDisconnect != nil, "disconnect")
	return strings.Join(names, " ")
}

const (
	everything     = "description health=StatusOK config components custom"
	everythingPlus = "description health=StatusOK config components+ custom"
)

func TestNextTellsEverythingFirstAndThenWhatChanged(t *testing.T) {
	st := newState(fullReport())
	s := session{maxSend: math.MaxInt}
	steps := []struct {
		name   string
		change func()
		at     time.Duration
		want   string
		wait   time.Duration
	}{
		{name: "the first message", want: everything},
		{name: "no change", want: "nothing"},
		{name: "the same again", change: func() { setPart(&st, partHealth, health("StatusOK")) }, want: "nothing"},
		{name: "health", change: func() { setPart(&st, partHealth, health("StatusStopping")) }, want: "health=StatusStopping"},
		{name: "two at once", change: func() {
			setPart(&st, partHealth, health("StatusOK"))
			setPart(&st, partEffectiveConfig, config("receivers: {nop: {}}"))
		}, want: "health=StatusOK config"},
		{name: "nil takes nothing back", change: func() { setPart[*protobufs.ComponentHealth](&st, partHealth, nil) }, want: "nothing"},
		{name: "components by hash", change: func() { setPart(&st, partComponents, components("hash-2")) }, want: "components"},
		{name: "the list when asked", change: func() { s.wantList = true }, want: "components+"},
		{name: "the list too soon", change: func() { s.wantList = true }, at: 400 * time.Millisecond, want: "nothing", wait: 600 * time.Millisecond},
		{name: "the list in time", at: time.Second, want: "components+"},
		{name: "all when asked", change: func() { s.wantFull = true }, at: time.Second, want: everythingPlus},
		{name: "all too soon, a change goes on", change: func() {
			s.wantFull = true
			setPart(&st, partHealth, health("StatusPermanentError"))
		}, at: 1100 * time.Millisecond, want: "health=StatusPermanentError", wait: 900 * time.Millisecond},
		{name: "all in time", change: func() { setPart(&st, partHealth, health("StatusOK")) }, at: 2 * time.Second, want: everythingPlus},
		{name: "the clock goes back", change: func() { s.wantFull = true }, at: -time.Hour, want: everythingPlus},
		{name: "another connection", change: s.begin, at: 3 * time.Second, want: everything},
	}
	seq := uint64(0)
	for _, step := range steps {
		if step.change != nil {
			step.change()
		}
		out, wait := s.next(st, epoch.Add(step.at))
		require.Equal(t, step.want, told(out.msg), step.name)
		require.Equal(t, step.wait, wait, step.name)
		if out.msg == nil {
			continue
		}
		assert.Equal(t, seq, out.msg.SequenceNum, "%s: sequence_num", step.name)
		assert.Equal(t, st.uid.Bytes(), out.msg.InstanceUid, step.name)
		assert.Equal(t, uint64(allCapabilities), out.msg.Capabilities, "%s: capabilities are in each message", step.name)
		seq++
	}
}

func TestNextLeavesOutWhatIsNotReported(t *testing.T) {
	st := newState(Report{InstanceUID: opampwire.InstanceUID{1}, Description: fullReport().Description})
	s := session{maxSend: math.MaxInt}
	out, _ := s.next(st, epoch)
	assert.Equal(t, "description", told(out.msg))
	s.wantFull, s.wantList = true, true
	out, _ = s.next(st, epoch.Add(time.Minute))
	assert.Equal(t, "description", told(out.msg))
}

func TestHeartbeatIsSmall(t *testing.T) {
	s := session{seq: 1 << 40}
	frame, err := opampwire.AppendFrame(nil, s.heartbeat(newState(fullReport())))
	require.NoError(t, err)
	const webSocketHeader = 6
	assert.LessOrEqual(t, len(frame)+webSocketHeader, 64)
}

func TestNextStaysWithinTheSendLimit(t *testing.T) {
	r := fullReport()
	r.EffectiveConfig = config(strings.Repeat("x", 10_000))
	s := session{maxSend: 1000}
	out, _ := s.next(newState(r), epoch)
	assert.Equal(t, "description health=StatusOK components custom", told(out.msg))
	assert.Equal(t, []part{partEffectiveConfig}, out.tooLarge)

	out, wait := s.next(newState(r), epoch)
	assert.Nil(t, out.msg, "what does not fit is not tried in a loop")
	assert.Zero(t, wait)
}

func TestReceive(t *testing.T) {
	type want struct {
		verdict verdict
		full    bool
		list    bool
	}
	uid := opampwire.InstanceUID{1, 2, 3}
	other := opampwire.InstanceUID{9}
	flag := func(f ...protobufs.ServerToAgentFlags) (all uint64) {
		for _, f := range f {
			all |= uint64(f)
		}
		return all
	}
	heartbeat := func(seconds uint64) *protobufs.ServerToAgent {
		return &protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{
			Opamp: &protobufs.OpAMPConnectionSettings{HeartbeatIntervalSeconds: seconds},
		}}
	}
	failed := func(kind protobufs.ServerErrorResponseType, text string, retry *uint64) *protobufs.ServerToAgent {
		e := &protobufs.ServerErrorResponse{Type: kind, ErrorMessage: text}
		if retry != nil {
			e.Details = &protobufs.ServerErrorResponse_RetryInfo{
				RetryInfo: &protobufs.RetryInfo{RetryAfterNanoseconds: *retry},
			}
		}
		return &protobufs.ServerToAgent{ErrorResponse: e, Flags: flag(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)}
	}
	const (
		unavailable = protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable
		badRequest  = protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest
	)
	tests := map[string]struct {
		msg  *protobufs.ServerToAgent
		want want
	}{
		"empty, as the supervisor's": {msg: &protobufs.ServerToAgent{}},
		"ours":                       {msg: &protobufs.ServerToAgent{InstanceUid: uid.Bytes()}},
		"another agent's": {
			msg: &protobufs.ServerToAgent{InstanceUid: other.Bytes(), Flags: flag(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)},
			want: want{verdict: verdict{
				foreign: true, dropped: []drop{{"message", ReasonForeignUID}},
			}},
		},
		"full state": {
			msg:  &protobufs.ServerToAgent{Flags: flag(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)},
			want: want{full: true},
		},
		"components and undefined flags": {
			msg:  &protobufs.ServerToAgent{Flags: 1<<63 | flag(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)},
			want: want{list: true},
		},
		"heartbeat":              {msg: heartbeat(5), want: want{verdict: verdict{heartbeat: 5 * time.Second}}},
		"heartbeat 0":            {msg: heartbeat(0)},
		"heartbeat of two days":  {msg: heartbeat(172_800), want: want{verdict: verdict{dropped: []drop{{"heartbeat_interval", ReasonOutOfRange}}}}},
		"heartbeat 2^63":         {msg: heartbeat(1 << 63), want: want{verdict: verdict{dropped: []drop{{"heartbeat_interval", ReasonOutOfRange}}}}},
		"heartbeat that wraps":   {msg: heartbeat(20211507185753197), want: want{verdict: verdict{dropped: []drop{{"heartbeat_interval", ReasonOutOfRange}}}}},
		"heartbeat that wraps 2": {msg: heartbeat(34732913247785872), want: want{verdict: verdict{dropped: []drop{{"heartbeat_interval", ReasonOutOfRange}}}}},
		"unavailable":            {msg: failed(unavailable, "", nil), want: want{verdict: verdict{unavailable: true}}},
		"unavailable for 3 s": {
			msg:  failed(unavailable, "", proto.Uint64(3e9)),
			want: want{verdict: verdict{unavailable: true, retryAfter: 3 * time.Second}},
		},
		"unavailable for ever": {
			msg:  failed(unavailable, "", proto.Uint64(math.MaxUint64)),
			want: want{verdict: verdict{unavailable: true, retryAfter: math.MaxInt64}},
		},
		"bad request":              {msg: failed(badRequest, "no uid", nil), want: want{verdict: verdict{rejected: "no uid"}}},
		"bad request without text": {msg: failed(badRequest, "", nil), want: want{verdict: verdict{rejected: "ServerErrorResponseType_BadRequest"}}},
		"error of unknown kind":    {msg: failed(77, "", nil), want: want{verdict: verdict{rejected: "77"}}},
		"custom message": {
			msg:  &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "x"}},
			want: want{verdict: verdict{custom: &protobufs.CustomMessage{Capability: "x"}}},
		},
		"new uid": {
			msg: &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: other.Bytes()}},
			want: want{
				verdict: verdict{newUID: &other},
			},
		},
		"new uid that is ours": {
			msg: &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: uid.Bytes()}},
		},
		"new uid of 26 bytes": {
			msg:  &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: make([]byte, 26)}},
			want: want{verdict: verdict{dropped: []drop{{"new_instance_uid", ReasonMalformed}}}},
		},
		"every offer": {
			msg: &protobufs.ServerToAgent{
				RemoteConfig:      &protobufs.AgentRemoteConfig{},
				PackagesAvailable: &protobufs.PackagesAvailable{},
				Command:           &protobufs.ServerToAgentCommand{},
				ConnectionSettings: &protobufs.ConnectionSettingsOffers{
					Opamp:            &protobufs.OpAMPConnectionSettings{DestinationEndpoint: "wss://elsewhere", HeartbeatIntervalSeconds: 7},
					OwnMetrics:       &protobufs.TelemetryConnectionSettings{},
					OwnTraces:        &protobufs.TelemetryConnectionSettings{},
					OwnLogs:          &protobufs.TelemetryConnectionSettings{},
					OtherConnections: map[string]*protobufs.OtherConnectionSettings{"x": {}},
				},
			},
			want: want{verdict: verdict{heartbeat: 7 * time.Second, refused: []string{
				"remote_config", "packages_available", "command", "opamp_connection_settings",
				"own_metrics", "own_traces", "own_logs", "other_connections",
			}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := session{greeted: true}
			got := s.receive(tt.msg, newState(fullReport()), epoch)
			assert.Equal(t, tt.want.verdict, got)
			assert.Equal(t, tt.want.full, s.wantFull, "full state wanted")
			assert.Equal(t, tt.want.list, s.wantList, "components wanted")
		})
	}
}

func TestHeartbeatIsNotOfferedToWhoHasNone(t *testing.T) {
	st := newState(Report{Capabilities: protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus})
	var s session
	v := s.receive(&protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{
		Opamp: &protobufs.OpAMPConnectionSettings{HeartbeatIntervalSeconds: 5},
	}}, st, epoch)
	assert.Zero(t, v.heartbeat)
}

func TestNewUIDsAreTakenAFewTimesAMinute(t *testing.T) {
	st := newState(fullReport())
	s := session{maxSend: math.MaxInt}
	taken, dropped := 0, 0
	for i := range 600 { // ten minutes, one a second
		uid := opampwire.InstanceUID{7, byte(i >> 8), byte(i), 1}
		v := s.receive(&protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{
			NewInstanceUid: uid.Bytes(),
		}}, st, epoch.Add(time.Duration(i)*time.Second))
		dropped += len(v.dropped)
		if v.newUID == nil {
			continue
		}
		taken++
		st.uid = *v.newUID
		out, _ := s.next(st, epoch)
		assert.Equal(t, everything, told(out.msg), "the server knows nothing of the new name")
	}
	assert.Equal(t, 10*maxUIDChanges, taken)
	assert.Equal(t, 600-taken, dropped)
}
