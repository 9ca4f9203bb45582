// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/featuregate"
)

// load reads one configuration as the Collector does: defaults, then the user's
// keys, unknown ones refused, then every level validated.
func load(conf *confmap.Conf) (*Config, error) {
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func loadYAML(t *testing.T, yaml string) (*Config, error) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return load(conf)
}

func loadTestdata(t *testing.T, id string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := all.Sub(id)
	require.NoError(t, err)
	cfg, err := load(sub)
	require.NoError(t, err)
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := loadTestdata(t, "opamp")
	require.Equal(t, "ws://127.0.0.1:4320/v1/opamp", cfg.Server.WS.Get().Endpoint)
	require.False(t, cfg.Server.HTTP.HasValue())
	require.Empty(t, cfg.InstanceUID)
	require.Equal(t, CapabilitiesConfig{
		ReportsEffectiveConfig: true, ReportsHealth: true, ReportsAvailableComponents: true, ReportsHeartbeat: true,
	}, cfg.Capabilities)
	require.Equal(t, AgentDescriptionConfig{}, cfg.AgentDescription)
	require.Zero(t, cfg.PPID)
	require.Equal(t, 5*time.Second, cfg.PPIDPollInterval)

	require.Equal(t, 30*time.Second, loadTestdata(t, "opamp/http_default_interval").Server.HTTP.Get().PollingInterval)
}

func TestEveryKey(t *testing.T) {
	cfg := loadTestdata(t, "opamp/everything")
	ws := cfg.Server.WS.Get()
	require.Equal(t, "wss://opamp.example.com:4320/v1/opamp", ws.Endpoint)
	require.Equal(t, "1.3", ws.TLS.MinVersion)
	require.Equal(t, map[string]configopaque.String{"X-Tenant": "shop", "Authorization": "Bearer not-shown"}, ws.Headers)
	require.Equal(t, component.MustNewIDWithName("bearertokenauth", "opamp"), ws.Auth)
	require.Equal(t, "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", cfg.InstanceUID)
	require.Equal(t, CapabilitiesConfig{}, cfg.Capabilities)
	require.Equal(t, AgentDescriptionConfig{
		IncludeResourceAttributes: true,
		NonIdentifyingAttributes:  map[string]string{"deployment.environment.name": "production"},
	}, cfg.AgentDescription)
	require.Equal(t, int32(4711), cfg.PPID)
	require.Equal(t, 2*time.Second, cfg.PPIDPollInterval)

	require.Equal(t, 10*time.Second, loadTestdata(t, "opamp/http").Server.HTTP.Get().PollingInterval)
	require.True(t, loadTestdata(t, "opamp/supervised").supervised())
}

func TestCapabilitiesOnTheWire(t *testing.T) {
	all := CapabilitiesConfig{ReportsEffectiveConfig: true, ReportsHealth: true, ReportsAvailableComponents: true, ReportsHeartbeat: true}
	require.Equal(t,
		protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus|
			protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig|
			protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth|
			protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents|
			protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat,
		all.bits())
	none := CapabilitiesConfig{}
	require.Equal(t, protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus, none.bits())
}

