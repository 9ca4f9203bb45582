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
	require.Nil(t, cfg.Storage)
	require.Empty(t, cfg.InstanceUIDFile)
	require.Equal(t, CapabilitiesConfig{
		ReportsEffectiveConfig: true, ReportsHealth: true, ReportsAvailableComponents: true, ReportsHeartbeat: true,
	}, cfg.Capabilities)
	require.Equal(t, AgentDescriptionConfig{}, cfg.AgentDescription)
	require.Equal(t, CustomMessagesConfig{QueueSize: 1000, QueueBytes: 32 << 20, MaxMessageSize: 16 << 20}, cfg.CustomMessages)
	require.Zero(t, cfg.PPID)
	require.Equal(t, 5*time.Second, cfg.PPIDPollInterval)

	require.Equal(t, 5*time.Minute, cfg.Server.WS.Get().MaxRetryAfter)
	require.Empty(t, cfg.Server.WS.Get().ProxyURL)
	require.Empty(t, cfg.Server.WS.Get().UnixSocket)

	http := loadTestdata(t, "opamp/http_default_interval").Server.HTTP.Get()
	require.Equal(t, 30*time.Second, http.PollingInterval)
	require.Equal(t, 5*time.Minute, http.MaxRetryAfter)
	require.Equal(t, "gzip", http.Compression)
}

