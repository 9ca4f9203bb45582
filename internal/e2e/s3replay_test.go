// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-fleetview/fleetview/internal/s3sample"
)

// replayConfig is a collector that replays the first minutes of the samples. more is added to the
// receiver's keys.
func replayConfig(b *bucket, s *sink, minutes int, signals []pipeline.Signal, more string) string {
	var pipelines strings.Builder
	for _, signal := range signals {
		fmt.Fprintf(&pipelines, "    %s: {receivers: [aws_s3], exporters: [otlp_http]}\n", signal)
	}
	return fmt.Sprintf(`
receivers:
  aws_s3:
    starttime: "%s"
    endtime: "%s"
    s3downloader:
      s3_bucket: %s
      s3_prefix: telemetry
      s3_partition_timezone: UTC
      endpoint: %s
      s3_force_path_style: true
%s
exporters:
  otlp_http:
    endpoint: %s
    compression: none
    sending_queue: {enabled: false}
service:
  pipelines:
%s`, sampleStart.Format(time.RFC3339), sampleStart.Add(time.Duration(minutes)*time.Minute).Format(time.RFC3339),
		bucketName, b.server.URL(), more, s.url, &pipelines)
}

// TestReplayInOrder reads everything back from a real store, in the order in which it was written.
func TestReplayInOrder(t *testing.T) {
	t.Parallel()
	const minutes, records = 90, 4
	b := startBucket(t, nil)
	for i := range minutes + 5 { // more than is asked for
		for _, signal := range s3sample.Signals {
			b.putSample(t, signal, sampleStart.Add(time.Duration(i)*time.Minute), records)
		}
	}
	s := startSink(t, nil)
	c := startCollector(t, distribution(t), replayConfig(b, s, minutes, s3sample.Signals[:], ""))
	for _, signal := range s3sample.Signals {
		eventually(t, "all records have come: "+signal.String(), func() bool { return len(s.of(signal)) >= minutes*records })
	}
	c.stop(t)

	for _, signal := range s3sample.Signals {
		assert.Equal(t, sequences(minutes, records), s.of(signal), signal.String())
	}
}

// TestReplaySurvivesKills kills the collector at random points of a replay with a checkpoint: nothing
// is missing in the end, and each time one object at most comes twice.
func TestReplaySurvivesKills(t *testing.T) {
	t.Parallel()
	const minutes, records, kills = 300, 4, 6
	b := startBucket(t, nil)
	for i := range minutes {
		b.putSample(t, pipeline.SignalLogs, sampleStart.Add(time.Duration(i)*time.Minute), records)
	}
	s := startSink(t, func(ctx context.Context, _ int) bool { // slow enough to be hit in the middle
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		return true
	})
	config := replayConfig(b, s, minutes, []pipeline.Signal{pipeline.SignalLogs}, "    storage: file_storage") + fmt.Sprintf(`
  extensions: [file_storage]
extensions:
  file_storage: {directory: %s}
`, t.TempDir())
	for kill := range kills {
		c := startCollector(t, distribution(t), config)
		goal := s.requests() + 1 + rand.IntN(minutes/kills-2)
		eventually(t, "the replay goes on", func() bool { return s.requests() >= goal })
		c.kill()
		t.Logf("kill %d after %d requests", kill+1, s.requests())
	}
	c := startCollector(t, distribution(t), config)
	want := sequences(minutes, records)
	eventually(t, "the replay ends", func() bool {
		came := s.of(pipeline.SignalLogs)
		return len(came) > 0 && came[len(came)-1] == want[len(want)-1]
	})
	c.stop(t)

	var first []string
	seen := make(map[string]bool)
	came := s.of(pipeline.SignalLogs)
	for _, sequence := range came {
		if !seen[sequence] {
			seen[sequence] = true
			first = append(first, sequence)
		}
	}
	assert.Equal(t, want, first, "all there, in order")
	t.Logf("%d records, %d twice", len(came), len(came)-len(first))
	assert.LessOrEqual(t, len(came)-len(first), kills*records)
}

// TestDemoS3 runs what `make demo-s3` runs, with the example on free ports, until it is interrupted.
func TestDemoS3(t *testing.T) {
	t.Parallel()
	p := movedPorts{}
	demo := binary(t, "FLEETVIEW_DEMO_S3", "demo-s3")
	dir := t.TempDir()
	cmd := exec.Command(demo, "-tools", toolsDir(t), "-collector", distribution(t),
		"-config", p.example(t, "demo-s3.yaml"), "-minutes", "60", "-distance", "5ms")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	c := startCommand(t, cmd)
	c.waitText(t, readyLine)
	const records = 60 * 10
	for _, metric := range []string{"spans", "metric_points", "log_records"} {
		eventually(t, metric, func() bool {
			return metricValue(t, p.metrics(t), "otelcol_receiver_accepted_"+metric) == records
		})
	}
	c.signal(t, syscall.SIGINT)
	<-c.done
	require.Equal(t, 0, c.cmd.ProcessState.ExitCode(), "exit code")
	left, err := filepath.Glob(filepath.Join(dir, "versitygw-*"))
	require.NoError(t, err)
	assert.Empty(t, left, "what it stored")
}

// metricValue is the sum over all series of a metric in Prometheus' text format that begin like this
// regular expression.
func metricValue(t *testing.T, text, series string) float64 {
	t.Helper()
	sum := 0.0
	for _, line := range regexp.MustCompile("(?m)^"+series+".*$").FindAllString(text, -1) {
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		require.NoError(t, err)
		sum += value
	}
	return sum
}
