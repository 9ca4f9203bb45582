// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-fleetview/fleetview/internal/localaws"
	"github.com/otel-fleetview/fleetview/internal/s3sample"
)

// queueConfig is a collector that reads what a queue tells of into a pipeline of each signal. Its own
// metrics are at p.
func queueConfig(t *testing.T, b *bucket, q *queue, s *sink, p movedPorts) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.free(t, ownMetrics))
	require.NoError(t, err)
	return fmt.Sprintf(`
receivers:
  aws_s3:
    s3downloader:
      s3_bucket: %s
      s3_prefix: telemetry
      endpoint: %s
      s3_force_path_style: true
    sqs:
      queue_url: %s
      region: %s
      endpoint: %s
      wait_time_seconds: 1
exporters:
  otlp_http:
    endpoint: %s
    compression: none
    sending_queue: {enabled: false}
service:
  telemetry:
    metrics:
      level: normal
      readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]
  pipelines:
    traces: {receivers: [aws_s3], exporters: [otlp_http]}
    metrics: {receivers: [aws_s3], exporters: [otlp_http]}
    logs: {receivers: [aws_s3], exporters: [otlp_http]}
`, bucketName, b.server.URL(), q.url, localaws.Region, q.server.URL(), s.url, port)
}

// deadLetters makes a queue beside q, where a message goes that was given out so many times.
func (q *queue) deadLetters(t *testing.T, receives int) *queue {
	t.Helper()
	dead := q.create(t, "dead-letters", nil)
	policy, err := json.Marshal(map[string]any{
		"deadLetterTargetArn": dead.attribute(t, types.QueueAttributeNameQueueArn),
		"maxReceiveCount":     receives,
	})
	require.NoError(t, err)
	_, err = q.client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{
		QueueUrl:   &q.url,
		Attributes: map[string]string{string(types.QueueAttributeNameRedrivePolicy): string(policy)},
	})
	require.NoError(t, err)
	return dead
}

