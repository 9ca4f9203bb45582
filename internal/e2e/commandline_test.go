// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// agentConfig is an opamp extension with body below `opamp:`, six columns in.
func agentConfig(body string) string {
	return "extensions:\n  opamp:\n" + body + "\nservice:\n  extensions: [opamp]\n"
}

// serverConfig is the same for opamp_server.
func serverConfig(body string) string {
	return "extensions:\n  opamp_server:\n" + body + "\nservice:\n  extensions: [opamp_server]\n"
}

func validate(t *testing.T, config string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	return run(t, distribution(t), "validate",
		"--config="+writeFile(t, dir, "base.yaml", base),
		"--config="+writeFile(t, dir, "config.yaml", config))
}

// TestContribsGatesAreKnown holds that a command line made for contrib's extension is accepted.
func TestContribsGatesAreKnown(t *testing.T) {
	t.Parallel()
	file := writeFile(t, t.TempDir(), "base.yaml", base)
	for _, gate := range []string{
		"extension.opampextension.RemoteRestarts",
		"extension.opampextension.HeartbeatIntervalNegotiation",
		"extension.opamp.HeartbeatIntervalNegotiation",
	} {
		for _, sign := range []string{"", "+", "-"} {
			out, err := run(t, distribution(t), "validate", "--config="+file, "--feature-gates="+sign+gate)
			require.NoError(t, err, out)
		}
	}
}

