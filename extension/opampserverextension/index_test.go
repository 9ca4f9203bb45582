// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"fmt"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Many agents tell a config of their own, more than any question reads. Nobody asks, and all are read.
func TestConfigsAreReadWhileNobodyAsks(t *testing.T) {
	s := start(t, "", nopHost)
	const many = 1500
	for n := range many {
		uid := opampwire.InstanceUID{1, 14: byte(n >> 8), 15: byte(n)}
		body := fmt.Appendf(nil, "receivers:\n  otlp/%d:\n", n)
		require.Nil(t, s.fleet.Report(fleet.Conn{ID: 1 << 40, Transport: fleet.TransportHTTP}, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), Capabilities: 1,
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: body}},
			}},
		}, time.Now()).GetErrorResponse())
	}
	agents, _ := s.fleet.Agents()
	require.Len(t, agents, many)
	require.Eventually(t, func() bool {
		for _, a := range agents {
			if f, runs := s.index.Facts(a.Config.Hash()); !runs || f.Family == "" { // which reads none
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond)
}
