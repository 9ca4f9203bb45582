// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/checkpoint"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/progress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/sqs"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// lastBatch is how long the pipeline may take to give back what it has in hand.
const lastBatch = 30 * time.Second

// lastWords is how long the server may take to hear the last state.
const lastWords = 2 * time.Second

// Values of ingestprogress.Progress.Mode.
const (
	modeTimeRange = "time_range"
	modeFollow    = "follow"
	modeSQS       = "sqs"
)

// s3Receiver is one signal of a receiver.
type s3Receiver struct {
	// Fixed at construction.
	cfg     *Config
	set     receiver.Settings
	output  output
	metrics *metadata.TelemetryBuilder
	tracker *progress.Tracker
	monitor *monitor
	queue   *sqs.Group // shared with the other signals of this id; nil without sqs

	// Owned by Start and Shutdown, which are not called at once.
	client     *store.Client
	ingester   ingest.Ingester
	checkpoint checkpoint.Store
	reporter   *progress.Reporter // nil without notifications
	cancel     context.CancelFunc
	running    sync.WaitGroup

	reading atomic.Int64 // objects of messages of a queue in hand
}

func newReceiver(cfg *Config, set receiver.Settings, out output) (*s3Receiver, error) {
	metrics, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	if cfg.S3Downloader.S3Partition != "" {
		set.Logger.Warn("s3downloader.s3_partition is the former key; say s3downloader.s3_partition_format in its place",
			zap.String("s3_partition_format", cfg.S3Downloader.partitionFormat()))
	}
	tracker := progress.NewTracker(ingestprogress.Progress{
		Receiver: set.ID.String(), TelemetryType: out.signal, Mode: cfg.mode(),
	})
	start, end, err := cfg.timeRange()
	if err != nil {
		return nil, err
	}
	tracker.Range(start, end) // which the first message tells of
	monitor, err := newMonitor(set.Logger, metrics, out.signal, tracker)
	if err != nil {
		return nil, err
	}
	r := &s3Receiver{cfg: cfg, set: set, output: out, metrics: metrics, tracker: tracker, monitor: monitor}
	if cfg.SQS != nil {
		if r.queue, err = queues.join(cfg, out.signal); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// mode is what the configuration asks for.
func (c *Config) mode() string {
	switch {
	case c.SQS != nil:
		return modeSQS
	case c.Follow:
		return modeFollow
	}
	return modeTimeRange
}

// storeSettings are the way to the bucket.
func (r *s3Receiver) storeSettings() store.Settings {
	d := r.cfg.S3Downloader
	return store.Settings{
		Region: d.Region, Endpoint: d.Endpoint, PathStyle: d.S3ForcePathStyle,
		RoleARN: d.RoleARN, ExternalID: string(d.ExternalID),
		RetryMode: d.RetryMode, RetryMaxAttempts: d.RetryMaxAttempts, RetryMaxBackoff: d.RetryMaxBackoff,
		OnRetry: r.monitor.Requested,
	}
}

// Start finds what the configuration names and begins to read. It asks no store and no server.
func (r *s3Receiver) Start(ctx context.Context, host component.Host) error {
	if err := r.open(ctx, host); err != nil {
		return errors.Join(err, r.Shutdown(ctx))
	}
	if r.queue != nil {
		if err := r.startQueue(ctx); err != nil {
			return errors.Join(err, r.Shutdown(ctx))
		}
		return nil
	}
	var reading context.Context
	reading, r.cancel = context.WithCancel(context.Background()) // outlives Start's ctx
	r.running.Go(func() { r.run(reading) })
	return nil
}

// open makes what reading needs.
func (r *s3Receiver) open(ctx context.Context, host component.Host) error {
	client, err := store.NewS3(ctx, r.storeSettings())
	if err != nil {
		return fmt.Errorf("s3downloader: %w", err)
	}
	r.client = client
	r.monitor.begin(host)
	r.ingester, err = r.output.open(opening{
		cfg: r.cfg, set: r.set, extensions: host.GetExtensions(), observer: r.monitor,
		fetcher: &fetch.Fetcher{API: client, Retry: r.cfg.RetryOnFailure, Observer: r.monitor},
	})
	if err != nil {
		return err
	}
	if r.checkpoint, err = openCheckpoint(ctx, r.cfg.Storage, host, r.set.ID, r.output.signal); err != nil {
		return err
	}
	return r.openReporter(host)
}

// run reads in the configured mode until there is nothing left or ctx is done.
func (r *s3Receiver) run(ctx context.Context) {
	err := r.replay(ctx)
	switch {
	case err == nil:
		r.tracker.Completed()
	case ctx.Err() == nil:
		r.set.Logger.Error("Nothing more is read", zap.Error(err))
		r.monitor.Failed(err)
	case !r.cfg.Follow: // which has no end that it could miss
		r.tracker.Failed(errShutdown)
	}
}

// errShutdown is what the server is told of a replay that ended before its range.
var errShutdown = errors.New("the receiver was shut down before all was read")

// Shutdown undoes Start backwards: it stops reading and waits for it, then tells the last state, and
// only then gives the capability and the storage back.
func (r *s3Receiver) Shutdown(ctx context.Context) error {
	if r.cancel != nil {
		r.cancel()
	}
	if r.queue != nil {
		r.queue.Stop(ctx)
		queues.leave(r.cfg)
	}
	waiting, cancel := context.WithTimeout(ctx, lastBatch)
	err := wait(waiting, &r.running)
	cancel()
	if r.reporter != nil {
		last, cancel := context.WithTimeout(ctx, lastWords)
		r.reporter.Stop(last)
		cancel()
		r.reporter = nil
	}
	if err == nil {
		err = r.checkpoint.Close(ctx)
		r.checkpoint = checkpoint.Store{}
	}
	if r.client != nil {
		r.client.Close()
	}
	r.metrics.Shutdown()
	return err
}

// wait waits for a group as long as ctx allows.
func wait(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reading has not ended: %w", ctx.Err())
	}
}
