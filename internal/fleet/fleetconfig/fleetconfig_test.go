// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// configOf is a config as the fleet holds it.
func configOf(tb testing.TB, files map[string]string) *fleet.Config {
	msg := &protobufs.AgentToServer{EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{},
	}}}
	for name, body := range files {
		msg.EffectiveConfig.ConfigMap.ConfigMap[name] = &protobufs.AgentConfigObject{Body: []byte(body)}
	}
	a, _, _ := fleet.Apply(nil, fleet.Input{UID: opampwire.InstanceUID{1}, Msg: msg})
	require.NotNil(tb, a)
	return a.Config
}

func examine(tb testing.TB, body string) Facts {
	return Examine(configOf(tb, map[string]string{"": body}))
}

const plain = `receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 10.1.2.3:4317
  hostmetrics/a:
    scrapers:
      cpu: null
processors:
  memory_limiter:
    limit_mib: 512
  resource:
    attributes:
      - action: upsert
        key: host.name
        value: web-1
      - action: upsert
        key: team
        value: shop
exporters:
  otlp/gw:
    endpoint: gateway:4317
    headers:
      x-agent: 1f0c2d3e-4b5a-6978-8796-a5b4c3d2e1f0
connectors:
  spanmetrics: {}
service:
  telemetry:
    resource:
      service.instance.id: abc
  pipelines:
    traces:
      receivers: [otlp]
      processors:
        - memory_limiter
        - resource
      exporters: [otlp/gw, spanmetrics]
    metrics:
      receivers:
      - spanmetrics
      - hostmetrics/a
      processors: [memory_limiter]
      exporters: [otlp/gw]
`

func TestExamine(t *testing.T) {
	f := examine(t, plain)
	assert.Equal(t, []string{
		"connector:spanmetrics", "exporter:otlp/gw", "processor:memory_limiter", "processor:resource",
		"receiver:hostmetrics/a", "receiver:otlp",
	}, f.Components)
	assert.Equal(t, []string{"metrics", "traces"}, f.Pipelines)
	assert.Equal(t, "hostmetrics, otlp → spanmetrics → otlp (metrics, traces)", f.Label)
	assert.Empty(t, f.Findings)
	assert.Empty(t, f.Problem)
	assert.Len(t, f.Family, 32)
	assert.Len(t, f.Variant, 32)
	assert.Equal(t, len(plain), f.Bytes)
}

func TestWhenTwoConfigsAreTheSame(t *testing.T) {
	base := examine(t, plain)
	for name, change := range map[string]*strings.Replacer{
		"address to listen on": strings.NewReplacer("10.1.2.3:4317", "10.9.9.9:4317"),
		"instance":             strings.NewReplacer("service.instance.id: abc", "service.instance.id: def"),
		"host in a list":       strings.NewReplacer("value: web-1", "value: web-2"),
		"uuid":                 strings.NewReplacer("1f0c2d3e-4b5a-6978-8796-a5b4c3d2e1f0", "aaaaaaaa-4b5a-6978-8796-a5b4c3d2e1f0"),
		"comments and quotes":  strings.NewReplacer("gateway:4317", "\"gateway:4317\" # there"),
		"form of a list":       strings.NewReplacer("[otlp]", "\n        - otlp", "      - spanmetrics", "        - spanmetrics", "      - hostmetrics/a", "        - hostmetrics/a"),
		"flow map":             strings.NewReplacer("cpu: null", "{cpu: }"),
		"order of keys": strings.NewReplacer("      - action: upsert\n        key: team\n        value: shop",
			"      - value: shop\n        key: team\n        action: upsert"),
	} {
		f := examine(t, change.Replace(plain))
		require.NotEqual(t, base.Hash, f.Hash, name)
		assert.Equal(t, base.Variant, f.Variant, name)
		assert.Equal(t, base.Family, f.Family, name)
	}
	for name, change := range map[string]*strings.Replacer{
		"where data goes":     strings.NewReplacer("gateway:4317", "10.0.0.1:4317"),
		"port":                strings.NewReplacer("10.1.2.3:4317", "10.1.2.3:4318"),
		"all interfaces":      strings.NewReplacer("10.1.2.3:4317", "0.0.0.0:4317"),
		"setting":             strings.NewReplacer("limit_mib: 512", "limit_mib: 256"),
		"order of processors": strings.NewReplacer("- memory_limiter\n        - resource", "- resource\n        - memory_limiter"),
		"other attribute":     strings.NewReplacer("value: shop", "value: bank"),
		"debug exporter":      strings.NewReplacer("[otlp/gw, spanmetrics]", "[otlp/gw, spanmetrics, debug]"),
		"name of an exporter": strings.NewReplacer("otlp/gw", "otlp/other"),
	} {
		f := examine(t, change.Replace(plain))
		assert.NotEqual(t, base.Variant, f.Variant, name)
		assert.Equal(t, base.Family, f.Family, name)
	}
	for name, change := range map[string]*strings.Replacer{
		"another exporter": strings.NewReplacer("otlp/gw", "kafka"),
		"another signal":   strings.NewReplacer("    traces:", "    logs:"),
		"another receiver": strings.NewReplacer("- hostmetrics/a", "- otlp"),
	} {
		assert.NotEqual(t, base.Family, examine(t, change.Replace(plain)).Family, name)
	}
}

