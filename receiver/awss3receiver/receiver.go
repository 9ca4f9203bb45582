// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/sqs"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// s3Receiver is one signal of a receiver.
type s3Receiver struct {
	// Fixed at construction.
	cfg     *Config
	set     receiver.Settings
	output  output
	metrics *metadata.TelemetryBuilder
	monitor *monitor
	queue   *sqs.Group // shared with the other signals of this id; nil without sqs

	// Owned by Start and Shutdown, which are not called at once.
	client   store.API
	ingester ingest.Ingester
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func newReceiver(cfg *Config, set receiver.Settings, out output) (*s3Receiver, error) {
	metrics, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	if cfg.S3Downloader.S3Partition != "" {
		set.Logger.Warn("s3downloader.s3_partition is the former key and will go; say s3_partition_format in its place: " + cfg.S3Downloader.partitionFormat())
	}
	r := &s3Receiver{
		cfg: cfg, set: set, output: out, metrics: metrics,
		monitor: newMonitor(set.Logger, metrics, out.signal),
	}
	if cfg.SQS != nil {
		if r.queue, err = queues.join(cfg, out.signal); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// storeSettings are the way to the bucket.
func (r *s3Receiver) storeSettings() store.Settings {
	d := r.cfg.S3Downloader
	return store.Settings{
		Region: d.Region, Endpoint: d.Endpoint, PathStyle: d.S3ForcePathStyle,
		RoleARN: d.RoleARN, ExternalID: string(d.ExternalID),
		RetryMode: d.RetryMode, RetryMaxAttempts: d.RetryMaxAttempts, RetryMaxBackoff: d.RetryMaxBackoff,
	}
}

// Start finds what the configuration names and begins to read.
func (r *s3Receiver) Start(ctx context.Context, host component.Host) error {
	client, err := store.NewS3(ctx, r.storeSettings())
	if err != nil {
		return fmt.Errorf("s3downloader: %w", err)
	}
	r.client = client
	r.ingester, err = r.output.open(opening{
		cfg: r.cfg, set: r.set, extensions: host.GetExtensions(), observer: r.monitor,
		fetcher: &fetch.Fetcher{API: client, Retry: r.cfg.RetryOnFailure, Observer: r.monitor},
	})
	if err != nil {
		return err
	}
	r.monitor.host = host
	if r.queue != nil {
		return r.startQueue(ctx)
	}
	var reading context.Context
	reading, r.cancel = context.WithCancel(context.Background()) // outlives Start's ctx
	r.running.Go(func() { r.run(reading) })
	return nil
}

// run reads in the configured mode until there is nothing left or ctx is done.
func (r *s3Receiver) run(context.Context) {
}

// Shutdown undoes Start backwards.
func (r *s3Receiver) Shutdown(ctx context.Context) error {
	if r.cancel != nil {
		r.cancel()
	}
	if r.queue != nil {
		r.queue.Stop(ctx)
		queues.leave(r.cfg)
	}
	r.running.Wait()
	r.metrics.Shutdown()
	return nil
}