func TestValidateRejects(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-canary"
	tests := []struct {
		name   string
		config string
		want   []string // all of them are in the message
	}{
		{
			name:   "no server",
			config: agentConfig("    ppid: 0"),
			want:   []string{"extensions::opamp::server", "must have at least ws or http set"},
		},
		{
			name: "both transports",
			config: agentConfig(`
    server:
      ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp"}
      http: {endpoint: "http://127.0.0.1:4320/v1/opamp"}`),
			want: []string{"extensions::opamp::server", "must have only ws or http set"},
		},
		{
			name:   "ws without an endpoint",
			config: agentConfig("    server: {ws: {endpoint: ''}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: ", "must be provided"},
		},
		{
			name:   "http without an endpoint",
			config: agentConfig("    server: {http: {endpoint: ''}}"),
			want:   []string{"extensions::opamp::server::http", "endpoint: ", "must be provided"},
		},
		{
			name:   "http scheme under ws",
			config: agentConfig("    server: {ws: {endpoint: 'http://127.0.0.1:4320/v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: ", "ws or wss"},
		},
		{
			name:   "ws scheme under http",
			config: agentConfig("    server: {http: {endpoint: 'wss://127.0.0.1:4320/v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::http", "endpoint: ", "http or https"},
		},
		{
			name:   "no scheme",
			config: agentConfig("    server: {ws: {endpoint: '127.0.0.1:4320'}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: "},
		},
		{
			name:   "empty host",
			config: agentConfig("    server: {ws: {endpoint: 'ws:///v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: ", "host"},
		},
		{
			name:   "only a port",
			config: agentConfig("    server: {http: {endpoint: 'http://:4320/v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::http", "endpoint: ", "host"},
		},
		{
			name:   "impossible port",
			config: agentConfig("    server: {ws: {endpoint: 'ws://127.0.0.1:70000/v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: ", "70000"},
		},
		{
			name:   "password in the endpoint",
			config: agentConfig("    server: {ws: {endpoint: 'ws://me:" + secret + "@127.0.0.1:4320/v1/opamp'}}"),
			want:   []string{"extensions::opamp::server::ws", "endpoint: ", "password"},
		},
		{
			name:   "polling interval 0",
			config: agentConfig("    server: {http: {endpoint: 'http://127.0.0.1:4320/v1/opamp', polling_interval: 0s}}"),
			want:   []string{"extensions::opamp::server::http", "polling_interval: ", "greater than 0"},
		},
		{
			name:   "polling interval below 0",
			config: agentConfig("    server: {http: {endpoint: 'http://127.0.0.1:4320/v1/opamp', polling_interval: -1s}}"),
			want:   []string{"extensions::opamp::server::http", "polling_interval: "},
		},
		{
			name: "ppid poll interval 0",
			config: agentConfig(`
    server: {ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp"}}
    ppid_poll_interval: 0s`),
			want: []string{"extensions::opamp", "ppid_poll_interval: "},
		},
		{
			name: "ppid poll interval below 0",
			config: agentConfig(`
    server: {ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp"}}
    ppid_poll_interval: -5s`),
			want: []string{"extensions::opamp", "ppid_poll_interval: "},
		},
		{
			name: "instance uid that is none",
			config: agentConfig(`
    server: {ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp"}}
    instance_uid: collector-7`),
			want: []string{"extensions::opamp", "instance_uid", "collector-7"},
		},
		{
			name:   "bad header name",
			config: agentConfig("    server: {ws: {endpoint: 'ws://127.0.0.1:4320/v1/opamp', headers: {'X Token': " + secret + "}}}"),
			want:   []string{"extensions::opamp::server::ws", "headers: ", "X Token"},
		},
		{
			name:   "line break in a header",
			config: agentConfig(`    server: {ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp", headers: {X-Token: "` + secret + `\r\nHost: x"}}}`),
			want:   []string{"extensions::opamp::server::ws", "headers: ", "X-Token"},
		},
		{
			name:   "missing CA file",
			config: agentConfig("    server: {ws: {endpoint: 'wss://127.0.0.1:4320/v1/opamp', tls: {ca_file: /nowhere/ca.pem}}}"),
			want:   []string{"extensions::opamp::server::ws", "tls: ", "/nowhere/ca.pem"},
		},
		{
			name: "misspelt key",
			config: agentConfig(`
    server: {ws: {endpoint: "ws://127.0.0.1:4320/v1/opamp"}}
    instance_id: 01a202c1-6c02-7d00-a357-3485c6d5be08`),
			want: []string{"opamp", "instance_id"},
		},
		{
			name: "several at once",
			config: agentConfig(`
    server: {http: {endpoint: "ftp://127.0.0.1", polling_interval: 0s}}
    instance_uid: collector-7
    ppid_poll_interval: 0s`),
			want: []string{"endpoint: ", "polling_interval: ", "instance_uid", "ppid_poll_interval: "},
		},
		{
			name:   "agents on every interface, in the clear",
			config: serverConfig("    agents: {endpoint: '0.0.0.0:4320'}"),
			want:   []string{"extensions::opamp_server", "agents", "insecure"},
		},
		{
			name:   "page on every interface, in the clear",
			config: serverConfig("    web: {endpoint: '0.0.0.0:4321'}"),
			want:   []string{"extensions::opamp_server", "web", "insecure"},
		},
		{
			name:   "every interface is also what an empty host means",
			config: serverConfig("    agents: {endpoint: ':4320'}"),
			want:   []string{"extensions::opamp_server", "agents", "insecure"},
		},
		{
			name:   "a path that is none",
			config: serverConfig("    agents: {path: v1/opamp}"),
			want:   []string{"extensions::opamp_server", "path"},
		},
		{
			name:   "agents and people on one address",
			config: serverConfig("    agents: {endpoint: '127.0.0.1:4320'}\n    web: {endpoint: '127.0.0.1:4320'}"),
			want:   []string{"extensions::opamp_server", "endpoint"},
		},
		{
			name:   "silent_after 0",
			config: serverConfig("    silent_after: 0s"),
			want:   []string{"extensions::opamp_server", "silent_after"},
		},
		{
			name:   "a limit below 0",
			config: serverConfig("    limits: {max_agents: -1}"),
			want:   []string{"extensions::opamp_server", "limits", "max_agents"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := validate(t, tt.config)
			require.Error(t, err, "accepted")
			for _, want := range tt.want {
				assert.Contains(t, out, want)
			}
			assert.NotContains(t, out, secret)
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	ca := writeFile(t, t.TempDir(), "ca.pem", newAuthority(t).PEM)
	tests := []struct {
		name   string
		config string
	}{
		{"the least over WebSocket", agentConfig("    server: {ws: {endpoint: 'ws://127.0.0.1:4320/v1/opamp'}}")},
		{"the least over plain HTTP", agentConfig("    server: {http: {endpoint: 'http://127.0.0.1:4320/v1/opamp'}}")},
		{"TLS with its own authority", agentConfig("    server: {ws: {endpoint: 'wss://example.com/v1/opamp', tls: {ca_file: '" + ca + "'}}}")},
		{"every key", agentConfig(`
    server:
      http:
        endpoint: https://[::1]:4320/v1/opamp
        polling_interval: 1s
        headers: {X-Token: abc}
        tls: {insecure_skip_verify: true}
    instance_uid: 01BX5ZZKBKACTAV9WEVGEMMVRZ
    capabilities:
      reports_effective_config: false
      reports_health: false
      reports_available_components: false
    agent_description:
      non_identifying_attributes: {region: eu}
      include_resource_attributes: true
    ppid: 1
    ppid_poll_interval: 1s`)},
		{"a server as it comes", serverConfig("    web: {endpoint: '127.0.0.1:4321'}")},
		{"a server on every interface, said to be insecure", serverConfig(`
    agents: {endpoint: "0.0.0.0:4320"}
    web: {endpoint: ":4321"}
    insecure: true`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := validate(t, tt.config)
			assert.NoError(t, err, out)
		})
	}
}

func TestValidateAcceptsTheExamples(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob(filepath.Join("..", "..", "testdata", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		t.Run(filepath.Base(example), func(t *testing.T) {
			t.Parallel()
			out, err := run(t, distribution(t), "validate", "--config="+example)
			assert.NoError(t, err, out)
		})
	}
}

// listing is what `components` prints, as far as it matters here.
type listing struct {
	BuildInfo struct {
		Command string `yaml:"command"`
		Version string `yaml:"version"`
	} `yaml:"buildinfo"`
	Receivers  []listed `yaml:"receivers"`
	Processors []listed `yaml:"processors"`
	Exporters  []listed `yaml:"exporters"`
	Extensions []listed `yaml:"extensions"`
	Connectors []listed `yaml:"connectors"`
}

type listed struct {
	Name   string `yaml:"name"`
	Module string `yaml:"module"`
}

func components(t *testing.T, binary string) listing {
	t.Helper()
	out, err := run(t, binary, "components")
	require.NoError(t, err, out)
	var l listing
	require.NoError(t, yaml.Unmarshal([]byte(out), &l))
	return l
}

func TestComponentsAreListed(t *testing.T) {
	t.Parallel()
	const ours = "github.com/otel-fleetview/fleetview v0.1.0"
	l := components(t, distribution(t))
	assert.Equal(t, "otelcol-fleetview", l.BuildInfo.Command)
	assert.Equal(t, "0.1.0", l.BuildInfo.Version)
	assert.Contains(t, l.Extensions, listed{"opamp", ours})
	assert.Contains(t, l.Extensions, listed{"opamp_server", ours})
	for _, exporter := range l.Exporters {
		assert.NotEqual(t, "status", exporter.Name, "a component for tests is in the distribution")
	}
}