func TestOtherConfigs(t *testing.T) {
	asJSON := examine(t, `{"receivers":{"otlp":null},"service":{"pipelines":{"traces":{"receivers":["otlp"],"exporters":["otlp"]}}}}`)
	asYAML := examine(t, "receivers:\n  otlp:\nservice:\n  pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [otlp]\n")
	assert.Equal(t, asJSON.Variant, asYAML.Variant)
	assert.Equal(t, "otlp → otlp (traces)", asJSON.Label)

	foreign := examine(t, "inputs:\n  cpu: 1\noutputs: {}\n")
	assert.Equal(t, "inputs, outputs", foreign.Label)

	masked := Examine(configOf(t, map[string]string{"agent.json": `{"inputs": {"cpu": 1}}`, "agent.toml": redact.Mask}))
	assert.Equal(t, "inputs", masked.Label, "what is masked as a whole is no list")

	broken := examine(t, "a: [")
	assert.NotEmpty(t, broken.Problem)
	assert.NotEqual(t, broken.Variant, examine(t, "a: {").Variant)
	assert.Empty(t, examine(t, "").Problem)

	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9))
	}
	assert.Contains(t, examine(t, bomb).Problem, "bigger than is read")
	assert.NotEmpty(t, examine(t, strings.Repeat("- ", 5000)+"x").Problem)
	long := ""
	for depth := range 40 {
		long += strings.Repeat(" ", depth) + strings.Repeat("k", 1000) + ":\n"
	}
	long += strings.Repeat(strings.Repeat(" ", 40)+"- x\n", 10_000)
	assert.Contains(t, examine(t, long).Problem, "bigger than is read")
	assert.Contains(t, examine(t, strings.Repeat("a: 1\n", 100_000)).Problem, "bigger than is read")
	echo := "a: &a " + strings.Repeat("x1y ", 16_000) + "\n" + strings.Repeat("b: *a\n", 25_000) // 1.6 GB, once
	assert.Contains(t, examine(t, echo).Problem, "bigger than is read")
	merged := examine(t, "base: &b {x: 1}\nexporters:\n  otlp:\n    <<: *b\n    y: 2\n")
	assert.Empty(t, merged.Problem)
	assert.Equal(t, []string{"exporter:otlp"}, merged.Components)

	tree, err := Parse("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {x: 0, <<: [*a, *b]}\n")
	require.NoError(t, err)
	assert.Equal(t, []string{"x", "y", "z"}, tree.Get("c").Keys, "what comes first counts")
	assert.Equal(t, "0", tree.Get("c", "x").Text)
	assert.Equal(t, "1", tree.Get("c", "y").Text)
}

