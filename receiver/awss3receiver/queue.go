// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.opentelemetry.io/collector/component/componentstatus"
	signals "go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/sqs"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// Values of sqs.unclaimed.
const (
	unclaimedDelete = "delete"
	unclaimedKeep   = "keep"
)

const (
	defaultQueueMessages = 10
	defaultQueueWait     = 20 // seconds
	defaultQueueWorkers  = 4
	maxQueueWorkers      = 256
)

// operationQueue is what a monitor knows a queue that fails by.
const operationQueue = "queue"

// queues are the groups of receivers that share a queue. The service makes the receivers of all
// signals of one id from one configuration.
var queues = &queueGroups{byConfig: make(map[*Config]*sqs.Group)}

type queueGroups struct {
	mu       sync.Mutex
	byConfig map[*Config]*sqs.Group // guarded by mu
}

// join makes the receiver of a signal one of the group of its configuration.
func (q *queueGroups) join(cfg *Config, signal string) (*sqs.Group, error) {
	var s signals.Signal
	if err := s.UnmarshalText([]byte(signal)); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	group := q.byConfig[cfg]
	if group == nil {
		group = &sqs.Group{}
		q.byConfig[cfg] = group
	}
	if err := group.Join(s); err != nil {
		return nil, err
	}
	return group, nil
}

// leave forgets the group, which is stopped.
func (q *queueGroups) leave(cfg *Config) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.byConfig, cfg)
}

// startQueue adds this receiver to those that read what the queue tells of.
func (r *s3Receiver) startQueue(ctx context.Context) error {
	var signal signals.Signal
	if err := signal.UnmarshalText([]byte(r.output.signal)); err != nil {
		return err
	}
	r.tracker.Waiting()
	return r.queue.Start(sqs.Member{
		Signal:    signal,
		Read:      r.readOne,
		Failing:   r.monitor.queueFailing,
		Recovered: func() { r.monitor.Recovered(operationQueue) },
	}, func(set sqs.Settings) (*sqs.Consumer, error) { return r.openQueue(ctx, set) })
}

// openQueue completes the settings of a consumer with what the configuration says.
func (r *s3Receiver) openQueue(ctx context.Context, set sqs.Settings) (*sqs.Consumer, error) {
	c := r.cfg.SQS
	filter, err := plan.NewFilter(r.cfg.S3Downloader.Include, r.cfg.S3Downloader.Exclude)
	if err != nil {
		return nil, fmt.Errorf("s3downloader: %w", err)
	}
	cfg, closing, err := store.Load(ctx, store.Settings{
		Region: c.Region, Endpoint: c.Endpoint,
		RoleARN: c.RoleARN, ExternalID: string(c.ExternalID),
		RetryMode: store.RetryStandard, RetryMaxAttempts: store.DefaultRetryMaxAttempts, RetryMaxBackoff: store.DefaultRetryMaxBackoff,
	})
	if err != nil {
		return nil, fmt.Errorf("sqs: %w", err)
	}
	set.Ended = closing
	set.QueueURL = c.QueueURL
	set.MaxMessages = int32(or(c.MaxNumberOfMessages, defaultQueueMessages))
	set.Wait = int32(or(c.WaitTimeSeconds, defaultQueueWait))
	set.Workers = int(or(c.Workers, defaultQueueWorkers))
	set.KeepUnclaimed = c.Unclaimed == unclaimedKeep
	set.Claim = sqs.Claim{
		Bucket:      r.cfg.S3Downloader.S3Bucket,
		Prefix:      r.cfg.S3Downloader.S3Prefix,
		FilePrefix:  r.cfg.S3Downloader.FilePrefix,
		NamesSignal: r.cfg.S3Downloader.FilePrefixIncludeTelemetry,
		Takes:       filter.Takes,
	}
	set.Observer = queueObserver{r.metrics}
	set.Logger = r.set.Logger
	consumer := sqs.NewConsumer(awssqs.NewFromConfig(cfg, func(o *awssqs.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	}), set)
	if err := r.metrics.RegisterReceiverAwss3SqsInFlightCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(int64(consumer.InHand()))
		return nil
	}); err != nil {
		closing()
		return nil, err
	}
	return consumer, nil
}

func or(value *int64, otherwise int64) int64 {
	if value == nil {
		return otherwise
	}
	return *value
}

