// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/sqs"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

func queueConfig(change func(*SQSConfig)) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.S3Downloader.S3Bucket = "bucket"
	cfg.SQS = &SQSConfig{QueueURL: "http://127.0.0.1/queue", Region: "us-east-1"}
	change(cfg.SQS)
	return cfg
}

func TestQueueConfig(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	tests := []struct {
		name   string
		change func(*SQSConfig)
		want   string // empty: it is right
	}{
		{"the least", func(*SQSConfig) {}, ""},
		{"everything", func(c *SQSConfig) {
			c.Endpoint, c.RoleARN, c.ExternalID = "http://127.0.0.1:1", "arn:aws:iam::1:role/r", configopaque.String("x")
			c.MaxNumberOfMessages, c.WaitTimeSeconds, c.Workers = number(1), number(0), number(256)
			c.Unclaimed = "keep"
		}, ""},
		{"no queue", func(c *SQSConfig) { c.QueueURL = "" }, "sqs.queue_url is required"},
		{"no region", func(c *SQSConfig) { c.Region = "" }, "sqs.region is required"},
		{"messages", func(c *SQSConfig) { c.MaxNumberOfMessages = number(11) }, "sqs.max_number_of_messages must be between 1 and 10"},
		{"wait", func(c *SQSConfig) { c.WaitTimeSeconds = number(21) }, "sqs.wait_time_seconds must be between 0 and 20"},
		{"workers", func(c *SQSConfig) { c.Workers = number(0) }, "sqs.workers must be between 1 and 256"},
		{"unclaimed", func(c *SQSConfig) { c.Unclaimed = "drop" }, `sqs.unclaimed: "drop" is neither delete nor keep`},
		{"role", func(c *SQSConfig) { c.RoleARN = "role" }, `sqs.role_arn: "role" does not begin with arn:`},
		{"external id alone", func(c *SQSConfig) { c.ExternalID = "x" }, "sqs.external_id needs sqs.role_arn"},
		{"endpoint", func(c *SQSConfig) { c.Endpoint = "127.0.0.1:1" }, "sqs.endpoint: "},
		{
			"two", func(c *SQSConfig) { c.QueueURL, c.Region = "", "" },
			"sqs.queue_url is required; sqs.region is required",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := queueConfig(tt.change).Validate()
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestQueueOutcome(t *testing.T) {
	tests := []struct {
		name string
		out  ingest.Outcome
		want sqs.Outcome
	}{
		{"delivered", ingest.Outcome{Reason: ingest.Delivered, Records: 3}, sqs.OutcomeDone},
		{"delivered before", ingest.Outcome{Reason: ingest.Tagged}, sqs.OutcomeDone},
		{"gone", ingest.Outcome{Reason: ingest.NotFound, Err: &fetch.Error{Kind: store.NotFound, Err: errors.New("x")}}, sqs.OutcomeMissing},
		{
			"without its bucket",
			ingest.Outcome{
				Reason: ingest.NotFound,
				Err:    fmt.Errorf("key: %w", &fetch.Error{Kind: store.NoBucket, Err: errors.New("x")}),
			},
			sqs.OutcomeFailed,
		},
		{"of another signal", ingest.Outcome{Reason: ingest.WrongSignal}, sqs.OutcomeUnreadable},
		{"of no known form", ingest.Outcome{Reason: ingest.Unsupported}, sqs.OutcomeUnreadable},
		{"no telemetry", ingest.Outcome{Reason: ingest.Undecodable}, sqs.OutcomeUnreadable},
		{"broken in the middle", ingest.Outcome{Reason: ingest.Undecodable, Records: 1}, sqs.OutcomeFailed},
		{"refused", ingest.Outcome{Reason: ingest.Refused}, sqs.OutcomeFailed},
		{"stopped", ingest.Outcome{Reason: ingest.Stopped}, sqs.OutcomeFailed},
		{"no access", ingest.Outcome{Reason: ingest.Denied}, sqs.OutcomeFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, queueOutcome(tt.out)) })
	}
}

// oneIngester answers each object as it is told, and remembers them.
type oneIngester struct {
	ingest.Ingester

	answer func(store.Object) ingest.Outcome
	asked  []store.Object
}

func (i *oneIngester) Ingest(_ context.Context, o store.Object) ingest.Outcome {
	i.asked = append(i.asked, o)
	return i.answer(o)
}

func TestAVersionThatMayNotBeReadIsReadAsTheObject(t *testing.T) {
	in := &oneIngester{answer: func(o store.Object) ingest.Outcome {
		if o.VersionID != "" {
			return ingest.Outcome{Reason: ingest.Denied}
		}
		return ingest.Outcome{Reason: ingest.Delivered}
	}}
	r := queueReceiver(t, in)

	result := r.readOne(t.Context(), sqs.Object{Bucket: "bucket", Key: "logs_1", VersionID: "v", Size: 5})

	assert.Equal(t, sqs.OutcomeDone, result.Outcome)
	assert.Equal(t, []store.Object{
		{Bucket: "bucket", Key: "logs_1", VersionID: "v", Size: 5},
		{Bucket: "bucket", Key: "logs_1", Size: 5},
	}, in.asked)
}

func TestObjectsOfAQueueAreCountedOnce(t *testing.T) {
	in := &oneIngester{answer: func(o store.Object) ingest.Outcome {
		switch o.Key {
		case "logs_gone":
			return ingest.Outcome{Reason: ingest.NotFound}
		case "logs_other":
			return ingest.Outcome{Reason: ingest.WrongSignal}
		default:
			return ingest.Outcome{Reason: ingest.Delivered, Bytes: o.Size}
		}
	}}
	r := queueReceiver(t, in)
	for _, o := range []sqs.Object{
		{Key: "logs_gone"},
		{Key: "logs_gone", LastKey: true},
		{Key: "logs_other", LastKey: true},
		{Key: "logs_other", LastSignal: true},
		{Key: "logs_1", Size: 7},
	} {
		r.readOne(t.Context(), o)
	}

	p := r.tracker.Snapshot()
	assert.Equal(t, ingestprogress.StateWaiting, p.State)
	assert.EqualValues(t, 3, p.ObjectsDone)
	assert.EqualValues(t, 3, p.ObjectsListed)
	assert.EqualValues(t, 7, p.BytesDone)
	assert.Equal(t, map[string]uint64{"not_found": 1, "wrong_signal": 1}, p.Failures)
}

// queueReceiver is a receiver of logs that is not started.
func queueReceiver(t *testing.T, in ingest.Ingester) *s3Receiver {
	t.Helper()
	cfg := queueConfig(func(*SQSConfig) {})
	t.Cleanup(func() { queues.leave(cfg) })
	r, err := newReceiver(cfg, receivertest.NewNopSettings(metadata.Type), output{signal: "logs"})
	require.NoError(t, err)
	r.ingester = in
	return r
}

func TestReceiversOfOneConfigurationAreOneGroup(t *testing.T) {
	one, two := queueConfig(func(*SQSConfig) {}), queueConfig(func(*SQSConfig) {})
	q := &queueGroups{byConfig: make(map[*Config]*sqs.Group)}
	logs, err := q.join(one, "logs")
	require.NoError(t, err)
	traces, err := q.join(one, "traces")
	require.NoError(t, err)
	others, err := q.join(two, "logs")
	require.NoError(t, err)
	assert.Same(t, logs, traces)
	assert.NotSame(t, logs, others)

	q.leave(one)
	q.leave(two)
	assert.Empty(t, q.byConfig)
	_, err = q.join(one, "logs")
	assert.NoError(t, err, "a new life")
}
