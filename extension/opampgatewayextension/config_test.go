// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

func loadSection(t *testing.T, name string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	require.True(t, all.IsSet(name), name)
	section, err := all.Sub(name)
	require.NoError(t, err)
	return unmarshal(t, section)
}

func unmarshal(t *testing.T, section *confmap.Conf) *Config {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, section.Unmarshal(cfg))
	return cfg
}

// parse reads a section from YAML, on top of the defaults and a server.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	raw := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &raw))
	conf := confmap.NewFromStringMap(map[string]any{"upstream": map[string]any{"endpoint": "ws://127.0.0.1:1/v1/opamp"}})
	require.NoError(t, conf.Merge(confmap.NewFromStringMap(raw)))
	return unmarshal(t, conf)
}

func TestExamplesAreValid(t *testing.T) {
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	for name := range all.ToStringMap() {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, xconfmap.Validate(onThisHost(t, loadSection(t, name))))
		})
	}
}

func TestDefaults(t *testing.T) {
	cfg := loadSection(t, "opamp_gateway")
	want := createDefaultConfig().(*Config)
	want.Upstream.Endpoint = "ws://127.0.0.1:14320/v1/opamp"
	assert.Equal(t, want, cfg)
	assert.Equal(t, "127.0.0.1:4320", cfg.Listener.NetAddr.Endpoint)
	assert.Equal(t, 64, loadSection(t, "opamp_gateway/http").Upstream.Connections.Max, "requests at a time")
}

func TestEveryKeyIsRead(t *testing.T) {
	cfg := loadSection(t, "opamp_gateway/all")
	opamp := component.MustNewID("opamp")
	want := &Config{
		Listener: ListenerConfig{ServerConfig: cfg.Listener.ServerConfig, Path: "/agents"},
		Upstream: UpstreamConfig{
			Config: opampendpoint.Config{
				Endpoint: "wss://opamp-1.example.com:4320/v1/opamp",
				TLS:      cfg.Upstream.TLS,
				Headers:  map[string]configopaque.String{"Authorization": "Bearer of-the-gateway", "X-Tenant": "a, b"},
				ProxyURL: "http://user:password@proxy.example.com:3128", MaxRetryAfter: 2 * time.Minute,
			},
			Failover:          []string{"wss://opamp-2.example.com:4320/v1/opamp"},
			AnnouncePerSecond: 500,
			Connections:       ConnectionsConfig{Mode: gateway.MultiplexShared, Min: 2, Max: 4, GrowAfter: 50 * time.Millisecond},
		},
		Limits: LimitsConfig{
			MaxMessageSize: 1 << 20, MaxAgents: 100, MaxAgentsPerConnection: 50, MaxConnections: 80,
			MaxQueuedMessages: 10, MaxQueuedBytes: 65536, MaxUpstreamQueuedBytes: 1 << 20,
		},
		Timeouts: TimeoutsConfig{
			Handshake: time.Second, Write: 2 * time.Second, FirstMessage: 3 * time.Second, Ping: 4 * time.Second,
			UpstreamPing: 5 * time.Second, UpstreamIdle: 10 * time.Second, Grace: 6 * time.Second, HTTPAnswer: 7 * time.Second,
			HTTPSilence: 8 * time.Second, Drain: 9 * time.Second,
		},
		Identity:           IdentityConfig{Duplicates: gateway.DuplicatesReidentify, Silence: 11 * time.Second},
		AgentAuth:          AgentAuthConfig{Mode: gateway.AuthUpstream, Headers: []string{"Authorization", "X-Api-Key"}, AcceptedTTL: time.Minute, RejectedTTL: 5 * time.Second},
		ConnectionSettings: ConnectionSettingsConfig{Policy: gateway.OffersRewrite, Endpoint: "wss://gateway.example.com:4320/agents"},
		Report:             ReportConfig{Extension: &opamp, Interval: 15 * time.Second},
	}
	assert.Equal(t, want, cfg)
	assert.NotContains(t, fmt.Sprintf("%+v", cfg), "of-the-gateway", "headers are opaque")
}