func TestRawIsNoSecondConfig(t *testing.T) {
	one := Examine(configOf(t, map[string]string{"": plain}))
	two := Examine(configOf(t, map[string]string{"": plain, "raw": "exporters: {kafka: }"}))
	assert.Equal(t, one.Variant, two.Variant)
	assert.Equal(t, one.Components, two.Components)
	assert.Equal(t, plain, Main(configOf(t, map[string]string{"": plain, "a": "b"})).Body)
	assert.Equal(t, "b", Main(configOf(t, map[string]string{"raw": plain, "z": "b"})).Body)
	assert.Nil(t, Main(nil))
}

// The walker and the parser must see the same in what both can read: here in every config of the redaction corpus.
func TestWalkerAgreesWithParser(t *testing.T) {
	names, err := filepath.Glob("../../../testdata/redaction/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	walked := 0
	for _, name := range names {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		agree(t, string(raw), name)
		var tree any
		require.NoError(t, yaml.Unmarshal(raw, &tree))
		asWritten, err := yaml.Marshal(tree) // as a Collector reports it
		require.NoError(t, err)
		if agree(t, string(asWritten), name) {
			walked++
		} else {
			t.Log("left to the parser:", name)
		}
	}
	require.True(t, agree(t, plain, "plain"))
	require.Greater(t, walked, len(names)*3/4, "the walker gives up too often")
}

func agree(t *testing.T, body, name string) bool {
	w := walker{}
	if !w.walk(body) {
		return false
	}
	root, err := Parse(body)
	if err != nil {
		return false
	}
	f := flattener{}
	f.flatten(root, "", "", 0)
	require.Len(t, w.out, len(f.out), name)
	for i := range f.out {
		f.out[i].value = strings.Join(strings.Fields(f.out[i].value), " ")
		w.out[i].value = strings.Join(strings.Fields(w.out[i].value), " ")
		require.Equal(t, f.out[i], w.out[i], name)
	}
	return true
}

func TestNormalizeWords(t *testing.T) {
	for in, want := range map[string]string{
		"web-5d8f7b9c6d-x2x4z":                 "web-<id>",
		"otel-agent-x2x4z":                     "otel-agent-<id>",
		"otel-agent-small":                     "otel-agent-small",
		"node-24567":                           "node-24567",
		"ip-10-0-1-23.ec2.internal":            "<instance>",
		"/var/x/0123456789abcdef0123/y":        "/var/x/<id>/y",
		"1f0c2d3e-4b5a-6978-8796-a5b4c3d2e1f0": "<id>",
		"http://10.0.0.1:80/x":                 "http://<ip>:80/x",
		"0.0.0.0:80 127.0.0.1:81":              "0.0.0.0:80 127.0.0.1:81",
		"1234567890123456":                     "1234567890123456",
		"v1.2.3-rc1":                           "v1.2.3-rc1",
	} {
		assert.Equal(t, want, normalizeWords(in, true))
	}
	assert.Equal(t, "10.0.0.1:80", normalizeWords("10.0.0.1:80", false))
}

func TestLint(t *testing.T) {
	for body, want := range map[string]string{
		"exporters:\n  otlp:\n    endpoint: gw:4317\n    tls:\n      insecure: true\n":             "plaintext exporters::otlp",
		"exporters:\n  otlp:\n    endpoint: localhost:4317\n    tls:\n      insecure: true\n":      "",
		"exporters:\n  otlphttp:\n    endpoint: http://gw:4318\n":                                  "plaintext exporters::otlphttp",
		"exporters:\n  otlphttp:\n    endpoint: http://127.0.0.1:4318\n":                           "",
		"exporters:\n  otlphttp:\n    endpoint: ${env:X}\n    tls: {insecure: true}\n":             "",
		"exporters:\n  x:\n    tls:\n      insecure_skip_verify: true\n":                           "tls-skip-verify exporters::x::tls::insecure_skip_verify",
		"receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: 0.0.0.0:4317\n":       "listens-everywhere receivers::otlp::protocols::grpc::endpoint",
		"extensions:\n  health_check:\n    endpoint: '[::]:13133'\n":                               "listens-everywhere extensions::health_check::endpoint",
		"receivers:\n  x:\n    endpoint: :80\n":                                                    "listens-everywhere receivers::x::endpoint",
		"receivers:\n  x:\n    endpoint: localhost:80\n":                                           "",
		"exporters:\n  x:\n    api_key: abcdef\n":                                                  "secret exporters::x::api_key",
		"exporters:\n  x:\n    api_key: '[REDACTED]'\n    token: ${env:T}\n    password: '****'\n": "",
		"service:\n  telemetry:\n    logs:\n      level: debug\n":                                  "debug-log service::telemetry::logs::level",
		"service:\n  pipelines:\n    logs:\n      exporters: [debug]\n":                            "no-memory-limiter service::pipelines::logs, debug-exporter service::pipelines::logs::exporters::0",
		"service:\n  pipelines:\n    logs:\n      processors: [batch, memory_limiter]\n":           "memory-limiter-not-first service::pipelines::logs::processors",
		"service:\n  pipelines:\n    logs:\n      processors: [memory_limiter/2]\n":                "",
	} {
		var got []string
		for _, f := range examine(t, body).Findings {
			got = append(got, f.Rule+" "+f.Place)
			assert.GreaterOrEqual(t, ruleRank(f.Rule), 0)
		}
		assert.Equal(t, want, strings.Join(got, ", "), body)
	}
	many := "receivers:\n"
	for i := range 1000 {
		many += fmt.Sprintf("  x/%d:\n    endpoint: :1\n", i)
	}
	assert.Len(t, examine(t, many).Findings, maxFindings)
}

func TestCompare(t *testing.T) {
	from := "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n"
	to := "a\nb\nC\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\n"
	d := Compare(from, to, DiffOptions{})
	assert.Equal(t, "--- old\n+++ new\n@@ -1,6 +1,6 @@\n a\n b\n-c\n+C\n d\n e\n f\n@@ -11,3 +11,4 @@\n k\n l\n m\n+n\n", d.Unified("old", "new"))
	assert.Equal(t, 2, d.Added)
	assert.Equal(t, 1, d.Removed)
	assert.Empty(t, Compare(from, from, DiffOptions{}).Unified("a", "b"))
	assert.Equal(t, "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n", Compare("", "x", DiffOptions{}).Unified("a", "b"))
	assert.Equal(t, "--- a\n+++ b\n@@ -3,1 +3,1 @@\n-c\n+C\n@@ -13,0 +14,1 @@\n+n\n", Compare(from, to, DiffOptions{Context: -1}).Unified("a", "b"))

	coarse := Compare(strings.Repeat("a\n", 2000), strings.Repeat("b\n", 2000), DiffOptions{})
	assert.True(t, coarse.Coarse)
	assert.Equal(t, 2000, coarse.Added)
	cut := Compare(strings.Repeat("a\n", maxDiffLines+1), "a\n", DiffOptions{})
	assert.True(t, cut.Cut)
}

func TestCompareIgnoresWhatIsVolatile(t *testing.T) {
	other := strings.NewReplacer("value: web-1", "value: web-2", "10.1.2.3", "10.4.5.6", "1f0c2d3e", "2f0c2d3e",
		"service.instance.id: abc", "service.instance.id: xyz", "limit_mib: 512", "limit_mib: 256").Replace(plain)
	d := Compare(plain, other, DiffOptions{IgnoreVolatile: true})
	assert.Equal(t, 1, d.Added)
	assert.Equal(t, 1, d.Removed)
	assert.Equal(t, 5, Compare(plain, other, DiffOptions{}).Added)
}

func TestCompareIgnoresWhatIsVolatileOnOneLine(t *testing.T) {
	same := func(from, to string) {
		t.Helper()
		assert.Empty(t, Compare(from, to, DiffOptions{IgnoreVolatile: true}).Hunks, to)
	}
	same("resource: {host.name: web-1, team: shop}", "resource: {host.name: web-2, team: shop}")
	same("resource: {team: shop, service.instance.id: 'a b'}", "resource: {team: shop, service.instance.id: c}")
	same(`resource: {"host.name": "web, 1"}`, `resource: {"host.name": "db"}`)
	same("- {key: host.name, value: web-1, action: upsert}", "- {key: host.name, value: web-2, action: upsert}")
	same("- {value: web-1, key: host.name}", "- {value: web-2, key: host.name}")
	for _, other := range []string{
		"- {key: team, value: bank}", "- {key: host.name, value: web-1, action: insert}", "- {key: host.name}",
	} {
		assert.NotEmpty(t, Compare("- {key: team, value: shop}", other, DiffOptions{IgnoreVolatile: true}).Hunks, other)
	}
}

func TestWhatUpstreamGaveUpIsFound(t *testing.T) {
	f := examine(t, "receivers:\n  opencensus/2:\n    logging: {loki: 1}\nprocessors:\n  servicegraph:\n    latency: 1\n"+
		"exporters:\n  logging:\n    verbosity: detailed\n  skywalking:\n    x: 1\n  debug:\n    verbosity: basic\n  sapm:\n    x: 1\n")
	assert.Equal(t, []Finding{
		{ruleRemoved, "receivers::opencensus/2", "removed upstream in 0.134.0; use the otlp receiver"},
		{ruleRemoved, "exporters::logging", "removed upstream in 0.111.0; use the debug exporter"},
		{ruleRemoved, "exporters::skywalking", "removed upstream"},
		{ruleDeprecated, "processors::servicegraph", "deprecated upstream; use the servicegraph connector"},
		{ruleDeprecated, "exporters::sapm", "deprecated upstream; use the otlphttp exporter"},
	}, f.Findings)
	for name := range deprecations {
		kind, _, _ := strings.Cut(name, ":")
		assert.Contains(t, []string{"receiver", "processor", "exporter", "connector", "extension"}, kind)
	}
}

// patch applies a diff, as a check of it.
func patch(t *testing.T, from string, d Diff) string {
	var out []string
	var old []string
	if from != "" {
		old = strings.Split(strings.TrimSuffix(from, "\n"), "\n")
	}
	next := 0
	for _, h := range d.Hunks {
		first := h.FromLine - 1
		if h.FromCount == 0 {
			first++
		}
		out = append(out, old[next:first]...)
		next = first
		for _, l := range h.Lines {
			if l.Op != '+' {
				require.Equal(t, old[next], l.Text)
				require.Equal(t, next+1, l.From)
				next++
			}
			if l.Op != '-' {
				out = append(out, l.Text)
				require.Equal(t, len(out), l.To)
			}
		}
	}
	out = append(out, old[next:]...)
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}

func TestADiffLeadsToTheOtherText(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		text := func() string {
			var b strings.Builder
			for range rng.IntN(40) {
				fmt.Fprintf(&b, "%d\n", rng.IntN(6))
			}
			return b.String()
		}
		from, to := text(), text()
		d := Compare(from, to, DiffOptions{Context: rng.IntN(4) - 1})
		require.Equal(t, to, patch(t, from, d), "%q %q", from, to)
	}
}

func FuzzExamine(f *testing.F) {
	f.Add(plain)
	f.Add("a: &a [*a]\n")
	f.Add("- - a: b\n    c: |\n      d\n")
	f.Add(`{"a":[{"b":1}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 1<<16 {
			return
		}
		one := examine(t, body)
		require.Equal(t, one, examine(t, body))
		require.LessOrEqual(t, len(one.Findings), maxFindings)
	})
}
