// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetui"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// load is what the page of the server tells. Safe for concurrent use once Start has returned.
func (s *server) load() fleetui.Load {
	stats, limits := s.opamp.Stats(), s.config.Limits
	out := fleetui.Load{
		Version: s.version, Started: s.started,
		Connections: stats.Connections, MaxConnections: int64(limits.MaxConnections), UnsentBytes: stats.UnsentBytes,
		MaxAgents: limits.MaxAgents, MaxAgentsPerConnection: limits.MaxAgentsPerConnection,
		MaxMessageSize: limits.MaxMessageSize, MaxMemory: limits.MaxMemory, SilentAfter: s.config.SilentAfter,
		Traffic: []fleetui.Traffic{
			traffic("WebSocket", "received", stats.WebSocketReceived), traffic("WebSocket", "sent", stats.WebSocketSent),
			traffic("HTTP", "received", stats.HTTPReceived), traffic("HTTP", "sent", stats.HTTPSent),
		},
		Rejected: map[string]int64{},
	}
	out.Database = s.databaseLoad()
	out.Streams, out.MaxStreams = s.api.Streams()
	for reason, n := range stats.Rejected {
		out.Rejected[string(reason)] = n
	}
	return out
}

// databaseLoad is how the fleet is kept.
func (s *server) databaseLoad() fleetui.Database {
	if s.keeper == nil {
		return fleetui.Database{}
	}
	stats := s.keeper.Stats()
	out := fleetui.Database{
		Path: s.config.Database.Path, Since: stats.Since, Bytes: stats.Store.Bytes, Limit: s.config.Database.MaxSize,
		Lost: stats.Lost, Trimmed: stats.Trimmed,
	}
	if stats.Problem != nil {
		out.Problem = stats.Problem.Error()
	}
	return out
}

func traffic(transport, way string, t opampserver.Traffic) fleetui.Traffic {
	return fleetui.Traffic{Transport: transport, Way: way, Messages: t.Messages, Bytes: t.Bytes}
}