func TestWhatIsWrongIsSaidByKey(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no server":   {"upstream: {endpoint: ''}", "upstream.endpoint: opamp server endpoint must be provided"},
		"scheme":      {"upstream: {endpoint: 'ftp://x'}", "upstream.endpoint: the scheme has to be ws or wss"},
		"credentials": {"upstream: {endpoint: 'ws://a:secret@x'}", "upstream.endpoint: holds a user or a password"},
		"failover":    {"upstream: {failover: ['http://x']}", "upstream.failover[0]: the scheme has to be ws or wss"},
		"failover, twice": {
			"upstream: {endpoint: 'wss://A.example.com/v1', failover: ['wss://b/', 'wss://a.example.com:443/v1', 'wss://b']}",
			"upstream.failover[1]: is endpoint once more; name another one of the server's\nupstream.failover[2]: is failover[0] once more",
		},
		"to itself":          {"upstream: {endpoint: 'ws://localhost:4320/v1/opamp'}", "upstream.endpoint: is listener.endpoint, 127.0.0.1:4320, where this gateway itself listens"},
		"to itself, open":    {"{insecure: true, listener: {endpoint: ':80'}, upstream: {failover: ['ws://[::1]']}}", "upstream.failover[0]: is listener.endpoint, :80, where"},
		"to itself, named":   {"{insecure: true, listener: {endpoint: '192.0.2.1:443'}, upstream: {endpoint: 'https://192.0.2.1'}}", "upstream.endpoint: is listener.endpoint, 192.0.2.1:443, where"},
		"headers":            {"upstream: {headers: {Upgrade: h2c, Sec-WebSocket-Key: a, Content-Length: '3', Connection: close}}", "upstream.headers: Connection: cannot be set, the transport makes it\nupstream.headers: Content-Length: cannot be set, the transport makes it\nupstream.headers: Sec-WebSocket-Key: cannot be set, the transport makes it\nupstream.headers: Upgrade: cannot be set"},
		"gateways' header":   {"upstream: {headers: {fleetview-gateways: me}}", "upstream.headers: fleetview-gateways: cannot be set"},
		"header, twice":      {"upstream: {headers: {X-Tenant: a, x-tenant: b}}", "upstream.headers: X-Tenant and x-tenant are one header"},
		"host, empty":        {"upstream: {headers: {Host: ''}}", "upstream.headers: Host: the value is not a host"},
		"host, a URL":        {"upstream: {headers: {host: 'a/b c'}}", "upstream.headers: host: the value is not a host"},
		"failover, socket":   {"upstream: {unix_socket: /x, failover: ['ws://x']}", "upstream.failover: cannot be together with unix_socket"},
		"min above max":      {"upstream: {connections: {min: 9}}", "upstream.connections.max: 8 is less than connections.min, 9"},
		"no connection":      {"upstream: {connections: {min: 0}}", "upstream.connections.min: must be from 1 to 256, is 0"},
		"mode":               {"upstream: {connections: {mode: x}}", `upstream.connections.mode: "x" is not shared or per_agent`},
		"mode over http":     {"upstream: {endpoint: 'http://x', connections: {mode: per_agent}}", "upstream.connections.mode: per_agent is for WebSockets"},
		"growth":             {"upstream: {connections: {grow_after: 0}}", "upstream.connections.grow_after: must be from 1ms"},
		"pace":               {"upstream: {announce_per_second: 0}", "upstream.announce_per_second: must be from 1"},
		"forwarded headers":  {"upstream: {forward_headers: [A]}", "upstream.forward_headers: an agent has no handshake"},
		"forwarded and set":  {"upstream: {connections: {mode: per_agent}, headers: {authorization: x}, forward_headers: [Authorization]}", "upstream.forward_headers: Authorization is in headers too, whose value would take the place of the agents'"},
		"forwarded and auth": {"upstream: {connections: {mode: per_agent}, auth: bearertokenauth, forward_headers: [authorization]}", "upstream.forward_headers: authorization is what auth sets"},
		"forwarded bond":     {"{upstream: {connections: {mode: per_agent}, forward_headers: [Fleetview-Gateway-Bond]}}", "upstream.forward_headers: Fleetview-Gateway-Bond is the transport's own"},
		"forwarded UID":      {"upstream: {connections: {mode: per_agent}, forward_headers: [opamp-instance-uid]}", "upstream.forward_headers: opamp-instance-uid is the transport's own"},
		"forwarded host":     {"upstream: {connections: {mode: per_agent}, forward_headers: [Host]}", "upstream.forward_headers: Host is the transport's own"},
		"forwarded upgrade":  {"upstream: {connections: {mode: per_agent}, forward_headers: [Upgrade]}", "upstream.forward_headers: Upgrade is the transport's own"},
		"retry":              {"upstream: {max_retry_after: 0}", "upstream.max_retry_after: 0s must be greater than 0"},
		"retry, no unit":     {"upstream: {max_retry_after: 300}", "upstream.max_retry_after: 300ns is too short, at least 1ms; is the unit missing?"},
		"listener's timeout": {"listener: {read_header_timeout: 20}", "listener.read_header_timeout: must be 0s, which is none, or at least 1ms, is 20ns"},
		"path":               {"listener: {path: agents}", `listener.path: "agents" is not a path like /v1/opamp`},
		"cors":               {"listener: {cors: {allowed_origins: ['*']}}", "listener.cors: cannot be set"},
		"body size":          {"listener: {max_request_body_size: 1}", "listener.max_request_body_size: cannot be set"},
		"open to all":        {"listener: {endpoint: '0.0.0.0:4320'}", "listener.endpoint: 0.0.0.0:4320 can be reached from other hosts, without listener.tls and listener.auth"},
		"auth without TLS": {
			"{listener: {endpoint: '0.0.0.0:4320'}, agent_auth: {mode: upstream}}",
			"can be reached from other hosts, without listener.tls; set that",
		},
		"message size":   {"limits: {max_message_size: 10}", "limits.max_message_size: must be from 1024"},
		"agents":         {"limits: {max_agents: 0}", "limits.max_agents: must be from 1"},
		"per connection": {"limits: {max_agents_per_connection: 0}", "limits.max_agents_per_connection: must be from 1"},
		"connections":    {"limits: {max_connections: -1}", "limits.max_connections: must be from 1"},
		"messages":       {"limits: {max_queued_messages: 0}", "limits.max_queued_messages: must be from 1"},
		"bytes":          {"limits: {max_queued_bytes: 0}", "limits.max_queued_bytes: must be from 1024"},
		"upstream bytes": {"limits: {max_upstream_queued_bytes: 0}", "limits.max_upstream_queued_bytes: must be from 65536"},
		"timeouts":       {"timeouts: {grace: 0s}", "timeouts.grace: must be from 1ms to 24h0m0s, is 0s"},
		"without a unit": {"timeouts: {ping: 30}", "timeouts.ping: must be from 1ms to 24h0m0s, is 30ns"},
		"duplicates":     {"identity: {duplicates: x}", `identity.duplicates: "x" is not one of [replace refuse reidentify]`},
		"silence":        {"identity: {silence: 0s}", "identity.silence: must be from 1ms"},
		"auth mode":      {"agent_auth: {mode: x}", `agent_auth.mode: "x" is not none, upstream or connect`},
		"auth headers":   {"agent_auth: {mode: upstream, headers: []}", "agent_auth.headers: names no header"},
		"auth header":    {"agent_auth: {headers: ['a b']}", `agent_auth.headers: "a b" is not a header name`},
		"auth ttl":       {"agent_auth: {accepted_ttl: 0s, rejected_ttl: 0s}", "agent_auth.rejected_ttl: must be from 1ms"},
		"auth over http": {"{upstream: {endpoint: 'http://x'}, agent_auth: {mode: upstream}}", "agent_auth.mode: upstream needs a WebSocket"},
		"connect per agent": {
			"{upstream: {connections: {mode: per_agent}}, agent_auth: {mode: connect}}",
			"agent_auth.mode: connect needs connections that agents share",
		},
		"policy":            {"connection_settings: {policy: x}", `connection_settings.policy: "x" is not strip, forward or rewrite`},
		"rewrite to what":   {"connection_settings: {policy: rewrite}", "connection_settings.endpoint: must be where agents reach this gateway"},
		"endpoint for what": {"connection_settings: {endpoint: 'ws://x'}", "connection_settings.endpoint: has no use with policy: strip"},
		"report":            {"report: {interval: 1ms}", "report.interval: must be from 1s"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, xconfmap.Validate(parse(t, tt.text)), tt.want) })
	}
}

