// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

const (
	polling     = 100 * time.Millisecond
	stopTimeout = 5 * time.Second
)

// capabilities are all that the client can have without a store of packages, so that whatever a
// server offered would reach a callback.
const capabilities = protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsRemoteConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsRemoteConfig |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsOpAMPConnectionSettings |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsOtherConnectionSettings |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsRestartCommand |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnTraces |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnMetrics |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnLogs

// config is what it says that it runs.
const config = `exporters:
  otlp:
    endpoint: gateway.example.com:4317
    headers:
      authorization: Bearer hush-opampgo-header
receivers:
  otlp:
    api_key: hush-opampgo-key
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp]
`

func beAgent(ctx context.Context, endpoint, uid string) error {
	id, err := hex.DecodeString(uid)
	if err != nil || len(id) != len(types.InstanceUid{}) {
		return fmt.Errorf("the instance UID %q is not 32 hexadecimal digits", uid)
	}
	var c client.OpAMPClient = client.NewWebSocket(nil)
	if strings.HasPrefix(endpoint, "http") {
		h := client.NewHTTP(nil)
		h.SetPollingInterval(polling)
		c = h
	}
	caps := capabilities
	if err := errors.Join(
		c.SetAgentDescription(describe()),
		c.SetHealth(feel()),
		c.SetAvailableComponents(components()),
		c.SetCapabilities(&caps),
		c.SetCustomCapabilities(&protobufs.CustomCapabilities{Capabilities: []string{"com.example.ping"}}),
		c.Start(ctx, types.StartSettings{
			OpAMPServerURL: endpoint, InstanceUid: types.InstanceUid(id), Callbacks: callbacks(),
		}),
	); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return c.Stop(ctx)
}

// callbacks say all that a server can say to an agent, offers and refusals among it.
func callbacks() types.Callbacks {
	return types.Callbacks{
		OnConnect:       func(context.Context) { fmt.Println("connected") },
		OnConnectFailed: func(_ context.Context, err error) { fmt.Println("failed", err) },
		OnError: func(_ context.Context, err *protobufs.ServerErrorResponse) {
			fmt.Println("error", err.GetErrorMessage())
		},
		OnMessage: hear,
		OnOpampConnectionSettings: func(context.Context, *protobufs.OpAMPConnectionSettings) error {
			fmt.Println("offer of a connection")
			return nil
		},
		OnConnectionSettings: func(context.Context, *protobufs.ConnectionSettingsOffers) error {
			fmt.Println("offer of connections")
			return nil
		},
		OnCommand: func(_ context.Context, command *protobufs.ServerToAgentCommand) error {
			fmt.Println("offer of a command", command.GetType())
			return nil
		},
		GetEffectiveConfig: func(context.Context) (*protobufs.EffectiveConfig, error) {
			return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigFile{"": {Body: []byte(config), ContentType: "text/yaml"}},
			}}, nil
		},
	}
}

func hear(_ context.Context, msg *types.MessageData) {
	for what, offered := range map[string]bool{
		"a config":      msg.RemoteConfig != nil,
		"own telemetry": msg.OwnMetricsConnSettings != nil || msg.OwnTracesConnSettings != nil || msg.OwnLogsConnSettings != nil,
		"connections":   len(msg.OtherConnSettings) > 0,
		"packages":      msg.PackagesAvailable != nil,
		"another UID":   msg.AgentIdentification != nil,
	} {
		if offered {
			fmt.Println("offer of", what)
		}
	}
	if msg.CustomMessage != nil {
		fmt.Println("custom", string(msg.CustomMessage.GetData()))
	}
}

func text(key, value string) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: key, Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: value}}}
}

func describe() *protobufs.AgentDescription {
	return &protobufs.AgentDescription{
		IdentifyingAttributes:    []*protobufs.KeyValue{text("service.name", "opamp-go"), text("service.version", "0.23.0")},
		NonIdentifyingAttributes: []*protobufs.KeyValue{text("host.name", "opamp-go.example.com"), text("team", "payments")},
	}
}

// feel is an agent whose exporter fails.
func feel() *protobufs.ComponentHealth {
	now := uint64(time.Now().UnixNano())
	part := func(healthy bool, status, err string, parts map[string]*protobufs.ComponentHealth) *protobufs.ComponentHealth {
		return &protobufs.ComponentHealth{
			Healthy: healthy, Status: status, LastError: err, StartTimeUnixNano: now, StatusTimeUnixNano: now, ComponentHealthMap: parts,
		}
	}
	const failing, refused = "StatusRecoverableError", "connection refused"
	return part(false, failing, refused, map[string]*protobufs.ComponentHealth{
		"pipeline:traces": part(false, failing, refused, map[string]*protobufs.ComponentHealth{
			"receiver:otlp": part(true, "StatusOK", "", nil),
			"exporter:otlp": part(false, failing, refused, nil),
		}),
	})
}

func components() *protobufs.AvailableComponents {
	kind := func(name string) *protobufs.ComponentDetails {
		return &protobufs.ComponentDetails{SubComponentMap: map[string]*protobufs.ComponentDetails{
			name: {Metadata: []*protobufs.KeyValue{text("code.namespace", "example.com/"+name)}},
		}}
	}
	return &protobufs.AvailableComponents{
		Hash:       []byte("of whatever makes it"),
		Components: map[string]*protobufs.ComponentDetails{"receivers": kind("otlp"), "exporters": kind("otlp")},
	}
}