func TestEveryKey(t *testing.T) {
	cfg := loadTestdata(t, "opamp/everything")
	ws := cfg.Server.WS.Get()
	require.Equal(t, "wss://opamp.example.com:4320/v1/opamp", ws.Endpoint)
	require.Equal(t, "1.3", ws.TLS.MinVersion)
	require.Equal(t, map[string]configopaque.String{"X-Tenant": "shop", "Authorization": "Bearer not-shown"}, ws.Headers)
	require.Equal(t, component.MustNewIDWithName("bearertokenauth", "opamp"), ws.Auth)
	require.Equal(t, configopaque.String("http://fleet:not-shown@proxy.example.com:3128"), ws.ProxyURL)
	require.Equal(t, time.Minute, ws.MaxRetryAfter)
	require.Equal(t, "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", cfg.InstanceUID)
	require.Equal(t, CapabilitiesConfig{}, cfg.Capabilities)
	require.Equal(t, AgentDescriptionConfig{
		IncludeResourceAttributes: true,
		IdentifyingAttributes:     map[string]string{"k8s.cluster.name": "blue"},
		NonIdentifyingAttributes:  map[string]string{"deployment.environment.name": "production"},
	}, cfg.AgentDescription)
	storage := component.MustNewIDWithName("file_storage", "opamp")
	require.Equal(t, CustomMessagesConfig{QueueSize: 50, QueueBytes: 4 << 20, TotalBytes: 8 << 20, MaxMessageSize: 1 << 20, Storage: &storage}, cfg.CustomMessages)
	require.Equal(t, int64(4711), cfg.PPID)
	require.Equal(t, 2*time.Second, cfg.PPIDPollInterval)

	http := loadTestdata(t, "opamp/http")
	require.Equal(t, 10*time.Second, http.Server.HTTP.Get().PollingInterval)
	require.Equal(t, "none", http.Server.HTTP.Get().Compression)
	require.True(t, http.Server.uncompressed())
	require.Equal(t, "/run/opamp.sock", http.Server.HTTP.Get().UnixSocket)
	require.True(t, loadTestdata(t, "opamp/supervised").supervised())
	require.Equal(t, component.MustNewIDWithName("file_storage", "opamp"), *loadTestdata(t, "opamp/storage").Storage)
	require.Equal(t, "./opamp-instance-uid", loadTestdata(t, "opamp/file").InstanceUIDFile)
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

		"no queue":           {ws + "custom_messages: {queue_size: 0}", []string{"custom_messages: queue_size: 0 must be between 1 and 1000000; leave it out for 1000"}},
		"queue below 0":      {ws + "custom_messages: {queue_bytes: -1}", []string{"custom_messages: queue_bytes: -1 must be between 1024 and 1073741824"}},
		"total below 0":      {ws + "custom_messages: {total_bytes: -1}", []string{"custom_messages: total_bytes: -1 must be between queue_bytes, 33554432, and 2147483647; leave it out"}},
		"total below queue":  {ws + "custom_messages: {total_bytes: 1048576}", []string{"total_bytes: 1048576 must be between queue_bytes, 33554432, and"}},
		"message too large":  {ws + "custom_messages: {max_message_size: 67108864}", []string{"custom_messages: max_message_size: 67108864 must be between 1024 and "}},
		"message over queue": {ws + "custom_messages: {queue_bytes: 2048}", []string{"max_message_size: 16777216 is more than queue_bytes, 2048"}},
		"storage no id":      {ws + "custom_messages: {storage: 'a b'}", []string{"custom_messages"}},

		"compression":       {"server: {http: {endpoint: 'http://h', compression: zstd}}", []string{"server::http: compression: \"zstd\" is neither gzip nor none"}},
		"compression of ws": {"server: {ws: {endpoint: 'ws://h', compression: gzip}}", []string{"compression"}},
		"retry after 0":     {"server: {ws: {endpoint: 'ws://h', max_retry_after: 0s}}", []string{"server::ws: max_retry_after: 0s must be greater than 0; leave it out for 5m0s"}},
		"retry after < 0":   {"server: {http: {endpoint: 'http://h', max_retry_after: -1s}}", []string{"server::http: max_retry_after: -1s must be greater than 0"}},

		"proxy not a URL":       {"server: {ws: {endpoint: 'ws://h', proxy_url: 'http://me:hunter2@%zz'}}", []string{"server::ws: proxy_url: not a valid URL"}},
		"proxy of no scheme":    {"server: {ws: {endpoint: 'ws://h', proxy_url: 'proxy:3128'}}", []string{"proxy_url: the scheme has to be http, https, socks5 or socks5h"}},
		"proxy of odd scheme":   {"server: {http: {endpoint: 'http://h', proxy_url: 'ftp://me:hunter2@p'}}", []string{"server::http: proxy_url: the scheme has to be"}},
		"proxy of no host":      {"server: {ws: {endpoint: 'ws://h', proxy_url: 'http://me:hunter2@'}}", []string{"proxy_url: names no host"}},
		"proxy with a path":     {"server: {ws: {endpoint: 'ws://h', proxy_url: 'http://me:hunter2@p/hunter2'}}", []string{"proxy_url: a proxy has no path"}},
		"proxy with a query":    {"server: {ws: {endpoint: 'ws://h', proxy_url: 'http://p?token=hunter2'}}", []string{"proxy_url: a proxy has no path"}},
		"proxy of bad port":     {"server: {ws: {endpoint: 'ws://h', proxy_url: 'http://me:hunter2@p:0'}}", []string{"proxy_url: port 0 is not in 1 to 65535"}},
		"socket not absolute":   {"server: {ws: {endpoint: 'ws://h', unix_socket: run/opamp.sock}}", []string{"server::ws: unix_socket: \"run/opamp.sock\" is not an absolute path"}},
		"socket too long":       {"server: {ws: {endpoint: 'ws://h', unix_socket: /" + strings.Repeat("x", 103) + "}}", []string{"unix_socket: the path has 104 bytes"}},
		"socket and proxy":      {"server: {ws: {endpoint: 'ws://h', unix_socket: /run/s, proxy_url: 'http://p'}}", []string{"unix_socket: cannot be together with proxy_url"}},
		"all at once":           {"server: {ws: {endpoint: 'ws://h:0', unix_socket: s, proxy_url: 'x', max_retry_after: 0s, headers: {'': v}}}", []string{"endpoint: port 0", "unix_socket", "proxy_url", "max_retry_after", "headers"}},
		"an encoding to accept": {"server: {ws: {endpoint: 'ws://h', headers: {Accept-Encoding: br}}}", []string{"headers: Accept-Encoding: cannot be set"}},

		"header name":        {"server: {ws: {endpoint: 'ws://h', headers: {'a b': c}}}", []string{"server::ws: headers: \"a b\" is not a header name"}},
		"header value":       {"server: {ws: {endpoint: 'ws://h', headers: {X-A: \"hunter2\\nX-B: c\"}}}", []string{"headers: X-A: the value has a character"}},
		"handshake's header": {"server: {ws: {endpoint: 'ws://h', headers: {sec-websocket-key: c}}}", []string{"headers: sec-websocket-key: cannot be set"}},
		"upgrade":            {"server: {ws: {endpoint: 'ws://h', headers: {Upgrade: c}}}", []string{"headers: Upgrade: cannot be set"}},
		"content type":       {"server: {http: {endpoint: 'http://h', headers: {Content-Type: c}}}", []string{"headers: Content-Type: cannot be set"}},

		"no CA file, proxy":  {"server: {ws: {endpoint: 'ws://h', proxy_url: 'https://me:hunter2@p', tls: {ca_file: /no/such/ca.pem}}}", []string{"server::ws: tls: ", "/no/such/ca.pem"}},
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

		"a nameless identifying": {ws + "agent_description: {identifying_attributes: {'': v}}", []string{"agent_description: identifying_attributes: an attribute has no name"}},
		"another instance id":    {ws + "agent_description: {identifying_attributes: {service.instance.id: v, service.name: w}}", []string{"agent_description: identifying_attributes: service.instance.id: ", "identifying_attributes: service.name: is that of", "service::telemetry::resource"}},
		"another version":        {ws + "agent_description: {identifying_attributes: {service.version: v}}", []string{"identifying_attributes: service.version: "}},
		"one attribute twice":    {ws + "agent_description: {identifying_attributes: {zone: a}, non_identifying_attributes: {zone: b}}", []string{"identifying_attributes: zone: is in non_identifying_attributes too"}},

		"storage and a file":         {ws + "storage: file_storage\ninstance_uid_file: ./uid", []string{"storage: cannot be set beside instance_uid_file"}},
		"a file and a UID":           {ws + "instance_uid_file: ./uid\ninstance_uid: 019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", []string{"instance_uid_file: cannot be set beside instance_uid: "}},
		"a file without directory":   {ws + "instance_uid_file: /no/such/uid", []string{"instance_uid_file: its directory has to exist: ", "/no/such"}},
		"a file below a file":        {ws + "instance_uid_file: README.md/uid", []string{"instance_uid_file: \"README.md\" is not a directory"}},
		"a file that is a directory": {ws + "instance_uid_file: ./testdata", []string{"instance_uid_file: \"./testdata\" is not a regular file"}},
		"storage not an id":          {ws + "storage: 'a b'", []string{"storage"}},
		"all of it wrong":            {ws + "storage: file_storage\ninstance_uid_file: /no/such/uid\ninstance_uid: x\nppid: -1", []string{"opamp instance_uid is invalid", "storage: cannot be set beside instance_uid_file", "instance_uid_file: cannot be set beside instance_uid:", "instance_uid_file: its directory", "ppid: -1"}},

		"unknown key":              {ws + "sever: {}", []string{"sever"}},
		"unknown server key":       {"server: {ws: {endpoint: 'ws://h', polling_interval: 1s}}", []string{"polling_interval"}},
		"unknown capability":       {ws + "capabilities: {accepts_remote_config: true}", []string{"accepts_remote_config"}},
		"ppid that wraps":          {ws + "ppid: 99999999999", []string{"ppid: 99999999999"}},
		"ppid poll without a unit": {ws + "ppid_poll_interval: 5", []string{"ppid_poll_interval: 5ns", "unit"}},
		"retry without a unit":     {"server: {ws: {endpoint: 'ws://h', max_retry_after: 300}}", []string{"max_retry_after: 300ns", "unit"}},
		"a header twice":           {"server: {ws: {endpoint: 'ws://h', headers: {X-Token: hunter2, x-token: hunter2}}}", []string{"headers: X-Token and x-token are one header"}},
		"no host in Host":          {"server: {ws: {endpoint: 'ws://h', headers: {Host: 'http://hunter2/'}}}", []string{"headers: Host: the value is not a host"}},
		"poll without a unit":      {"server: {http: {endpoint: 'http://h', polling_interval: 30}}", []string{"polling_interval: 30ns", "unit"}},
		"CA beside a plain scheme": {"server: {ws: {endpoint: 'ws://h', tls: {ca_file: /no/such}}}", []string{"server::ws", "tls", "/no/such"}},
		"a fragment":               {"server: {ws: {endpoint: 'ws://h/#x'}}", []string{"endpoint: "}},
		"raw config alone": {
			ws + "capabilities: {reports_effective_config: false}\nreports_raw_config: true",
			[]string{"reports_raw_config requires reports_effective_config to be enabled"},
		},
		"a bad secret pattern":  {ws + "redaction: {keys: ['a::b'], allow: ['x::[']}\n", []string{"redaction"}},
		"provider values":       {ws + "redaction: {provider_values: hide}", []string{"redaction", "provider_values"}},
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
		"a proxy":                    "server: {ws: {endpoint: 'wss://h', proxy_url: 'https://me:pass%20word@proxy/'}}",
		"a SOCKS proxy":              "server: {http: {endpoint: 'http://h', proxy_url: 'socks5h://[::1]:1080'}}",
		"a Unix socket":              "server: {ws: {endpoint: 'ws://localhost/v1/opamp', unix_socket: /run/opamp.sock}}",
		"IPv6":                       "server: {ws: {endpoint: 'ws://[::1]:4320/v1/opamp'}}",
		"a query":                    "server: {http: {endpoint: 'http://h/v1/opamp?tenant=7'}}",
		"tls beside a plain scheme":  "server: {ws: {endpoint: 'ws://h', tls: {insecure: true}}}",
		"wss with insecure":          "server: {ws: {endpoint: 'wss://h', tls: {insecure: true}}}",
		"a Host header":              "server: {ws: {endpoint: 'ws://h', headers: {Host: other}}}",
		"a host header":              "server: {http: {endpoint: 'http://h', polling_interval: 100ms, max_retry_after: 1ms, headers: {host: '[::1]:4320'}}}",
		"a User-Agent":               "server: {ws: {endpoint: 'ws://h', headers: {User-Agent: mine}}}",
		"uid in another spelling":    "server: {ws: {endpoint: 'ws://h'}}\ninstance_uid: urn:uuid:019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90",
		"a null for the other":       "server: {ws: , http: {endpoint: 'http://h'}}",
		"as the effective config":    "server: {ws: {endpoint: 'ws://h'}, http: null}\ninstance_uid: ''\nppid: 0\nppid_poll_interval: 5s",
		"no storage":                 "server: {ws: {endpoint: 'ws://h'}}\nstorage:\ninstance_uid_file: ''",
		"a file that is there":       "server: {ws: {endpoint: 'ws://h'}}\ninstance_uid_file: README.md",
		"a namespace of one's own":   "server: {ws: {endpoint: 'ws://h'}}\nagent_description: {identifying_attributes: {service.namespace: shop}}",
		"a supervisor's own process": "server: {ws: {endpoint: 'ws://h'}}\nppid: 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadYAML(t, yaml)
			require.NoError(t, err)
		})
	}
}

// A command line that names a feature gate of contrib's starts all the same.
func TestContribsFeatureGatesAreKnown(t *testing.T) {
	registerGates() // another extension of the binary may have been first
	require.Len(t, contribsGates, 3)
	for gate := range contribsGates {
		require.NoError(t, featuregate.GlobalRegistry().Set(gate, true))
		t.Cleanup(func() { require.NoError(t, featuregate.GlobalRegistry().Set(gate, false)) })
	}
	_, err := loadYAML(t, "server: {ws: {endpoint: 'ws://h'}}\ncapabilities: {accepts_restart_command: true}")
	require.ErrorContains(t, err, "accepts_restart_command", "the gates change nothing")
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
