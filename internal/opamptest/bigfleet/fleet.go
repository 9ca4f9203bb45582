// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package bigfleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Size is how many collectors there are: 100,000, and with -short only so many that the benchmarks are run.
func Size() int {
	if testing.Short() {
		return 2_000
	}
	return 100_000
}

// connections that the collectors share. One of them is broken: who speaks on it is lost.
const (
	connections = 50
	broken      = 7
)

// New has [Size] collectors report as of now. It takes about 20 seconds and 3 GB.
func New(now time.Time) *fleet.Fleet {
	f := fleet.New(fleet.Settings{MaxAgents: 2 * Size(), MaxMemory: 16 << 30, MaxAgentsPerConnection: Size()})
	for i := range uint32(Size()) {
		f.Report(Conn(i), Report(i, now), now)
	}
	f.Disconnected(fleet.Conn{ID: broken, Transport: fleet.TransportWebSocket}, now)
	return f
}

// UID of the ith collector, counted from 0.
func UID(i uint32) opampwire.InstanceUID {
	return opampwire.InstanceUID{1, 0x9a, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
}

// Conn is what the ith collector speaks on.
func Conn(i uint32) fleet.Conn {
	return fleet.Conn{ID: 1 + uint64(i%connections), Transport: fleet.TransportWebSocket, RemoteAddr: "10.0.0.1:1"}
}

// Report is the first message of the ith collector.
func Report(i uint32, now time.Time) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{
		InstanceUid: UID(i).Bytes(), Capabilities: 1 | 4 | 0x800,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes: pairs(
				"service.name", []string{"otelcol", "otelcol-contrib", "otelcol-k8s"}[i%3],
				"service.version", fmt.Sprintf("0.%d.0", 144+i*7%12),
				"service.instance.id", fmt.Sprintf("%032x", i),
				"host.name", fmt.Sprintf("node-%05d.prod.example.com", i),
			),
			NonIdentifyingAttributes: pairs(
				"k8s.cluster.name", fmt.Sprintf("cluster-%d", i*13%40), "k8s.namespace.name", "observability",
				"k8s.pod.name", fmt.Sprintf("agent-%d", i), "os.type", "linux", "host.arch", []string{"amd64", "arm64"}[i%2],
				"deployment.environment.name", []string{"prod", "staging", "dev"}[i%3], "cloud.region", fmt.Sprintf("region-%d", i%9),
			),
		},
		Health: Health(i, i%16 == 3, now.Add(-time.Duration(i)*time.Second)),
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(config(i))}},
		}},
	}
}

// Change has n collectors report something new: "health", "description", "config", or "long config", which is one of 4 KB
// as Collectors tell them, defaults included; "liveness" has them say goodbye and come back by turns. Each round, counted
// from 0, says something else than the one before.
func Change(f *fleet.Fleet, kind string, round, n int, now time.Time) {
	for k := range uint32(n) {
		i := k * 61 % uint32(Size())
		whole := Report(i, now)
		msg := &protobufs.AgentToServer{InstanceUid: whole.InstanceUid, Capabilities: whole.Capabilities, SequenceNum: next(f, i)}
		switch kind {
		case "health":
			msg.Health = Health(i, (int(i)+round)%2 == 0, now)
		case "description":
			msg.AgentDescription = whole.AgentDescription
			msg.AgentDescription.NonIdentifyingAttributes = append(msg.AgentDescription.NonIdentifyingAttributes,
				pairs("round", fmt.Sprintf("%d-%d", round, i))...)
		case "config":
			msg.EffectiveConfig = whole.EffectiveConfig
			main := msg.EffectiveConfig.ConfigMap.ConfigMap[""]
			main.Body = fmt.Appendf(main.Body, "# %d\n", round)
		case "long config":
			msg.EffectiveConfig = whole.EffectiveConfig
			msg.EffectiveConfig.ConfigMap.ConfigMap[""].Body = fmt.Appendf(nil, "# %d\n%s", round, longConfig(i))
		case "liveness":
			if round%2 == 0 {
				msg.AgentDisconnect = &protobufs.AgentDisconnect{}
			}
		}
		f.Report(Conn(i), msg, now)
	}
}

// next is the sequence_num of the ith collector's next message.
func next(f *fleet.Fleet, i uint32) uint64 {
	a, ok := f.Agent(UID(i))
	if !ok {
		return 0
	}
	return a.Seq + 1
}

