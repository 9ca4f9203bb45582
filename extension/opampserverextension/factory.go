// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// NewFactory is the factory of the opamp_server extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	return newServer(cfg.(*Config), set), nil
}

func createDefaultConfig() component.Config {
	return &Config{
		Agents: AgentsConfig{
			ServerConfig: listenOn("127.0.0.1:4320"),
			Path:         "/v1/opamp",
		},
		Web: listenOn("127.0.0.1:4321"),
		Limits: LimitsConfig{
			MaxMessageSize:         opampwire.DefaultMaxMessageSize,
			MaxAgents:              50_000,
			MaxAgentsPerConnection: 10_000,
			MaxConnections:         20_000,
			MaxMemory:              512 << 20,
		},
		SilentAfter: 90 * time.Second,
		RetireAfter: 7 * 24 * time.Hour,
		Database:    DatabaseConfig{Retention: 30 * 24 * time.Hour},
		Identity:    IdentityConfig{Attributes: fleet.DefaultIdentity()},
	}
}

// listenOn is confighttp's default with less patience for a request's head and more
// for the pause between two: an agent that polls is back within half a minute.
func listenOn(endpoint string) confighttp.ServerConfig {
	sc := confighttp.NewDefaultServerConfig()
	sc.NetAddr.Endpoint = endpoint
	sc.ReadHeaderTimeout = 10 * time.Second
	sc.IdleTimeout = 2 * time.Minute
	return sc
}