// What looks odd and works is nobody's business.
func TestWhatWorksIsTaken(t *testing.T) {
	for name, text := range map[string]string{
		"a Host":               "upstream: {headers: {host: 'opamp.example.com:443'}}",
		"the same port":        "{insecure: true, listener: {endpoint: '0.0.0.0:4320'}, upstream: {endpoint: 'ws://192.0.2.1:4320/v1/opamp'}}",
		"a name of whomever":   "{insecure: true, listener: {endpoint: '0.0.0.0:4320'}, upstream: {endpoint: 'ws://fleet:4320/v1/opamp'}}",
		"another loopback":     "upstream: {endpoint: 'ws://127.0.0.2:4320/v1/opamp'}",
		"behind a proxy":       "upstream: {endpoint: 'ws://localhost:4320/v1/opamp', proxy_url: 'http://proxy.example.com:3128'}",
		"a socket":             "upstream: {endpoint: 'ws://localhost:4320/v1/opamp', unix_socket: /run/opamp.sock}",
		"failover by path":     "upstream: {endpoint: 'ws://a/1', failover: ['ws://a/2', 'ws://a:81/1', 'wss://a/1', 'ws://a/1?tenant=2']}",
		"small":                "{limits: {max_message_size: 4096, max_agents: 1}, timeouts: {ping: 100ms, grace: 1ms}, upstream: {max_retry_after: 1ms}}",
		"forwarded beside":     "upstream: {connections: {mode: per_agent}, headers: {X-Tenant: a}, forward_headers: [Authorization]}",
		"a listener's timeout": "listener: {read_header_timeout: 100ms, idle_timeout: 0s}",
	} {
		t.Run(name, func(t *testing.T) { require.NoError(t, xconfmap.Validate(parse(t, text))) })
	}
}

