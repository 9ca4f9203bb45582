// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var (
	testUID  = opampwire.InstanceUID{1, 2, 3}
	testConn = Conn{ID: 1, Transport: TransportWebSocket, RemoteAddr: "10.0.0.1:4000"}
	testNow  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func testInput(msg *protobufs.AgentToServer) Input {
	msg.InstanceUid = testUID.Bytes()
	return Input{UID: testUID, Conn: testConn, Msg: msg, Now: testNow}
}

func fullReport(seq uint64) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{
		SequenceNum:      seq,
		Capabilities:     scenarioCapabilities(""),
		AgentDescription: scenarioDescription("collector", words{"version": "1.0", "host": "node"}),
		Health:           scenarioHealth(words{"full": "true"}, []string{"pipeline:traces/exporter:otlp=StatusOK"}),
		EffectiveConfig:  scenarioConfig("receivers: {}"),
	}
}

func TestApplyDoesNotChangeWhatItWasGiven(t *testing.T) {
	first, _, changes := Apply(nil, testInput(fullReport(0)))
	assert.NotZero(t, changes&ChangedNew)
	before := *first

	msg := fullReport(1)
	msg.Health = scenarioHealth(words{"full": "true"}, []string{"pipeline:traces/exporter:otlp=StatusPermanentError:x"})
	kept := proto.Clone(msg)
	second, _, changes := Apply(first, testInput(msg))

	assert.Equal(t, ChangedHealth, changes)
	assert.Equal(t, before, *first)
	kept.(*protobufs.AgentToServer).InstanceUid = testUID.Bytes()
	assert.True(t, proto.Equal(kept, msg))
	assert.Equal(t, ConditionHealthy, first.Condition())
	assert.Equal(t, ConditionUnhealthy, second.Condition())
}

func TestHealthTreesShareWhatDidNotChange(t *testing.T) {
	parts := []string{"pipeline:logs/exporter:otlp=StatusOK", "pipeline:traces/exporter:otlp=StatusOK"}
	msg := fullReport(0)
	msg.Health = scenarioHealth(words{"full": "true"}, parts)
	first, _, _ := Apply(nil, testInput(msg))

	again, _, changes := Apply(first, testInput(&protobufs.AgentToServer{
		SequenceNum: 1, Health: scenarioHealth(words{"full": "true"}, parts),
	}))
	assert.Zero(t, changes)
	assert.Same(t, first.Health, again.Health)

	parts[1] = "pipeline:traces/exporter:otlp=StatusRecoverableError:refused"
	worse, _, _ := Apply(again, testInput(&protobufs.AgentToServer{
		SequenceNum: 2, Health: scenarioHealth(words{"full": "true"}, parts),
	}))
	assert.Same(t, first.Health.Children[0], worse.Health.Children[0])
	assert.NotSame(t, first.Health.Children[1], worse.Health.Children[1])
}

func TestProblemsAreReadOffTheTree(t *testing.T) {
	msg := fullReport(0)
	msg.Health = scenarioHealth(words{"status": "StatusFatalError"}, []string{
		"extensions/extension:oidc=StatusStarting",
		"pipeline:traces/2=StatusOK", // the slash makes it another level: names with one come from an agent whole
		"pipeline:logs=StatusPermanentError",
		"pipeline:logs/receiver:filelog=StatusRecoverableError:no_such_file",
		"pipeline:logs/exporter:otlp=StatusPermanentError:bad_certificate",
		"supervisor=StatusPermanentError:odd",
	})
	a, _, _ := Apply(nil, testInput(msg))
	require.Len(t, a.Problems, 3)
	for i, want := range []Problem{
		{
			Path: []string{"pipeline:logs", "exporter:otlp"}, Pipeline: "logs", Kind: "exporter", ID: "otlp",
			Status: "StatusPermanentError", Error: "bad certificate", Since: testNow,
		},
		{Path: []string{"supervisor"}, ID: "supervisor", Status: "StatusPermanentError", Error: "odd", Since: testNow},
		{
			Path: []string{"pipeline:logs", "receiver:filelog"}, Pipeline: "logs", Kind: "receiver", ID: "filelog",
			Status: "StatusRecoverableError", Error: "no such file", Since: testNow,
		},
	} {
		assert.Equal(t, want, a.Problems[i])
	}
}

func TestConditions(t *testing.T) {
	bare := func(h *protobufs.ComponentHealth) *protobufs.AgentToServer {
		return &protobufs.AgentToServer{Capabilities: 1, Health: h}
	}
	for name, tc := range map[string]struct {
		msg  *protobufs.AgentToServer
		want Condition
	}{
		"says nothing":                  {bare(nil), ConditionUnknown},
		"healthy without a status":      {bare(&protobufs.ComponentHealth{Healthy: true}), ConditionHealthy},
		"unhealthy without a status":    {bare(&protobufs.ComponentHealth{}), ConditionUnhealthy},
		"starting":                      {bare(&protobufs.ComponentHealth{Status: "StatusStarting"}), ConditionStarting},
		"stopping":                      {bare(&protobufs.ComponentHealth{Status: "StatusStopping"}), ConditionStopping},
		"stopped":                       {bare(&protobufs.ComponentHealth{Status: "StatusStopped"}), ConditionStopping},
		"another agent's word":          {bare(&protobufs.ComponentHealth{Status: "degraded"}), ConditionUnhealthy},
		"well as a whole, a part fails": {bare(scenarioHealth(words{"full": "1"}, []string{"a=StatusFatalError"})), ConditionUnhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			a, _, _ := Apply(nil, testInput(tc.msg))
			assert.Equal(t, tc.want, a.Condition())
		})
	}
}

