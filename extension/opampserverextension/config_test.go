// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/fleet"
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

// parse reads a section from YAML, on top of the defaults.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	var raw map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &raw))
	return unmarshal(t, confmap.NewFromStringMap(raw))
}

// onThisHost puts certificates that are there in the place of an example's.
func onThisHost(t *testing.T, cfg *Config) *Config {
	t.Helper()
	cert, key, _ := certificate(t)
	for _, sc := range []*confighttp.ServerConfig{&cfg.Agents.ServerConfig, &cfg.Web} {
		if !sc.TLS.HasValue() {
			continue
		}
		settings := sc.TLS.Get()
		settings.CertFile, settings.KeyFile = cert, key
		if settings.ClientCAFile != "" {
			settings.ClientCAFile = cert
		}
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := loadSection(t, "opamp_server")
	require.NoError(t, xconfmap.Validate(cfg))
	assert.Equal(t, createDefaultConfig(), cfg)
	assert.Equal(t, "127.0.0.1:4320", cfg.Agents.NetAddr.Endpoint)
	assert.Equal(t, "/v1/opamp", cfg.Agents.Path)
	assert.Equal(t, "127.0.0.1:4321", cfg.Web.NetAddr.Endpoint)
	assert.Equal(t, int64(64<<20), cfg.Limits.MaxMessageSize)
	assert.Equal(t, 90*time.Second, cfg.SilentAfter)
	assert.Equal(t, 7*24*time.Hour, cfg.RetireAfter)
	assert.Empty(t, cfg.Database.Path)
	assert.Equal(t, 30*24*time.Hour, cfg.Database.Retention)
	assert.False(t, cfg.Insecure)
}

func TestSectionsOfTheExampleAreValid(t *testing.T) {
	for _, name := range []string{"opamp_server/all", "opamp_server/insecure", "opamp_server/sockets", "opamp_server/loopback"} {
		require.NoError(t, xconfmap.Validate(onThisHost(t, loadSection(t, name))), name)
	}
	all := loadSection(t, "opamp_server/all")
	assert.Equal(t, "/agents", all.Agents.Path)
	assert.Equal(t, "agents-ca.crt", all.Agents.TLS.Get().ClientCAFile)
	assert.Equal(t, 5*time.Second, all.Agents.ReadHeaderTimeout)
	assert.Equal(t, LimitsConfig{MaxMessageSize: 4 << 20, MaxAgents: 100, MaxAgentsPerConnection: 10, MaxConnections: 50, MaxMemory: 64 << 20}, all.Limits)
	assert.Equal(t, 5*time.Minute, all.SilentAfter)
	assert.Equal(t, []component.ID{component.MustNewIDWithName("basicauth", "people")}, newServer(all, nopSettings()).Dependencies())
}

// The service panics at an extension that depends on itself.
func TestWhoNamesItselfIsToldSo(t *testing.T) {
	set := nopSettings()
	s := newServer(configOf(t, fmt.Sprintf("web: {auth: {authenticator: %s}}", set.ID)), set)
	assert.Empty(t, s.Dependencies())
	require.ErrorContains(t, s.Start(context.Background(), hostOf{set.ID: s}), "web")
}

func TestMistakesAreNamedByTheirKey(t *testing.T) {
	cert, key, _ := certificate(t)
	pair := fmt.Sprintf("cert_file: '%s', key_file: '%s'", cert, key)
	secure := "tls: {" + pair + "}, auth: {authenticator: basicauth}"
	tests := map[string]struct {
		yaml string
		want []string // all of them; none: valid
	}{
		"path without slash":    {"agents: {path: v1/opamp}", []string{`agents.path: "v1/opamp" is not a path`}},
		"path empty":            {`agents: {path: ""}`, []string{"agents.path:"}},
		"path not clean":        {"agents: {path: /v1//opamp}", []string{"agents.path:"}},
		"path with query":       {"agents: {path: '/v1?x'}", []string{"agents.path:"}},
		"path root":             {"agents: {path: /}", nil},
		"no endpoint":           {`agents: {endpoint: ""}`, []string{"agents.endpoint: must be set"}},
		"no port":               {"web: {endpoint: localhost}", []string{`web.endpoint: "localhost" is not host:port`}},
		"URL":                   {"agents: {endpoint: 'ws://127.0.0.1:4320'}", []string{"agents.endpoint:", "without a scheme"}},
		"port too large":        {"web: {endpoint: '127.0.0.1:70000'}", []string{`web.endpoint: port "70000"`}},
		"port a name":           {"web: {endpoint: '127.0.0.1:http'}", []string{`web.endpoint: port "http"`}},
		"port missing":          {"web: {endpoint: '127.0.0.1:'}", []string{`web.endpoint: port ""`}},
		"udp":                   {"web: {transport: udp}", []string{"web.transport:"}},
		"same address":          {"web: {endpoint: '127.0.0.1:4320'}", []string{"agents.endpoint and web.endpoint: both are 127.0.0.1:4320"}},
		"same port 0":           {"{agents: {endpoint: '127.0.0.1:0'}, web: {endpoint: '127.0.0.1:0'}}", nil},
		"same file":             {"{agents: {transport: unix, endpoint: /a}, web: {transport: unix, endpoint: /a}}", []string{"both are /a"}},
		"no file":               {"agents: {transport: unix, endpoint: ''}", []string{"agents.endpoint: must be set"}},
		"empty authenticator":   {"agents: {auth: {authenticator: }}", []string{"agents.auth.authenticator: must be set"}},
		"agents body size":      {"agents: {max_request_body_size: 5}", []string{"agents.max_request_body_size:", "limits.max_message_size"}},
		"web compression":       {"web: {compression_algorithms: [gzip]}", []string{"web.compression_algorithms:"}},
		"agents cors":           {"agents: {cors: {allowed_origins: ['*']}}", []string{"agents.cors:"}},
		"retire after negative": {"retire_after: -1s", []string{"retire_after: must be 0s, which is until its place is needed, or at least 1s, is -1s"}},
		"retire at once":        {"retire_after: 1ns", []string{"retire_after: must be 0s, which is until its place is needed, or at least 1s, is 1ns"}},
		"retire soon":           {"retire_after: 1s", nil},
		"retire never":          {"retire_after: 0s", nil},
		"retention too short":   {"database: {retention: 1m}", []string{"database.retention: must be at least 1h0m0s, is 1m0s"}},
		"database in memory":    {"database: {path: ':memory:'}", []string{"database.path: is no file"}},
		"database too small":    {"database: {max_size: 1000}", []string{"database.max_size: must be 0 or at least 1048576, is 1000"}},
		"database negative":     {"database: {max_size: -1}", []string{"database.max_size:"}},
		"no identity":           {"identity: {attributes: []}", nil},
		"identity of nothing":   {"identity: {attributes: [[a], []]}", []string{"identity.attributes[1]: must be a list of 1 to 16 names"}},
		"identity twice":        {"identity: {attributes: [[a, b], [b, a], [a, b]]}", []string{"identity.attributes[2]: is identity.attributes[0] once more"}},
		"identity of one twice": {"identity: {attributes: [[a, b, a]]}", []string{`identity.attributes[0]: names "a" twice`}},
		"identity in order":     {"identity: {attributes: [[a, b], [b, a], [a]]}", nil},
		"identity of no name":   {"identity: {attributes: [[a, '']]}", []string{"identity.attributes[0]:"}},
		"redaction":             {"redaction: {keys: ['['], allow: [nowhere]}", []string{"redaction: ", "allow[0]"}},
		"roles unknown":         {"{web: {auth: {authenticator: basicauth}}, roles: {operator: [{attribute: raw, values: []}]}}", []string{"roles.operator[0].attribute: raw", "roles.operator[0].values:"}},
		"roles of nobody":       {"roles: {viewer: [{attribute: username, values: [bob]}]}", []string{"roles.viewer[0].attribute:", "without web.auth"}},
		"nobody looks":          {"roles: {viewer: []}", []string{"roles.viewer: nobody could see anything"}},
		"nobody sends":          {"roles: {operator: []}", nil},
		"silent after zero":     {"silent_after: 0s", []string{"silent_after: must be at least 1s, is 0s"}},
		"silent after negative": {"silent_after: -1s", []string{"silent_after: must be at least 1s, is -1s"}},
		"limits": {"limits: {max_message_size: 0, max_agents: -1, max_agents_per_connection: 0, max_connections: 0, max_memory: -1}", []string{
			"limits.max_message_size: must be from 1024 to 1073741824, is 0", "limits.max_agents: must be from 1 to 10000000, is -1",
			"limits.max_agents_per_connection:", "limits.max_connections:", "limits.max_memory: must be from 1048576 to 1099511627776, is -1",
		}},
		"limits too small": {"limits: {max_message_size: 10, max_memory: 1}", []string{
			"limits.max_message_size: must be from 1024", "limits.max_memory: must be from 1048576",
		}},
		"smallest limits": {"limits: {max_message_size: 1024, max_agents: 1, max_agents_per_connection: 1, max_connections: 1, max_memory: 1048576}", nil},
		"limits too large": {"limits: {max_message_size: 9223372036854775807, max_agents: 9223372036854775807, " +
			"max_agents_per_connection: 9223372036854775807, max_connections: 9223372036854775807, max_memory: 9223372036854775807}", []string{
			"limits.max_message_size: must be from 1024 to 1073741824, is 9223372036854775807", "limits.max_agents: must be",
			"limits.max_agents_per_connection: must", "limits.max_connections: must", "limits.max_memory: must",
		}},
		"largest limits": {"limits: {max_message_size: 1073741824, max_agents: 10000000, max_connections: 1000000}", nil},
		"silent at once": {"silent_after: 1ns", []string{"silent_after: must be at least 1s, is 1ns"}},
		"silent soon":    {"silent_after: 1s", nil},
		"timeouts": {"{agents: {read_header_timeout: -1s, idle_timeout: -1s}, web: {read_timeout: -1s, write_timeout: -1s}}", []string{
			"agents.read_header_timeout: must be at least 0s, is -1s", "agents.idle_timeout:", "web.read_timeout:", "web.write_timeout:",
		}},
		"timeouts without a unit": {"{agents: {read_timeout: 30}, web: {idle_timeout: 999us}}", []string{
			"agents.read_timeout: must be 0s, which is none, or at least 1ms, is 30ns; is the unit missing?", "web.idle_timeout:",
		}},
		"short timeouts": {"agents: {read_timeout: 1ms, write_timeout: 100ms}", nil},
		"no such certificate": {"{agents: {tls: {cert_file: /nowhere, key_file: /nowhere}}, web: {tls: {" + pair + ", client_ca_file: /nowhere}}}", []string{
			"agents.tls: failed to load TLS config", "web.tls: ", "/nowhere",
		}},
		"certificate without key": {"agents: {tls: {cert_file: '" + cert + "'}}", []string{"agents.tls: "}},
		"path a pattern":          {"agents: {path: '/{x}'}", []string{"agents.path:"}},
		"path a wildcard":         {"agents: {path: '/*'}", []string{"agents.path:"}},
		"path escaped":            {"agents: {path: '/a%20b'}", []string{"agents.path:"}},
		"same in other words":     {"{agents: {endpoint: 'localhost:1'}, web: {endpoint: '127.0.0.1:1'}}", []string{"agents.endpoint and web.endpoint: localhost:1 and 127.0.0.1:1 are one address"}},
		"one of all":              {"{insecure: true, agents: {endpoint: ':1'}, web: {endpoint: '127.0.0.1:1'}}", []string{"are one address"}},
		"one of all of its kind":  {"{insecure: true, agents: {endpoint: '0.0.0.0:1'}, web: {endpoint: '[::1]:1'}}", nil},
		"two addresses":           {"{agents: {endpoint: '127.0.0.1:1'}, web: {endpoint: '127.0.0.2:1'}}", nil},
		"everything at once": {"{agents: {path: x, endpoint: ''}, web: {endpoint: y}, silent_after: 0s}", []string{
			"agents.path", "agents.endpoint", "web.endpoint", "silent_after",
		}},

		"agents beyond": {"agents: {endpoint: '0.0.0.0:4320'}", []string{
			"agents.endpoint: 0.0.0.0:4320 can be reached from other hosts", "agents.tls and agents.auth (or agents.tls.client_ca_file)",
			"127.0.0.1", "insecure: true",
		}},
		"web beyond":            {"web: {endpoint: '192.0.2.1:4321'}", []string{"web.endpoint: 192.0.2.1:4321 can be", "web.tls and web.auth"}},
		"every host":            {"agents: {endpoint: ':4320'}", []string{"agents.endpoint: :4320 can be"}},
		"by name":               {"web: {endpoint: 'fleet.example.com:4321'}", []string{"web.endpoint: fleet.example.com:4321 can be"}},
		"lookalike":             {"web: {endpoint: 'localhost.example.com:4321'}", []string{"web.endpoint:"}},
		"tls alone":             {"agents: {endpoint: '0.0.0.0:4320', tls: {" + pair + "}}", []string{"without agents.auth (or agents.tls.client_ca_file);"}},
		"auth alone":            {"web: {endpoint: '0.0.0.0:4321', auth: {authenticator: basicauth}}", []string{"without web.tls;"}},
		"tls and auth":          {"{agents: {endpoint: '0.0.0.0:4320', " + secure + "}, web: {endpoint: '0.0.0.0:4321', " + secure + "}}", nil},
		"mutual tls":            {"agents: {endpoint: '0.0.0.0:4320', tls: {" + pair + ", client_ca_file: '" + cert + "', client_ca_file_reload: true}}", nil},
		"insecure":              {"{insecure: true, agents: {endpoint: '0.0.0.0:4320'}}", nil},
		"insecure is no pardon": {"{insecure: true, agents: {endpoint: '0.0.0.0:4320', path: x}}", []string{"agents.path"}},
		"loopback":              {"{agents: {endpoint: '127.8.8.8:1'}, web: {endpoint: '[::1]:1'}}", nil},
		"mapped loopback":       {"web: {endpoint: '[::ffff:127.0.0.1]:4321'}", nil},
		"LOCALHOST":             {"web: {endpoint: 'LOCALHOST:4321'}", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := xconfmap.Validate(parse(t, tt.yaml))
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, want := range tt.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

// One mistake is one message.
func TestAMistakenEndpointIsToldOnce(t *testing.T) {
	for _, endpoint := range []string{"", "x", "example.com:http"} {
		err := xconfmap.Validate(parse(t, fmt.Sprintf("agents: {endpoint: '%s'}", endpoint)))
		require.Error(t, err)
		assert.Equal(t, 1, strings.Count(err.Error(), "agents.endpoint"), err)
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	section := confmap.NewFromStringMap(map[string]any{"agent": map[string]any{}})
	require.ErrorContains(t, section.Unmarshal(createDefaultConfig()), "agent")
}

// Every example of the README is a whole configuration of the Collector whose part
// for this extension loads and is valid.
func TestExamplesOfTheREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := strings.Split(string(readme), "```yaml\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		text, _, closed := strings.Cut(block, "```")
		require.True(t, closed)
		var whole struct {
			Extensions map[string]map[string]any `yaml:"extensions"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &whole), text)
		raw, there := whole.Extensions[metadata.Type.String()]
		require.True(t, there, text)
		cfg := unmarshal(t, confmap.NewFromStringMap(raw))
		require.NoError(t, xconfmap.Validate(onThisHost(t, cfg)), text)
		for _, id := range newServer(cfg, nopSettings()).Dependencies() {
			assert.Contains(t, whole.Extensions, id.String(), "an authenticator of the example")
		}
	}
}

// A reason that the README does not explain would be met first by somebody in trouble.
func TestREADMENamesEveryReason(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, r := range opampserver.Reasons() {
		assert.Contains(t, string(readme), "`"+string(r)+"`")
	}
	for _, r := range fleet.RefuseReasons() {
		assert.Contains(t, string(readme), "`"+string(r)+"`")
	}
	for _, r := range refusals() {
		assert.Contains(t, string(readme), "`"+string(r)+"`")
	}
}