// Health is how the ith collector is, since a time.
func Health(i uint32, failing bool, since time.Time) *protobufs.ComponentHealth {
	at := uint64(since.UnixNano())
	part := func() *protobufs.ComponentHealth {
		return &protobufs.ComponentHealth{
			Healthy: true, Status: "StatusOK", StatusTimeUnixNano: at, ComponentHealthMap: map[string]*protobufs.ComponentHealth{},
		}
	}
	root := part()
	for p, name := range []string{"traces", "metrics", "logs"} {
		pipeline := part()
		for k := range 6 {
			kind := []string{"receiver", "processor", "exporter"}[k%3]
			pipeline.ComponentHealthMap[kind+":"+types[(int(i)*k+p+k)%len(types)]] = part()
		}
		root.ComponentHealthMap["pipeline:"+name] = pipeline
	}
	extensions := part()
	extensions.ComponentHealthMap["extension:health_check"] = part()
	extensions.ComponentHealthMap["extension:opamp"] = part()
	root.ComponentHealthMap["extensions"] = extensions
	if failing {
		sick := part()
		sick.Healthy, sick.Status = false, "StatusRecoverableError"
		sick.LastError = fmt.Sprintf(failures[i/16%uint32(len(failures))], i%250, i%200)
		root.ComponentHealthMap["pipeline:traces"].ComponentHealthMap["exporter:otlp"] = sick
		root.Healthy, root.Status = false, "StatusRecoverableError"
	}
	return root
}

func config(i uint32) string {
	return fmt.Sprintf("extensions:\n  opamp:\n    hostname: node-%d\n", i) +
		strings.ReplaceAll(configBody, "gw:4317", fmt.Sprintf("gw-%d:4317", max(0, int(i*11%200)-150)))
}

// longConfig has what a Collector adds to a config by itself.
func longConfig(i uint32) string {
	var b strings.Builder
	fmt.Fprintf(&b, "extensions:\n  opamp:\n    hostname: node-%d\nexporters:\n", i)
	for k := range 6 {
		fmt.Fprintf(&b, exporterBody, k, i*11%200)
	}
	b.WriteString(pipelinesBody)
	return b.String()
}

const exporterBody = `  otlp/%d:
    auth: null
    balancer_name: round_robin
    compression: gzip
    endpoint: gw-%d.prod.example.com:4317
    headers: {}
    keepalive: null
    read_buffer_size: 0
    retry_on_failure:
      enabled: true
      initial_interval: 5s
      max_elapsed_time: 5m0s
      max_interval: 30s
      multiplier: 1.5
      randomization_factor: 0.5
    sending_queue:
      block_on_overflow: false
      enabled: true
      num_consumers: 10
      queue_size: 1000
      sizer: requests
    timeout: 5s
    tls:
      ca_file: ""
      insecure: false
      insecure_skip_verify: false
      server_name_override: ""
    wait_for_ready: false
    write_buffer_size: 524288
`

const pipelinesBody = `receivers:
  otlp:
    protocols:
      grpc:
        endpoint: localhost:4317
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp/0, otlp/1, otlp/2, otlp/3, otlp/4, otlp/5]
`

const configBody = `receivers:
  otlp:
exporters:
  otlp:
    endpoint: gw:4317
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp]
`

var types = []string{
	"otlp", "otlp/2", "prometheus", "filelog", "hostmetrics", "kafka", "batch", "memory_limiter", "k8sattributes", "resource",
	"transform", "filter", "debug", "otlphttp", "loadbalancing", "kubeletstats", "jaeger",
}

var failures = []string{
	"dial tcp 10.0.%d.%d:4317: connect: connection refused", "dial tcp 10.1.%d.%d:4317: i/o timeout",
	"lookup gw-%d-%d.prod.local: no such host", "sending queue is full (%d of %d)",
	"rpc error: code = Unavailable desc = shard %d of %d", "HTTP Status Code 503 from shard %d after %d ms",
	"tls: failed to verify certificate for 10.2.%d.%d", "read tcp 10.3.%d.%d:1: connection reset by peer",
}

func pairs(list ...string) (out []*protobufs.KeyValue) {
	for i := 0; i < len(list); i += 2 {
		out = append(out, &protobufs.KeyValue{Key: list[i], Value: &protobufs.AnyValue{
			Value: &protobufs.AnyValue_StringValue{StringValue: list[i+1]},
		}})
	}
	return out
}