func TestCapabilityNames(t *testing.T) {
	require.Len(t, capabilityNames, len(protobufs.AgentCapabilities_name)-1, "the specification has another bit")
	for _, n := range capabilityNames {
		assert.Equal(t, "AgentCapabilities_"+n.name, n.bit.String())
	}
	a, _, _ := Apply(nil, testInput(&protobufs.AgentToServer{Capabilities: 1<<63 | 1<<40 | 1}))
	assert.Equal(t, []string{"ReportsStatus"}, a.Capabilities.Names())
	a, _, changes := Apply(a, testInput(&protobufs.AgentToServer{SequenceNum: 1}))
	assert.Zero(t, changes, "a message must claim capabilities; none is not a change")
	assert.Equal(t, []string{"ReportsStatus"}, a.Capabilities.Names())
}

func TestAttributeValuesKeepTheirTypes(t *testing.T) {
	kv := func(k string, v *protobufs.AnyValue) *protobufs.KeyValue {
		return &protobufs.KeyValue{Key: k, Value: v}
	}
	inner := kv("inner", textValue("x"))
	msg := fullReport(0)
	msg.AgentDescription.NonIdentifyingAttributes = []*protobufs.KeyValue{
		kv("text", textValue("v")),
		kv("bool", &protobufs.AnyValue{Value: &protobufs.AnyValue_BoolValue{BoolValue: true}}),
		kv("int", &protobufs.AnyValue{Value: &protobufs.AnyValue_IntValue{IntValue: -7}}),
		kv("double", &protobufs.AnyValue{Value: &protobufs.AnyValue_DoubleValue{DoubleValue: 0.5}}),
		kv("bytes", &protobufs.AnyValue{Value: &protobufs.AnyValue_BytesValue{BytesValue: []byte{0, 1}}}),
		kv("array", &protobufs.AnyValue{Value: &protobufs.AnyValue_ArrayValue{
			ArrayValue: &protobufs.ArrayValue{Values: []*protobufs.AnyValue{textValue("a"), nil}},
		}}),
		kv("list", &protobufs.AnyValue{Value: &protobufs.AnyValue_KvlistValue{
			KvlistValue: &protobufs.KeyValueList{Values: []*protobufs.KeyValue{inner}},
		}}),
		kv("none", nil),
		nil,
	}
	a, _, _ := Apply(nil, testInput(msg))
	assert.Equal(t, []Attribute{
		{"text", "v"},
		{"bool", true},
		{"int", int64(-7)},
		{"double", 0.5},
		{"bytes", []byte{0, 1}},
		{"array", []any{"a", nil}},
		{"list", []Attribute{{"inner", "x"}}},
		{"none", nil},
		{"", nil},
	}, a.Description.NonIdentifying)
}

func TestDeepAndWideReportsAreCut(t *testing.T) {
	deep := &protobufs.ComponentHealth{Status: statusOK}
	value := textValue("bottom")
	details := &protobufs.ComponentDetails{}
	for range 3000 {
		deep = &protobufs.ComponentHealth{ComponentHealthMap: map[string]*protobufs.ComponentHealth{"x": deep}}
		value = &protobufs.AnyValue{Value: &protobufs.AnyValue_ArrayValue{
			ArrayValue: &protobufs.ArrayValue{Values: []*protobufs.AnyValue{value}},
		}}
		details = &protobufs.ComponentDetails{SubComponentMap: map[string]*protobufs.ComponentDetails{"x": details}}
	}
	msg := fullReport(0)
	msg.Health = deep
	msg.AvailableComponents = &protobufs.AvailableComponents{
		Hash:       []byte(strings.Repeat("h", 1<<20)),
		Components: map[string]*protobufs.ComponentDetails{"x": details},
	}
	msg.AgentDescription.NonIdentifyingAttributes = []*protobufs.KeyValue{{Key: "deep", Value: value}}
	for i := range 1000 {
		msg.AgentDescription.IdentifyingAttributes = append(msg.AgentDescription.IdentifyingAttributes,
			&protobufs.KeyValue{Key: fmt.Sprint(i), Value: textValue(strings.Repeat("v", 1<<12))})
	}
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{},
	}}
	for i := range 100 {
		msg.EffectiveConfig.ConfigMap.ConfigMap[fmt.Sprint(i)] = &protobufs.AgentConfigObject{
			Body: []byte(strings.Repeat("\xff", 1<<17)),
		}
	}
	a, _, _ := Apply(nil, testInput(msg))
	requireBounded(t, a, Limits{}.withDefaults())
	assert.Equal(t, 1000+2-256, a.Description.Omitted)
	assert.Equal(t, 100-64, a.Config.Omitted)
	assert.Len(t, a.Components.Hash, maxHashBytes)
	assert.Equal(t, 1, a.Components.Omitted)
	require.NoError(t, checkUTF8(a))
}

