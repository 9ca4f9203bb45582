// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// carry lets the agent 3 tell of a gateway that carries 1, 2 and one that nobody knows.
func carry(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	const name = "opamp_gateway/edge"
	status := gatewaystatus.Status{
		Gateway: name, Updated: 2e18, Started: 1e18, Agents: 3, Connections: 2, Polling: 1, MessagesUp: 40,
		Upstreams: []gatewaystatus.Upstream{
			{Name: "0", Endpoint: "ws://server/v1/opamp", Connected: true, Agents: 2, QueuedBytes: 7, AnswerTime: 0.25},
			{Name: "1", Endpoint: "ws://server/v1/opamp", QueuedBytes: 5},
		},
		Drops: map[string]uint64{"no_upstream": 4}, Refused: map[string]uint64{"auth": 1}, Duplicates: 1,
	}
	say := func(kind string, message any) {
		data, err := json.Marshal(message)
		require.NoError(t, err)
		uid := apiUID(3)
		reply := f.Report(fleet.Conn{ID: 3, Transport: fleet.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid:   uid.Bytes(),
			CustomMessage: &protobufs.CustomMessage{Capability: gatewaystatus.Capability, Type: kind, Data: data},
		}, time.Now())
		require.Nil(t, reply.GetErrorResponse())
	}
	say(gatewaystatus.TypeStatus, status)
	for _, part := range gatewaystatus.List(name, 1, []opampwire.InstanceUID{apiUID(1), apiUID(2), apiUID(99)}) {
		say(gatewaystatus.TypeAgents, part)
	}
}

func TestTopology(t *testing.T) {
	bare := apiUID(2)
	f, a := newTestAPI(t, fullReport(1, "web"), &protobufs.AgentToServer{InstanceUid: bare.Bytes()})
	got := decode(t, get(a, "/api/v1/topology"))
	assert.Empty(t, got["gateways"])
	assert.Equal(t, map[string]any{"agents": 2.0, "connected": 2.0, "behind": 0.0, "direct": 2.0}, got["server"])

	carry(t, f)
	got = decode(t, get(a, "/api/v1/topology?members=1"))
	assert.Equal(t, map[string]any{"agents": 3.0, "connected": 3.0, "behind": 2.0, "direct": 1.0}, got["server"])
	require.Len(t, got["gateways"], 1)
	b := got["gateways"].([]any)[0].(map[string]any)
	for field, want := range map[string]any{
		"gateway": "opamp_gateway/edge", "instance_uid": apiUID(3).String(), "liveness": "connected", "told": true,
		"agents": 3.0, "listed": 3.0, "known": 2.0, "unknown": 1.0, "queued_bytes": 12.0, "messages_up": 40.0,
		"drops": map[string]any{"no_upstream": 4.0}, "refused": map[string]any{"auth": 1.0}, "duplicates": 1.0,
		"conditions": map[string]any{"unhealthy": 1.0, "unknown": 1.0}, "behind": []any{},
	} {
		assert.Equal(t, want, b[field], field)
	}
	assert.Nil(t, b["parent"])
	assert.Equal(t, []any{0.0, 2.0}, []any{b["depth"], b["direct"]})
	assert.Len(t, b["upstreams"], 2)
	require.Len(t, b["members"], 1, "what needs attention first")
	assert.Equal(t, apiUID(1).String(), b["members"].([]any)[0].(map[string]any)["instance_uid"])

	agent := decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()))
	assert.Equal(t, []any{map[string]any{
		"gateway": "opamp_gateway/edge", "instance_uid": apiUID(3).String(), "service_name": "", "host_name": "",
	}}, agent["behind"])
	assert.Empty(t, agent["gateways"])
	carrier := decode(t, get(a, "/api/v1/agents/"+apiUID(3).String()))
	assert.Empty(t, carrier["behind"])
	assert.Len(t, carrier["gateways"], 1)
}

func TestTopologyOfGatewaysBehindGateways(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "web"))
	for id, status := range map[byte]gatewaystatus.Status{
		3: {Gateway: "opamp_gateway/hub", Name: "hub"}, 4: {Gateway: "opamp_gateway/site", Name: "site", Over: []string{"hub"}},
	} {
		data, err := json.Marshal(status)
		require.NoError(t, err)
		uid := apiUID(id)
		f.Report(fleet.Conn{ID: uint64(id), Transport: fleet.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid:   uid.Bytes(),
			CustomMessage: &protobufs.CustomMessage{Capability: gatewaystatus.Capability, Type: gatewaystatus.TypeStatus, Data: data},
		}, time.Now())
	}
	all := decode(t, get(a, "/api/v1/topology"))["gateways"].([]any)
	require.Len(t, all, 2)
	hub, site := all[0].(map[string]any), all[1].(map[string]any)
	assert.Equal(t, []any{"opamp_gateway/hub", nil, 0.0}, []any{hub["gateway"], hub["parent"], hub["depth"]})
	assert.Equal(t, []any{"opamp_gateway/site", 1.0}, []any{site["gateway"], site["depth"]})
	assert.Equal(t, apiUID(3).String(), site["parent"].(map[string]any)["instance_uid"])
}