// Every key and every reason is in the README.
func TestREADMENamesEverything(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var walk func(prefix string, of reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			key, rest, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
			switch {
			case f.Type == reflect.TypeFor[confighttp.ServerConfig](), !f.IsExported():
			case strings.Contains(rest, "squash"):
				walk(prefix, f.Type)
			case f.Type.Kind() == reflect.Struct && strings.HasPrefix(f.Type.PkgPath(), reflect.TypeFor[Config]().PkgPath()):
				walk(prefix+key+".", f.Type)
			default:
				assert.Contains(t, string(text), "`"+prefix+key+"`")
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	for _, reason := range gateway.Reasons() {
		assert.Contains(t, string(text), "`"+string(reason)+"`")
	}
	for _, reason := range opampserver.Reasons() {
		assert.Contains(t, string(text), "`"+string(reason)+"`")
	}
}

func TestExampleOfAWholeCollector(t *testing.T) {
	all, err := confmaptest.LoadConf(filepath.Join("..", "..", "testdata", "gateway.yaml"))
	require.NoError(t, err)
	section, err := all.Sub("extensions::opamp_gateway")
	require.NoError(t, err)
	cfg := unmarshal(t, section)
	require.NoError(t, xconfmap.Validate(cfg))
	assert.Equal(t, component.MustNewID("opamp"), *cfg.Report.Extension)
}
