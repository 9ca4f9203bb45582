// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// movedPorts moves the examples from their fixed ports to free ones, the same for the same.
type movedPorts map[string]string

var anAddress = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// example is a file of the examples, on free ports.
func (p movedPorts) example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	require.NoError(t, err)
	moved := anAddress.ReplaceAllStringFunc(string(text), func(address string) string { return p.free(t, address) })
	_, port, err := net.SplitHostPort(p.free(t, "127.0.0.1:8888"))
	require.NoError(t, err)
	return writeFile(t, t.TempDir(), name, strings.ReplaceAll(moved, "port: 8888", "port: "+port))
}

func (p movedPorts) free(t *testing.T, address string) string {
	t.Helper()
	if p[address] == "" {
		p[address] = freeAddress(t)
	}
	return p[address]
}

// TestExamples starts what `make run` starts, and beside it the smallest agent.
func TestExamples(t *testing.T) {
	t.Parallel()
	p := movedPorts{}
	c := startOn(t, distribution(t), p.example(t, "fleetview.yaml"))
	c.waitText(t, readyLine)
	f := &fleet{collector: c, web: p.free(t, "127.0.0.1:4321")}
	changes := f.watch(t)
	itself := changes.until(t, "healthy", isHealthy)
	assert.NotNil(t, f.show(t, itself.UID).Health.part("pipeline:metrics", "receiver:hostmetrics"))

	startOn(t, distribution(t), p.example(t, "agent.yaml"))
	changes.until(t, "another one", func(a agent) bool { return isHealthy(a) && a.UID != itself.UID })
	assert.Len(t, f.list(t), 2)

	for _, metric := range []string{
		`(?m)^otelcol_opamp_connected(\{.*\})? 1$`,
		`(?m)^otelcol_opamp_server_`,
		`(?m)^otelcol_receiver_accepted_metric_points(_total)?\{.*receiver="hostmetrics".*\} [1-9]`,
	} {
		eventually(t, metric, func() bool {
			return regexp.MustCompile(metric).MatchString(p.metrics(t))
		})
	}
}

// ownMetrics is where the examples have a collector's own metrics.
const ownMetrics = "127.0.0.1:8888"

// metrics are the collector's own, in Prometheus' text format.
func (p movedPorts) metrics(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.free(t, ownMetrics)+"/metrics", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// TestPipelinesRunWithoutAServer sends a span through a collector whose server is not there.
func TestPipelinesRunWithoutAServer(t *testing.T) {
	t.Parallel()
	otlp := freeAddress(t)
	c := startCollector(t, distribution(t), agentConfig("    server: {ws: {endpoint: 'ws://"+freeAddress(t)+"/v1/opamp'}}")+`
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
receivers:
  otlp: {protocols: {http: {endpoint: "`+otlp+`"}}}
exporters:
  debug:
`)
	c.waitReady(t, 1)
	c.waitLines(t, 1, "the server is not there", warning)

	const span = `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",` +
		`"spanId":"eee19b7ec3c1b174","name":"one","kind":1,"startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+otlp+"/v1/traces", strings.NewReader(span))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	c.waitLines(t, 1, "the span has come through", func(line logLine) bool { return line.Text == "Traces" })
}
