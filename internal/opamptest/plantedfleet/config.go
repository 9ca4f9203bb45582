// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plantedfleet

import (
	"fmt"
	"strings"
)

// kind is what a collector is for: a config, and the pipelines and components of it.
type kind struct {
	name      string
	pipelines []pipeline
	config    func(a *agent) string
}

type pipeline struct {
	name       string
	components []string // as in a health tree
}

var kinds = map[string]*kind{
	"edge-agent": {
		name: "edge-agent",
		pipelines: []pipeline{
			{"metrics", []string{"receiver:hostmetrics", "receiver:otlp", "processor:memory_limiter", "processor:resource", "processor:batch", "exporter:otlphttp"}},
			{"traces", []string{"receiver:otlp", "processor:memory_limiter", "processor:batch", "exporter:otlphttp"}},
			{"logs", []string{"receiver:filelog", "processor:memory_limiter", "processor:resource", "processor:batch", "exporter:otlphttp"}},
		},
		config: edgeConfig,
	},
	"gateway": {
		name: "gateway",
		pipelines: []pipeline{
			{"traces/in", []string{"receiver:otlp", "processor:memory_limiter", "processor:tail_sampling", "connector:spanmetrics", "exporter:otlp/backend"}},
			{"metrics/spans", []string{"connector:spanmetrics", "processor:batch", "exporter:prometheusremotewrite"}},
			{"logs", []string{"receiver:otlp", "processor:memory_limiter", "processor:batch", "exporter:otlp/backend"}},
		},
		config: gatewayConfig,
	},
	"logs-shipper": {
		name:      "logs-shipper",
		pipelines: []pipeline{{"logs", []string{"receiver:filelog", "receiver:journald", "processor:memory_limiter", "processor:batch", "exporter:loki"}}},
		config:    logsConfig,
	},
	"scraper": {
		name:      "scraper",
		pipelines: []pipeline{{"metrics", []string{"receiver:prometheus", "processor:batch", "exporter:prometheusremotewrite"}}},
		config:    scraperConfig,
	},
}

func edgeConfig(a *agent) string {
	timeout, insecure := "5s", ""
	if a.drifted {
		timeout, insecure = "200ms", "\n    tls:\n      insecure_skip_verify: true"
	}
	token := "[REDACTED]"
	if a.secret {
		token = Secret
	}
	return fmt.Sprintf(`receivers:
  hostmetrics:
    collection_interval: 30s
    scrapers: {cpu: {}, memory: {}, disk: {}, filesystem: {}, network: {}}
  otlp:
    protocols:
      grpc:
        endpoint: %s:4317
  filelog:
    include: [/var/log/pods/*/*/*.log]
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 75
  resource:
    attributes:
      - key: host.name
        value: %s
        action: upsert
  batch:
    timeout: %s
exporters:
  otlphttp:
    endpoint: https://otlp.example.com
    headers:
      api_key: %q%s
extensions:
  opamp:
    instance_uid: %s
service:
  extensions: [opamp]
  pipelines:
    metrics:
      receivers: [hostmetrics, otlp]
      processors: [memory_limiter, resource, batch]
      exporters: [otlphttp]
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlphttp]
    logs:
      receivers: [filelog]
      processors: [memory_limiter, resource, batch]
      exporters: [otlphttp]
`, a.address, a.host, timeout, token, insecure, a.UID)
}

func gatewayConfig(*agent) string {
	return `receivers:
  otlp:
    protocols:
      grpc: {endpoint: "0.0.0.0:4317"}
      http: {endpoint: "0.0.0.0:4318"}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 4000}
  batch: {}
  tail_sampling:
    decision_wait: 10s
    policies:
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
connectors:
  spanmetrics: {}
exporters:
  otlp/backend:
    endpoint: backend.example.com:4317
  prometheusremotewrite:
    endpoint: https://metrics.example.com/api/v1/write
service:
  pipelines:
    traces/in:
      receivers: [otlp]
      processors: [memory_limiter, tail_sampling]
      exporters: [spanmetrics, otlp/backend]
    metrics/spans:
      receivers: [spanmetrics]
      processors: [batch]
      exporters: [prometheusremotewrite]
    logs:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlp/backend]
`
}

func logsConfig(*agent) string {
	return `receivers:
  filelog: {include: [/var/log/app/*.log]}
  journald: {}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 400}
  batch: {}
exporters:
  loki:
    endpoint: http://loki.example.com:3100/loki/api/v1/push
service:
  pipelines:
    logs:
      receivers: [filelog, journald]
      processors: [memory_limiter, batch]
      exporters: [loki]
`
}

func scraperConfig(a *agent) string {
	exporters := "[prometheusremotewrite]"
	debug := ""
	if strings.HasSuffix(a.host, "0") {
		exporters, debug = "[prometheusremotewrite, debug]", "\n  debug: {}"
	}
	return fmt.Sprintf(`receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: app
          static_configs: [{targets: ["app:9090"]}]
processors:
  batch: {}
exporters:
  prometheusremotewrite:
    endpoint: https://metrics.example.com/api/v1/write%s
service:
  pipelines:
    metrics:
      receivers: [prometheus]
      processors: [batch]
      exporters: %s
`, debug, exporters)
}
