// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// lists lets a collector say whom its gateway carries.
func lists(t *testing.T, f *fleet.Fleet, by uint32, gateway string, version uint64, ids ...uint32) {
	t.Helper()
	uid := uidOf(by)
	var uids []opampwire.InstanceUID
	for _, id := range ids {
		uids = append(uids, uidOf(id))
	}
	for _, part := range gatewaystatus.List(gateway, version, uids) {
		data, err := json.Marshal(part)
		require.NoError(t, err)
		f.Report(fleet.Conn{ID: uint64(by), Transport: fleet.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid:   uid.Bytes(),
			CustomMessage: &protobufs.CustomMessage{Capability: gatewaystatus.Capability, Type: gatewaystatus.TypeAgents, Data: data},
		}, now)
	}
}

func TestWhoIsBehindAGateway(t *testing.T) {
	f := fleet.New(fleet.Settings{})
	join := func(id uint32, host string) {
		f.Report(fleet.Conn{ID: uint64(id), Transport: fleet.TransportWebSocket}, collector{id: id, name: "otelcol", host: host}.report(), now)
	}
	for id := uint32(1); id <= 9; id++ {
		join(id, map[uint32]string{8: "edge-1", 9: ""}[id])
	}
	x := New(f)
	found := func(text string) (ids []uint32) {
		t.Helper()
		q, err := fleetquery.Parse(text)
		require.NoError(t, err)
		result, err := x.Search(Request{Query: q, Limit: 100, Now: now})
		require.NoError(t, err)
		for _, a := range result.Agents {
			ids = append(ids, uint32(a.UID[15]))
		}
		return ids
	}
	assert.Empty(t, found("gateway:*"))
	lists(t, f, 8, "opamp_gateway/dmz", 1, 1, 2, 8)
	lists(t, f, 9, "opamp_gateway", 1, 2, 3, 20)
	f.Tick(now.Add(2 * time.Second)) // what comes fast is seen once a second
	for text, want := range map[string][]uint32{
		"gateway:edge-1": {1, 2}, "gateway:EDGE-*": {1, 2}, "gateway:dmz": {1, 2}, "gateway:opamp_gateway/dmz": {1, 2},
		"gateway:" + uidOf(9).String(): {2, 3}, "gateway:opamp_gateway": {2, 3}, "gateway:opamp*": {1, 2, 3},
		"gateway:dmz,opamp_gateway": {1, 2, 3}, "gateway:dmz gateway:opamp_gateway": {2}, "gateway:edge-1 -gateway:opamp_gateway": {1},
		"-gateway:*": {4, 5, 6, 7, 8, 9}, "gateway:edge": nil,
	} {
		assert.ElementsMatch(t, want, found(text), text)
	}

	side, err := ParseSide("gateway")
	require.NoError(t, err)
	result, err := x.Search(Request{Limit: -1, Facets: []Side{side}, Top: 10, Now: now})
	require.NoError(t, err)
	counts := map[string]int{}
	for _, v := range result.Facets[0].Values {
		counts[v.Value] = v.Count
	}
	assert.Equal(t, map[string]int{"edge-1": 2, uidOf(9).String(): 2}, counts)

	lists(t, f, 8, "opamp_gateway/dmz", 2, 4)
	f.Tick(now.Add(4 * time.Second))
	assert.ElementsMatch(t, []uint32{4}, found("gateway:dmz"), "it carries another")
	join(20, "new")
	assert.ElementsMatch(t, []uint32{2, 3, 20}, found("gateway:opamp_gateway"), "somebody comes whom it has carried already")
	join(8, "edge-2")
	assert.ElementsMatch(t, []uint32{4}, found("gateway:edge-2"), "it has another name")
	f.Disconnected(fleet.Conn{ID: 9, Transport: fleet.TransportWebSocket}, now)
	assert.ElementsMatch(t, []uint32{4}, found("gateway:*"), "who is gone carries nobody")
}
