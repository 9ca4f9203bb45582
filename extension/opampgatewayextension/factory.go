// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-fleetview/fleetview/extension/opampgatewayextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// defaultRequests is how many requests there are at a time to a server over plain HTTP.
const defaultRequests = 64

// NewFactory is the factory of the opamp_gateway extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	return newExtension(cfg.(*Config), set), nil
}

func createDefaultConfig() component.Config {
	listener := confighttp.NewDefaultServerConfig()
	listener.NetAddr.Endpoint = "127.0.0.1:4320"
	listener.ReadHeaderTimeout = 10 * time.Second
	listener.IdleTimeout = 2 * time.Minute
	return &Config{
		Listener: ListenerConfig{ServerConfig: listener, Path: "/v1/opamp"},
		Upstream: UpstreamConfig{
			Config:            opampendpoint.Config{MaxRetryAfter: defaultRetryAfter},
			Connections:       ConnectionsConfig{Mode: gateway.MultiplexShared, Min: 1, Max: 8, GrowAfter: 100 * time.Millisecond},
			AnnouncePerSecond: 4000,
		},
		Limits: LimitsConfig{
			MaxMessageSize:         opampwire.DefaultMaxMessageSize,
			MaxAgents:              20_000,
			MaxAgentsPerConnection: 16,
			MaxConnections:         20_000,
			MaxQueuedMessages:      64,
			MaxQueuedBytes:         1 << 20,
			MaxUpstreamQueuedBytes: 4 << 20,
		},
		Timeouts: TimeoutsConfig{
			Handshake:    10 * time.Second,
			Write:        10 * time.Second,
			FirstMessage: 30 * time.Second,
			Ping:         30 * time.Second,
			UpstreamPing: 10 * time.Second,
			UpstreamIdle: time.Minute,
			Grace:        5 * time.Second,
			HTTPAnswer:   5 * time.Second,
			HTTPSilence:  90 * time.Second,
			Drain:        5 * time.Second,
		},
		Identity:           IdentityConfig{Duplicates: gateway.DuplicatesReplace, Silence: 5 * time.Second},
		AgentAuth:          AgentAuthConfig{Mode: gateway.AuthNone, Headers: []string{"Authorization"}, AcceptedTTL: 5 * time.Minute, RejectedTTL: 10 * time.Second},
		ConnectionSettings: ConnectionSettingsConfig{Policy: gateway.OffersStrip},
		Report:             ReportConfig{Interval: 30 * time.Second},
	}
}