// requireBounded holds an agent to the limits.
func requireBounded(t testing.TB, a *Agent, l Limits) {
	t.Helper()
	nodes := 0
	var walk func(h *Health, depth int)
	walk = func(h *Health, depth int) {
		nodes++
		require.Less(t, depth, l.MaxDepth)
		require.LessOrEqual(t, len(h.Name), l.MaxNameBytes)
		require.LessOrEqual(t, len(h.Status), l.MaxNameBytes)
		require.LessOrEqual(t, len(h.LastError), l.MaxErrorBytes)
		require.LessOrEqual(t, len(h.Attributes), l.MaxAttributes)
		require.False(t, h.Since.IsZero())
		for i, c := range h.Children {
			if i > 0 {
				require.LessOrEqual(t, h.Children[i-1].Name, c.Name)
			}
			walk(c, depth+1)
		}
	}
	if a.Health != nil {
		walk(a.Health, 0)
	}
	require.LessOrEqual(t, nodes, l.MaxNodes+1)
	require.LessOrEqual(t, len(a.search), maxSearchBytes)
	if a.Config != nil {
		total := 0
		for _, f := range a.Config.Files {
			total += len(f.Body)
		}
		require.LessOrEqual(t, total, l.MaxConfigBytes)
		require.LessOrEqual(t, len(a.Config.Files), l.MaxConfigFiles)
	}
	if a.Description != nil {
		require.LessOrEqual(t, len(a.Description.Identifying), l.MaxAttributes)
		require.LessOrEqual(t, len(a.Description.NonIdentifying), l.MaxAttributes)
	}
}

func checkUTF8(a *Agent) error {
	for _, f := range a.Config.Files {
		if f.Body != strings.ToValidUTF8(f.Body, "") {
			return fmt.Errorf("config %q: not UTF-8", f.Name)
		}
	}
	return nil
}

func TestTextOfOnePartIsBoundedTogether(t *testing.T) {
	c := newCutter(Limits{MaxTextBytes: 100, MaxNameBytes: 40}.withDefaults())
	total := 0
	for range 50 {
		total += len(c.name(strings.Repeat("ü", 30)))
	}
	assert.Contains(t, c.cuts, CutText)
	assert.Contains(t, c.cuts, CutTextTotal)
	assert.LessOrEqual(t, total, 100+50*len(marker))
	assert.Empty(t, c.name(""))
}

// FuzzApply feeds the fold with any sequence of messages that protobuf can read, over two connections and HTTP.
func FuzzApply(f *testing.F) {
	for _, msg := range []*protobufs.AgentToServer{
		fullReport(0),
		fullReport(7),
		{SequenceNum: 1<<64 - 1, AgentDisconnect: &protobufs.AgentDisconnect{}},
		{Capabilities: scenarioCapabilities("all"), AvailableComponents: &protobufs.AvailableComponents{Hash: []byte("h")}},
	} {
		raw, err := proto.Marshal(msg)
		require.NoError(f, err)
		f.Add(raw, raw, uint64(1), uint16(500))
	}
	limits := Limits{
		MaxDepth: 4, MaxNodes: 20, MaxAttributes: 5, MaxNameBytes: 32, MaxErrorBytes: 64, MaxTextBytes: 512,
		MaxConfigFiles: 3, MaxConfigBytes: 256,
	}.withDefaults()
	f.Fuzz(func(t *testing.T, one, two []byte, seq uint64, millis uint16) {
		var msgs [2]protobufs.AgentToServer
		if proto.Unmarshal(one, &msgs[0]) != nil || proto.Unmarshal(two, &msgs[1]) != nil {
			return // not protobuf
		}
		var agent *Agent
		now, asked := testNow, time.Time{}
		for i := range 12 {
			msg := &msgs[i%2]
			msg.SequenceNum += seq * uint64(i/2)
			in := testInput(msg)
			in.Conn.ID = uint64(i % 3)
			if in.Conn.ID == 2 {
				in.Conn.Transport = TransportHTTP
			}
			in.Now, in.Limits = now, limits
			next, reply, changes := Apply(agent, in)
			requireNoOffer(t, msg, reply)
			if reply.GetFlags()&1 != 0 {
				require.False(t, within(asked, askEvery, now), "asked twice within a second")
				asked = now
			}
			if next == nil {
				require.Nil(t, agent)
				require.Zero(t, changes)
				continue
			}
			requireBounded(t, next, limits)
			agent = next
			now = now.Add(time.Duration(millis) * time.Millisecond)
		}
	})
}