// contrib's extension validates neither the endpoint nor intervals (fault B13).
func TestRefused(t *testing.T) {
	const ws = "server: {ws: {endpoint: 'ws://127.0.0.1:4320/v1/opamp'}}\n"
	for name, tc := range map[string]struct {
		yaml string
		want []string // each in the error
	}{
		"nothing":             {"", []string{"server: opamp server must have at least ws or http set"}},
		"no transport":        {"server: {}", []string{"server: opamp server must have at least ws or http set"}},
		"two transports":      {"server: {ws: {endpoint: 'ws://h'}, http: {endpoint: 'http://h'}}", []string{"server: opamp server must have only ws or http set"}},
		"ws without endpoint": {"server: {ws: {}}", []string{"server::ws: endpoint: opamp server endpoint must be provided"}},
		"http without one":    {"server: {http: {}}", []string{"server::http: endpoint: opamp server endpoint must be provided"}},

		"no scheme":         {"server: {ws: {endpoint: '127.0.0.1:4320'}}", []string{"server::ws: endpoint: "}},
		"a word":            {"server: {ws: {endpoint: foo}}", []string{"endpoint: the scheme has to be ws or wss"}},
		"another scheme":    {"server: {ws: {endpoint: 'grpc://x'}}", []string{"endpoint: the scheme has to be ws or wss"}},
		"http under ws":     {"server: {ws: {endpoint: 'http://x'}}", []string{"endpoint: the scheme has to be ws or wss"}},
		"ws under http":     {"server: {http: {endpoint: 'ws://x'}}", []string{"server::http: endpoint: the scheme has to be http or https"}},
		"no host":           {"server: {ws: {endpoint: 'ws:///v1/opamp'}}", []string{"endpoint: names no host"}},
		"only a port":       {"server: {ws: {endpoint: 'ws://:4320'}}", []string{"endpoint: names no host"}},
		"port not a number": {"server: {ws: {endpoint: 'ws://h:x'}}", []string{"endpoint: not a valid URL"}},
		"port 0":            {"server: {ws: {endpoint: 'ws://h:0'}}", []string{"endpoint: port 0 is not in 1 to 65535"}},
		"port too high":     {"server: {ws: {endpoint: 'ws://h:65536'}}", []string{"endpoint: port 65536 is not in 1 to 65535"}},
		"a password":        {"server: {ws: {endpoint: 'ws://me:hunter2@h'}}", []string{"endpoint: holds a user or a password"}},

		"polling below 0": {"server: {http: {endpoint: 'http://h', polling_interval: -1s}}", []string{"server::http: polling_interval: polling interval must be 0 or greater"}},
		"polling 0":       {"server: {http: {endpoint: 'http://h', polling_interval: 0s}}", []string{"polling_interval: must be greater than 0; leave it out for 30s"}},

		"header name":        {"server: {ws: {endpoint: 'ws://h', headers: {'a b': c}}}", []string{"server::ws: headers: \"a b\" is not a header name"}},
		"header value":       {"server: {ws: {endpoint: 'ws://h', headers: {X-A: \"hunter2\\nX-B: c\"}}}", []string{"headers: X-A: the value has a character"}},
		"handshake's header": {"server: {ws: {endpoint: 'ws://h', headers: {sec-websocket-key: c}}}", []string{"headers: sec-websocket-key: cannot be set"}},
		"upgrade":            {"server: {ws: {endpoint: 'ws://h', headers: {Upgrade: c}}}", []string{"headers: Upgrade: cannot be set"}},
		"content type":       {"server: {http: {endpoint: 'http://h', headers: {Content-Type: c}}}", []string{"headers: Content-Type: cannot be set"}},

		"no CA file":         {"server: {ws: {endpoint: 'wss://h', tls: {ca_file: /no/such/ca.pem}}}", []string{"server::ws: tls: ", "/no/such/ca.pem"}},
		"no cert file":       {"server: {http: {endpoint: 'https://h', tls: {cert_file: /no/such/c.pem, key_file: /no/such/k.pem}}}", []string{"server::http: tls: ", "/no/such/c.pem"}},
		"a cert but no key":  {"server: {ws: {endpoint: 'wss://h', tls: {cert_file: /no/such/c.pem}}}", []string{"tls: TLS configuration must include both certificate and key"}},
		"TLS version":        {"server: {ws: {endpoint: 'wss://h', tls: {min_version: '0.9'}}}", []string{"tls: invalid TLS min_version"}},
		"two files and more": {"instance_uid: x\nppid: -1\nserver: {ws: {endpoint: 'ws://h:0', headers: {'': v}}}", []string{"opamp instance_uid is invalid", "ppid: -1", "endpoint: port 0", "headers: \"\""}},

		"uid":                    {ws + "instance_uid: not-a-uid", []string{"opamp instance_uid is invalid: ", "neither a UUID nor a ULID"}},
		"uid of zeros":           {ws + "instance_uid: 00000000-0000-0000-0000-000000000000", []string{"opamp instance_uid is invalid: "}},
		"ppid below 0":           {ws + "ppid: -1", []string{"ppid: -1 is no process"}},
		"ppid_poll_interval 0":   {ws + "ppid_poll_interval: 0s", []string{"ppid_poll_interval: 0s must be greater than 0"}},
		"ppid_poll_interval < 0": {ws + "ppid_poll_interval: -5s", []string{"ppid_poll_interval: -5s must be greater than 0"}},
		"restart command":        {ws + "capabilities: {accepts_restart_command: true}", []string{"capabilities: accepts_restart_command: must be false", "supervisor"}},
		"nameless attribute":     {ws + "agent_description: {non_identifying_attributes: {'': v}}", []string{"agent_description: non_identifying_attributes: an attribute has no name"}},

		"unknown key":           {ws + "sever: {}", []string{"sever"}},
		"unknown server key":    {"server: {ws: {endpoint: 'ws://h', polling_interval: 1s}}", []string{"polling_interval"}},
		"unknown capability":    {ws + "capabilities: {accepts_remote_config: true}", []string{"accepts_remote_config"}},
		"raw config":            {ws + "reports_raw_config: true", []string{"reports_raw_config"}},
		"heartbeat not a bool":  {ws + "capabilities: {reports_heartbeat: often}", []string{"reports_heartbeat"}},
		"duration not a number": {"server: {http: {endpoint: 'http://h', polling_interval: soon}}", []string{"polling_interval"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadYAML(t, tc.yaml)
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hunter2", "no secret in an error")
		})
	}
}