// readOne takes one object of a message to the pipeline.
func (r *s3Receiver) readOne(ctx context.Context, o sqs.Object) sqs.Result {
	object := store.Object{Bucket: o.Bucket, Key: o.Key, VersionID: o.VersionID, Size: o.Size}
	if o.Size == 0 {
		object.Size = store.SizeUnknown
	}
	r.reading.Add(1)
	r.tracker.Begin(o.Key)
	out := r.ingester.Ingest(ctx, object)
	if out.Reason == ingest.Denied && object.VersionID != "" {
		// Another permission is asked for a version, and who gave none of it means the object all the
		// same.
		object.VersionID = ""
		out = r.ingester.Ingest(ctx, object)
	}
	outcome := queueOutcome(out)
	switch outcome {
	case sqs.OutcomeMissing:
		r.account(out, o.LastKey)
	case sqs.OutcomeUnreadable:
		r.account(out, o.LastSignal)
	default:
		r.account(out, true)
	}
	if out.Reason == ingest.Delivered && r.cfg.S3Downloader.TagObjectAfterIngestion {
		r.tagOne(ctx, object)
	}
	if r.reading.Add(-1) == 0 {
		r.tracker.Waiting()
	}
	return sqs.Result{Outcome: outcome, Reason: string(out.Reason), Err: out.Err}
}

// account tells of an object, unless it is tried in another way yet.
func (r *s3Receiver) account(out ingest.Outcome, last bool) {
	if !last || out.Reason == ingest.Stopped {
		return
	}
	r.monitor.Found()
	r.monitor.Finished(out)
	r.tracker.Listed(out.Bytes)
	if out.Reason == ingest.Delivered {
		r.tracker.Delivered(out.Bytes)
	} else {
		r.tracker.Dropped(out.Bytes, string(out.Reason), out.Failed(), out.Err)
	}
}

// tagOne marks an object as delivered. It is delivered all the same if that fails.
func (r *s3Receiver) tagOne(ctx context.Context, o store.Object) {
	err := store.Tag(ctx, r.client, o.Bucket, o.Key, o.VersionID)
	if err != nil && ctx.Err() == nil {
		r.monitor.Untagged()
		r.set.Logger.Warn("An object was delivered but could not be tagged", zap.String("key", o.Key),
			zap.Error(store.Explain(err, r.storeSettings(), o.Bucket, store.TagPermission)))
	}
}

// queueOutcome is what an outcome means for the message that told of the object.
func queueOutcome(out ingest.Outcome) sqs.Outcome {
	switch out.Reason {
	case ingest.Delivered, ingest.Tagged:
		return sqs.OutcomeDone
	case ingest.NotFound:
		var fetched *fetch.Error
		if errors.As(out.Err, &fetched) && fetched.Kind == store.NoBucket {
			return sqs.OutcomeFailed // nothing is known of the object
		}
		return sqs.OutcomeMissing
	case ingest.Unsupported, ingest.WrongSignal, ingest.Undecodable:
		if out.Records > 0 {
			return sqs.OutcomeFailed // it is of this signal, and broken further on
		}
		return sqs.OutcomeUnreadable
	default:
		return sqs.OutcomeFailed
	}
}

// queueFailing shows that the queue fails, until it has [monitor.Recovered].
func (m *monitor) queueFailing(err error) {
	m.tracker.Retry(operationQueue, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failing) == 0 {
		m.report(componentstatus.NewRecoverableErrorEvent(err))
	}
	m.failing[operationQueue] = struct{}{}
}

// queueObserver counts what happens with messages.
type queueObserver struct{ telemetry *metadata.TelemetryBuilder }

func (o queueObserver) Received(messages, again int) {
	o.telemetry.ReceiverAwss3SqsMessages.Add(context.Background(), int64(messages))
	o.telemetry.ReceiverAwss3SqsRedeliveries.Add(context.Background(), int64(again))
}

func (o queueObserver) Settled(settlement sqs.Settlement, age time.Duration) {
	of := metric.WithAttributeSet(attribute.NewSet(attribute.String("settlement", string(settlement))))
	o.telemetry.ReceiverAwss3SqsSettled.Add(context.Background(), 1, of)
	o.telemetry.ReceiverAwss3SqsMessageAge.Record(context.Background(), age.Seconds(), of)
}

func (o queueObserver) Record(outcome string) {
	o.telemetry.ReceiverAwss3SqsRecords.Add(context.Background(), 1,
		metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", outcome))))
}

func (o queueObserver) Extended(messages int) {
	o.telemetry.ReceiverAwss3SqsExtensions.Add(context.Background(), int64(messages))
}

func (o queueObserver) Failed(operation, reason string) {
	o.telemetry.ReceiverAwss3SqsErrors.Add(context.Background(), 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("operation", operation), attribute.String("reason", reason))))
}
