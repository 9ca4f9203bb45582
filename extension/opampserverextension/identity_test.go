// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// TestTwoAgentsWithOneInstanceUIDAreToldApart clones an agent: both are connected, and take turns.
func TestTwoAgentsWithOneInstanceUIDAreToldApart(t *testing.T) {
	s := start(t, "", nopHost)
	first, clone := connect(t, s), connect(t, s)
	first.say(described("original"))
	clone.uid = first.uid
	clone.say(described("clone"))
	var given *protobufs.AgentIdentification
	for range 5 {
		assert.Nil(t, first.say(&protobufs.AgentToServer{}).GetAgentIdentification(), "the first one stays")
		if given = clone.say(&protobufs.AgentToServer{}).GetAgentIdentification(); given != nil {
			break
		}
	}
	require.NotNil(t, given)
	uid, err := opampwire.InstanceUIDFromBytes(given.GetNewInstanceUid())
	require.NoError(t, err)
	assert.Equal(t, byte(7), uid[6]>>4, "a UUID of version 7")
	clone.uid = uid
	clone.say(described("clone"))
	first.say(described("original"))

	list := body(t, get(t, s.webURL()+"/api/v1/agents"))
	assert.Contains(t, list, `"original"`)
	assert.Contains(t, list, `"clone"`)
	history := body(t, get(t, s.webURL()+"/api/v1/history?kind=duplicate,instance_uid"))
	assert.Contains(t, history, first.uid.String())
	assert.Contains(t, history, uid.String())
}

// TestAQuickReconnectIsNoDuplicate dials again and again before the old connection is closed.
func TestAQuickReconnectIsNoDuplicate(t *testing.T) {
	s := start(t, "", nopHost)
	a := connect(t, s)
	a.say(described("hasty"))
	for range 10 {
		next := connect(t, s)
		next.uid, next.seq = a.uid, a.seq
		assert.Nil(t, next.say(described("hasty")).GetAgentIdentification())
		require.NoError(t, a.ws.CloseNow())
		assert.Nil(t, next.say(&protobufs.AgentToServer{}).GetAgentIdentification())
		a = next
	}
	assert.Zero(t, s.fleet.Stats().Reidentified)
	assert.Equal(t, fleet.LivenessConnected, liveness(t, s, a.uid))
}

// TestAHundredRestartsOfAPodAreOneRow starts a pod anew a hundred times, each time with another instance UID and
// another name, half of the time without a goodbye.
func TestAHundredRestartsOfAPodAreOneRow(t *testing.T) {
	text := inFile(filepath.Join(t.TempDir(), "fleet.db"))
	s := run(t, text, nopHost)
	const letters = "bcdfghjklmnpqrstvwxz"
	var last opampwire.InstanceUID
	watcher := s.fleet.Watch()
	defer watcher.Close()
	for i := range 100 {
		pod := connect(t, s)
		msg := described("otelcol")
		for key, value := range map[string]string{
			"k8s.namespace.name": "observability", "k8s.deployment.name": "gateway",
			"k8s.pod.name": "gateway-6f7d9c5b8d-" + string([]byte{letters[i%20], letters[i/20], 'x', '2', 'z'}),
		} {
			msg.AgentDescription.NonIdentifyingAttributes = append(msg.AgentDescription.NonIdentifyingAttributes, &protobufs.KeyValue{
				Key: key, Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: value}},
			})
		}
		pod.say(msg)
		if i%2 == 0 {
			pod.say(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
		}
		require.NoError(t, pod.ws.CloseNow())
		for liveness(t, s, pod.uid) == fleet.LivenessConnected {
			<-watcher.C
		}
		last = pod.uid
	}
	agents, _ := s.fleet.Agents()
	require.Len(t, agents, 1)
	assert.Equal(t, last, agents[0].UID)
	assert.Equal(t, 100, agents[0].Runs)
	for s.keeper.Stats().Events < s.fleet.LastEvent() {
		continue // it is written behind
	}
	history := body(t, get(t, s.webURL()+"/api/v1/agents/"+last.String()+"/history?kind=appeared&limit=1000"))
	assert.Equal(t, 100, strings.Count(history, `"kind":"appeared"`))
	require.NoError(t, s.Shutdown(context.Background()))

	s = run(t, text, nopHost)
	agents, _ = s.fleet.Agents()
	require.Len(t, agents, 1, "after a restart of the server too")
	assert.Equal(t, 100, agents[0].Runs)
	require.NoError(t, s.Shutdown(context.Background()))
}
