// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/sha256"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const componentsFlag = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)

// collectorList is a list as a Collector tells it, with its hash.
func collectorList() *protobufs.AvailableComponents {
	hash := sha256.Sum256([]byte("receiver:otlp=m v1;processor:exporter:kafka=m v2;otlp=m v1;extension:connector:"))
	return &protobufs.AvailableComponents{
		Hash: hash[:],
		Components: map[string]*protobufs.ComponentDetails{
			"receivers":  {SubComponentMap: map[string]*protobufs.ComponentDetails{"otlp": module("m v1")}},
			"processors": {},
			"exporters":  {SubComponentMap: map[string]*protobufs.ComponentDetails{"otlp": module("m v1"), "kafka": module("m v2")}},
			"extensions": {}, "connectors": {},
		},
	}
}

func module(ref string) *protobufs.ComponentDetails {
	return &protobufs.ComponentDetails{Metadata: []*protobufs.KeyValue{{Key: codeNamespace, Value: textValue(ref)}}}
}

// tell reports a list for an agent that is new, and returns whether it was asked for it.
func tell(f *Fleet, name string, list *protobufs.AvailableComponents) (asked bool) {
	msg := fullReport(0)
	msg.Capabilities |= uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents)
	msg.AvailableComponents = list
	return f.Report(testConn, reportOf(name, msg), testNow).GetFlags()&componentsFlag != 0
}

func TestAListIsKnownByItsHashIfItIsWhatTheHashSays(t *testing.T) {
	f := New(Settings{})
	whole := collectorList()
	hashOnly := func() *protobufs.AvailableComponents { return &protobufs.AvailableComponents{Hash: whole.Hash} }
	assert.True(t, tell(f, "first", hashOnly()), "nobody has told it yet")
	assert.False(t, tell(f, "second", whole))
	assert.False(t, tell(f, "third", hashOnly()), "it is known")
	second, _ := f.Agent(scenarioUID("second"))
	third, _ := f.Agent(scenarioUID("third"))
	require.True(t, third.Components.Listed)
	assert.Same(t, second.Components, third.Components)
	assert.Equal(t, uint64(1), f.Stats().SharedComponents)
	assert.Same(t, third.Components, f.verified[string(whole.Hash)])
}

func TestAListThatIsForgottenIsNotKnown(t *testing.T) {
	f := New(Settings{MaxAgents: 1})
	tell(f, "a", collectorList())
	f.Disconnected(testConn, testNow)
	f.Report(Conn{ID: 2, Transport: TransportWebSocket}, reportOf("b", fullReport(0)), testNow)
	assert.Empty(t, f.verified)
}

// TestNobodyCanMakeAHashStandForAnotherList tries what an agent could tell to make others look different.
func TestNobodyCanMakeAHashStandForAnotherList(t *testing.T) {
	hashOf := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	honest := collectorList().Hash
	for name, spoil := range map[string]func(*protobufs.AvailableComponents){
		"another list": func(l *protobufs.AvailableComponents) {
			l.Components["exporters"].SubComponentMap["evil"] = module("m v1")
		},
		"one less": func(l *protobufs.AvailableComponents) { delete(l.Components["exporters"].SubComponentMap, "otlp") },
		"another module": func(l *protobufs.AvailableComponents) {
			l.Components["receivers"].SubComponentMap["otlp"] = module("evil v1")
		},
		"more metadata": func(l *protobufs.AvailableComponents) {
			d := l.Components["receivers"].SubComponentMap["otlp"]
			d.Metadata = append(d.Metadata, &protobufs.KeyValue{Key: "note", Value: textValue("evil")})
		},
		"metadata of a kind": func(l *protobufs.AvailableComponents) {
			l.Components["receivers"].Metadata = []*protobufs.KeyValue{{Key: "note", Value: textValue("evil")}}
		},
		"one level more": func(l *protobufs.AvailableComponents) {
			l.Components["receivers"].SubComponentMap["otlp"].SubComponentMap = map[string]*protobufs.ComponentDetails{"evil": {}}
		},
		"one kind more": func(l *protobufs.AvailableComponents) { l.Components["evils"] = &protobufs.ComponentDetails{} },
		"a name that reads like two": func(l *protobufs.AvailableComponents) {
			l.Components["exporters"].SubComponentMap = map[string]*protobufs.ComponentDetails{"kafka=m v2;otlp": module("m v1")}
		},
		"a module that reads like two": func(l *protobufs.AvailableComponents) {
			l.Components["exporters"].SubComponentMap = map[string]*protobufs.ComponentDetails{"kafka": module("m v2;otlp=m v1")}
		},
		"a kind in a name": func(l *protobufs.AvailableComponents) {
			l.Components["receivers"].SubComponentMap = map[string]*protobufs.ComponentDetails{"otlp=m v1;processor:exporter:kafka": module("m v2")}
		},
		"a number for a module": func(l *protobufs.AvailableComponents) {
			l.Components["receivers"].SubComponentMap["otlp"].Metadata[0].Value = &protobufs.AnyValue{Value: &protobufs.AnyValue_IntValue{IntValue: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := New(Settings{})
			list := collectorList()
			spoil(list)
			list.Hash = honest
			tell(f, "evil", list)
			assert.Empty(t, f.verified)
			assert.True(t, tell(f, "honest", &protobufs.AvailableComponents{Hash: honest}), "it is asked for its own")
			a, _ := f.Agent(scenarioUID("honest"))
			assert.False(t, a.Components.Listed)
		})
	}
	f := New(Settings{Limits: Limits{MaxNameBytes: 4}})
	list := collectorList()
	list.Components["receivers"].SubComponentMap["a-long-name"] = module("m v1")
	list.Hash = hashOf("receiver:…[cut]=…[cut];")
	tell(f, "cut", list)
	assert.Empty(t, f.verified)
}
