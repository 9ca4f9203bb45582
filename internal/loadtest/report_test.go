// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// variants is how many configs there are in the fleet.
const variants = 8

// parts is what the agents of one variant tell alike, encoded. A message is made of it by adding what is an agent's
// own: in protobuf the parts of a message may stand one after the other.
type parts struct {
	state      []byte // capabilities, config, the hash of the components
	healthy    []byte // the health of one that is well
	components []byte // the components themselves
}

// newParts are those of each variant.
func newParts() (out [variants]parts) {
	list := components()
	for v := range out {
		out[v].state = encode(&protobufs.AgentToServer{
			Capabilities: uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
				protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
				protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
				protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat |
				protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents),
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(config(v)), ContentType: "text/yaml"}},
			}},
			AvailableComponents: &protobufs.AvailableComponents{Hash: list.GetHash()},
		})
		out[v].healthy = encode(&protobufs.AgentToServer{Health: health("")})
		out[v].components = encode(&protobufs.AgentToServer{AvailableComponents: list})
	}
	return out
}

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // of our own making
	}
	return b
}

// described is what the nth agent tells of itself: sixteen attributes.
func described(n int, uid opampwire.InstanceUID) *protobufs.AgentDescription {
	host := fmt.Sprintf("node-%05d", n)
	return &protobufs.AgentDescription{
		IdentifyingAttributes: attributes(
			"service.name", "otelcol-fleetview",
			"service.instance.id", uid.String(),
			"service.version", fmt.Sprintf("0.%d.0", 149+n%3*3),
			"service.namespace", "telemetry",
		),
		NonIdentifyingAttributes: attributes(
			"host.name", host,
			"host.arch", "amd64",
			"host.id", fmt.Sprintf("%032x", n),
			"os.type", "linux",
			"os.description", "Debian GNU/Linux 12 (bookworm)",
			"cloud.provider", "aws",
			"cloud.region", []string{"eu-west-1", "us-east-1", "ap-south-1"}[n%3],
			"cloud.availability_zone", "a",
			"k8s.cluster.name", fmt.Sprintf("prod-%d", n%5),
			"k8s.node.name", host,
			"deployment.environment.name", "production",
			"team", fmt.Sprintf("team-%02d", n%20),
		),
	}
}

func attributes(pairs ...string) (out []*protobufs.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, &protobufs.KeyValue{
			Key: pairs[i], Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: pairs[i+1]}},
		})
	}
	return out
}

// pipelines hold twenty components, as many as a health tree has leaves.
var pipelines = []struct {
	name       string
	components []string
}{
	{"metrics", []string{"receiver:hostmetrics", "receiver:otlp", "receiver:prometheus", "processor:memory_limiter", "processor:resource", "processor:batch", "exporter:otlphttp", "exporter:otlphttp/archive"}},
	{"traces", []string{"receiver:otlp", "processor:memory_limiter", "processor:tail_sampling", "processor:batch", "exporter:otlphttp"}},
	{"logs", []string{"receiver:otlp", "receiver:filelog", "receiver:journald", "processor:memory_limiter", "processor:resource", "processor:batch", "exporter:otlphttp"}},
}

// health is that of a collector whose exporter of metrics fails, if text says why.
func health(text string) *protobufs.ComponentHealth {
	const started = 1_764_000_000_000_000_000
	root := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", StartTimeUnixNano: started, StatusTimeUnixNano: started, ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
	for _, p := range pipelines {
		pipeline := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", StatusTimeUnixNano: started, ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
		for _, c := range p.components {
			h := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", StatusTimeUnixNano: started}
			if text != "" && p.name == "metrics" && c == "exporter:otlphttp" {
				h.Healthy, h.Status, h.LastError = false, "StatusRecoverableError", text
				pipeline.Healthy, pipeline.Status = false, "StatusRecoverableError"
				root.Healthy, root.Status = false, "StatusRecoverableError"
			}
			pipeline.ComponentHealthMap[c] = h
		}
		root.ComponentHealthMap["pipeline:"+p.name] = pipeline
	}
	return root
}

// components is a list of 60, with the hash that Collectors compute of it.
func components() *protobufs.AvailableComponents {
	var text strings.Builder
	out := &protobufs.AvailableComponents{Components: map[string]*protobufs.ComponentDetails{}}
	for _, kind := range []string{"receiver", "processor", "exporter", "extension", "connector"} {
		details := &protobufs.ComponentDetails{SubComponentMap: map[string]*protobufs.ComponentDetails{}}
		text.WriteString(kind + ":")
		for i := range 12 {
			name := fmt.Sprintf("%s_%02d", kind, i)
			ref := "go.example.org/components/" + name + " v0.155.0"
			details.SubComponentMap[name] = &protobufs.ComponentDetails{Metadata: attributes("code.namespace", ref)}
			text.WriteString(name + "=" + ref + ";")
		}
		out.Components[kind+"s"] = details
	}
	sum := sha256.Sum256([]byte(text.String()))
	out.Hash = sum[:]
	return out
}

// config is the effective config of a variant, of about four KiB.
func config(variant int) string {
	var b strings.Builder
	b.WriteString("receivers:\n  otlp:\n    protocols:\n      grpc: {endpoint: \"0.0.0.0:4317\"}\n      http: {endpoint: \"0.0.0.0:4318\"}\n" +
		"  hostmetrics:\n    collection_interval: 30s\n    scrapers: {cpu: {}, memory: {}, disk: {}, filesystem: {}, network: {}}\n" +
		"  journald: {}\n  filelog:\n    include: [/var/log/pods/*/*/*.log]\n  prometheus:\n    config:\n      scrape_configs:\n")
	for job := range 18 {
		fmt.Fprintf(&b, "        - job_name: job-%02d\n          scrape_interval: %ds\n          metrics_path: /metrics\n          static_configs:\n            - targets: [\"service-%02d.internal:9100\"]\n", job, 15+variant, job)
	}
	b.WriteString("processors:\n  memory_limiter: {check_interval: 1s, limit_percentage: 75}\n  batch: {timeout: 5s}\n" +
		"  resource:\n    attributes:\n      - {key: team, value: observability, action: upsert}\n  tail_sampling:\n    decision_wait: 10s\n" +
		"exporters:\n  otlphttp:\n    endpoint: https://otlp.example.com\n  otlphttp/archive:\n    endpoint: https://archive.example.com\nservice:\n  pipelines:\n")
	for _, p := range pipelines {
		fmt.Fprintf(&b, "    %s:\n", p.name)
		for _, kind := range []string{"receiver", "processor", "exporter"} {
			var names []string
			for _, c := range p.components {
				if name, ok := strings.CutPrefix(c, kind+":"); ok {
					names = append(names, name)
				}
			}
			fmt.Fprintf(&b, "      %ss: [%s]\n", kind, strings.Join(names, ", "))
		}
	}
	return b.String()
}