// messages is how many messages are in the queue: those that anybody may be given, and those that
// somebody has.
func (q *queue) messages(t *testing.T) (visible, inFlight string) {
	t.Helper()
	return q.attribute(t, types.QueueAttributeNameApproximateNumberOfMessages),
		q.attribute(t, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
}

func (q *queue) waitEmpty(t *testing.T) {
	t.Helper()
	eventually(t, "the queue is empty", func() bool {
		visible, inFlight := q.messages(t)
		return visible == "0" && inFlight == "0"
	})
}

// TestQueueOfThreeSignals stores objects of all signals in a real store that tells a real queue, and
// finds each record once in its own pipeline.
func TestQueueOfThreeSignals(t *testing.T) {
	t.Parallel()
	const minutes, records = 20, 5
	q := startQueue(t, nil)
	b := startBucket(t, q.send)
	s := startSink(t, nil)
	p := movedPorts{}
	c := startCollector(t, distribution(t), queueConfig(t, b, q, s, p))
	c.waitReady(t, 1)
	for i := range minutes {
		for _, signal := range s3sample.Signals {
			b.putSample(t, signal, sampleStart.Add(time.Duration(i)*time.Minute), records)
		}
	}
	q.waitEmpty(t)

	for _, signal := range s3sample.Signals {
		assert.ElementsMatch(t, sequences(minutes, records), s.of(signal), signal.String())
	}
	c.stop(t)
}

// TestQueueKeepsWhatTakesLong has a pipeline that takes five times as long as the queue keeps a
// message from others.
func TestQueueKeepsWhatTakesLong(t *testing.T) {
	t.Parallel()
	const visibility, records = 4 * time.Second, 3
	q := startQueue(t, map[string]string{string(types.QueueAttributeNameVisibilityTimeout): "4"})
	dead := q.deadLetters(t, 1)
	b := startBucket(t, q.send)
	s := startSink(t, func(ctx context.Context, _ int) bool {
		select {
		case <-time.After(5 * visibility):
		case <-ctx.Done():
		}
		return true
	})
	for i, signal := range s3sample.Signals {
		b.putSample(t, signal, sampleStart.Add(time.Duration(i)*time.Minute), records)
	}
	p := movedPorts{}
	c := startCollector(t, distribution(t), queueConfig(t, b, q, s, p))
	q.waitEmpty(t)

	for i, signal := range s3sample.Signals {
		assert.Len(t, s.of(signal), records, signal.String())
		assert.Contains(t, s.of(signal), s3sample.Sequence(sampleStart.Add(time.Duration(i)*time.Minute), 0))
	}
	visible, _ := dead.messages(t)
	assert.Equal(t, "0", visible, "a message was given out twice")
	assert.Equal(t, len(s3sample.Signals), s.requests(), "a request for each object, and none again")
	own := p.metrics(t)
	assert.Zero(t, metricValue(t, own, "otelcol_receiver_awss3_sqs_redeliveries"))
	assert.Greater(t, metricValue(t, own, "otelcol_receiver_awss3_sqs_extensions"), 3.0*5)
	c.stop(t)
}

// TestQueueLeavesPoison finds what cannot be read in the dead-letter queue and the rest delivered.
func TestQueueLeavesPoison(t *testing.T) {
	t.Parallel()
	const receives, records = 2, 3
	q := startQueue(t, map[string]string{string(types.QueueAttributeNameVisibilityTimeout): "3"})
	dead := q.deadLetters(t, receives)
	b := startBucket(t, q.send)
	s := startSink(t, nil)
	p := movedPorts{}
	c := startCollector(t, distribution(t), queueConfig(t, b, q, s, p))
	c.waitReady(t, 1)
	b.put(t, "telemetry/logs_1.json", []byte("this is no JSON"))
	b.put(t, "telemetry/logs_2.parquet", []byte("PAR1"))
	require.NoError(t, q.send(t.Context(), "this is no event"))
	b.putSample(t, pipeline.SignalLogs, sampleStart, records)

	eventually(t, "three dead letters", func() bool {
		visible, _ := dead.messages(t)
		return visible == "3"
	})
	q.waitEmpty(t)
	assert.Equal(t, sequences(1, records), s.of(pipeline.SignalLogs))
	for _, key := range []string{"telemetry/logs_1.json", "telemetry/logs_2.parquet"} {
		lines := c.matching(func(line logLine) bool { return line.Key == key && line.Level == "warn" })
		require.Len(t, lines, receives, key)
		assert.Equal(t, receives, lines[receives-1].ReceiveCount)
	}
	own := p.metrics(t)
	for metric, want := range map[string]float64{
		`settled{.*settlement="kept"`:            3 * receives,
		`records{.*outcome="decode_failed"`:      receives,
		`records{.*outcome="unsupported_format"`: receives,
		`records{.*outcome="invalid_json"`:       receives,
		`records{.*outcome="done"`:               1,
		`redeliveries`:                           3 * (receives - 1),
	} {
		assert.InDelta(t, want, metricValue(t, own, "otelcol_receiver_awss3_sqs_"+metric), 0, metric)
	}
	c.stop(t)
}

// TestQueueGetsBackWhatIsNotDone stops a collector in the middle: the message is there for another
// one at once, not only after its visibility timeout.
func TestQueueGetsBackWhatIsNotDone(t *testing.T) {
	t.Parallel()
	q := startQueue(t, map[string]string{string(types.QueueAttributeNameVisibilityTimeout): "600"})
	b := startBucket(t, q.send)
	stuck := make(chan struct{}, 1)
	s := startSink(t, func(ctx context.Context, _ int) bool {
		stuck <- struct{}{}
		<-ctx.Done()
		return false
	})
	b.putSample(t, pipeline.SignalLogs, sampleStart, 1)
	p := movedPorts{}
	c := startCollector(t, distribution(t), queueConfig(t, b, q, s, p))
	<-stuck
	c.stop(t)

	visible, inFlight := q.messages(t)
	assert.Equal(t, "1", visible)
	assert.Equal(t, "0", inFlight)
}

// TestQueueSurvivesKills kills the collector in the middle a few times: all comes in the end, and what
// was in hand may come twice.
func TestQueueSurvivesKills(t *testing.T) {
	t.Parallel()
	const minutes, records, kills, workers = 60, 3, 3, 4
	q := startQueue(t, map[string]string{string(types.QueueAttributeNameVisibilityTimeout): "3"})
	b := startBucket(t, q.send)
	s := startSink(t, func(ctx context.Context, _ int) bool { // slow enough to be hit in the middle
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return true
	})
	for i := range minutes {
		b.putSample(t, pipeline.SignalLogs, sampleStart.Add(time.Duration(i)*time.Minute), records)
	}
	p := movedPorts{}
	config := queueConfig(t, b, q, s, p)
	for range kills {
		c := startCollector(t, distribution(t), config)
		goal := s.requests() + minutes/kills/2
		eventually(t, "messages are read", func() bool { return s.requests() >= goal })
		c.kill()
	}
	c := startCollector(t, distribution(t), config)
	q.waitEmpty(t)
	c.stop(t)

	came := s.of(pipeline.SignalLogs)
	once := slices.Compact(slices.Sorted(slices.Values(came)))
	assert.ElementsMatch(t, sequences(minutes, records), once)
	// A message that is done is deleted a moment later, together with others.
	most := kills * (2*workers + 10) * records
	t.Logf("%d records, %d twice, at most %d", len(came), len(came)-len(once), most)
	assert.LessOrEqual(t, len(came)-len(once), most)
}