func TestAccepted(t *testing.T) {
	for name, yaml := range map[string]string{
		"no path":                    "server: {ws: {endpoint: 'ws://h'}}",
		"IPv6":                       "server: {ws: {endpoint: 'ws://[::1]:4320/v1/opamp'}}",
		"a query":                    "server: {http: {endpoint: 'http://h/v1/opamp?tenant=7'}}",
		"tls beside a plain scheme":  "server: {ws: {endpoint: 'ws://h', tls: {insecure: true, ca_file: /no/such}}}",
		"wss with insecure":          "server: {ws: {endpoint: 'wss://h', tls: {insecure: true}}}",
		"a Host header":              "server: {ws: {endpoint: 'ws://h', headers: {Host: other}}}",
		"a User-Agent":               "server: {ws: {endpoint: 'ws://h', headers: {User-Agent: mine}}}",
		"uid in another spelling":    "server: {ws: {endpoint: 'ws://h'}}\ninstance_uid: urn:uuid:019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90",
		"a null for the other":       "server: {ws: , http: {endpoint: 'http://h'}}",
		"as the effective config":    "server: {ws: {endpoint: 'ws://h'}, http: null}\ninstance_uid: ''\nppid: 0\nppid_poll_interval: 5s",
		"a supervisor's own process": "server: {ws: {endpoint: 'ws://h'}}\nppid: 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadYAML(t, yaml)
			require.NoError(t, err)
		})
	}
}

// A command line that names contrib's feature gate starts all the same.
func TestContribsFeatureGateIsKnown(t *testing.T) {
	registerGate() // another extension of the binary may have been first
	require.NoError(t, featuregate.GlobalRegistry().Set(remoteRestartsGate, true))
	defer func() { require.NoError(t, featuregate.GlobalRegistry().Set(remoteRestartsGate, false)) }()

	_, err := loadYAML(t, "server: {ws: {endpoint: 'ws://h'}}\ncapabilities: {accepts_restart_command: true}")
	require.ErrorContains(t, err, "accepts_restart_command", "the gate changes nothing")
}

// Every example of the README is a configuration that works.
func TestREADMEExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	loaded := 0
	for _, block := range blocks {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(block[1]))
		require.NoError(t, err)
		conf, err := retrieved.AsConf()
		require.NoError(t, err)
		extensions, err := conf.Sub("extensions")
		require.NoError(t, err)
		for id := range extensions.ToStringMap() {
			if id != "opamp" && !strings.HasPrefix(id, "opamp/") {
				continue
			}
			sub, err := extensions.Sub(id)
			require.NoError(t, err)
			_, err = load(sub)
			require.NoError(t, err, block[1])
			loaded++
		}
	}
	require.Positive(t, loaded)
}
