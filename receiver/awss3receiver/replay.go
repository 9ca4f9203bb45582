// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/replay"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// checkTimeout is how long the bucket may take to answer before it is asked again.
const checkTimeout = 15 * time.Second

// replay reads the configured range, or follows, to its end.
func (r *s3Receiver) replay(ctx context.Context) error {
	set, err := r.replaySettings()
	if err != nil {
		return err
	}
	if err := r.check(ctx); err != nil {
		return err
	}
	if r.cfg.Follow {
		r.monitor.Follows()
	}
	began := time.Now()
	run := replay.New(set)
	err = run.Run(ctx)
	r.summarize(run.Summary(), time.Since(began), ctx.Err() == nil && err == nil)
	return err
}

// replaySettings puts together what the rooms need.
func (r *s3Receiver) replaySettings() (replay.Settings, error) {
	d := r.cfg.S3Downloader
	// All of it was validated; an error here is of a program that did not.
	start, end, err := r.cfg.timeRange()
	if err != nil {
		return replay.Settings{}, err
	}
	format, err := d.format()
	if err != nil {
		return replay.Settings{}, err
	}
	location, err := d.location()
	if err != nil {
		return replay.Settings{}, err
	}
	filter, err := plan.NewFilter(d.Include, d.Exclude)
	if err != nil {
		return replay.Settings{}, err
	}
	layout := plan.Layout{Prefix: d.S3Prefix, FilePrefix: d.FilePrefix}
	if d.FilePrefixIncludeTelemetry {
		layout.Signal = r.output.signal
	}
	set := replay.Settings{
		Endpoint: d.Endpoint, Bucket: d.S3Bucket, Start: start, End: end, Format: format, Location: location, Layout: layout,
		Settle: r.cfg.SettleDelay, Poll: r.cfg.PollInterval,
		Lister: &list.Lister{
			API: r.client, Bucket: d.S3Bucket, Filter: filter, Retry: r.cfg.RetryOnFailure, Observer: r.monitor,
			Concurrency: d.ListConcurrency, ByPartition: d.ListByPartition || store.Unordered(d.S3Bucket),
		},
		Ingester: r.ingester, Checkpoint: r.checkpoint, Tracker: r.tracker, Observer: r.monitor, Logger: r.set.Logger,
		Explain: func(err error, permission string) error {
			return store.Explain(err, r.storeSettings(), d.S3Bucket, permission)
		},
		MaxObjects: r.cfg.Prefetch.MaxObjects, MaxBytes: r.cfg.Prefetch.MaxBytes,
		FailFast: r.cfg.OnError == onErrorFail,
	}
	if d.TagObjectAfterIngestion {
		set.Tag = func(ctx context.Context, key string) error { return store.Tag(ctx, r.client, d.S3Bucket, key, "") }
	}
	return set, nil
}

// check asks for the bucket before anything is read, so that what is wrong shows even where there is
// nothing to read yet. What can mend itself is waited for.
func (r *s3Receiver) check(ctx context.Context) error {
	d := r.cfg.S3Downloader
	pace := backoff.New(r.cfg.RetryOnFailure)
	for failed := false; ; failed = true {
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		err := store.CheckBucket(asking, r.client, r.storeSettings(), d.S3Bucket, strings.Trim(d.S3Prefix, "/"))
		cancel()
		switch kind := store.KindOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && failed:
			r.monitor.Recovered(list.OperationList)
			return nil
		case err == nil:
			return nil
		case kind != store.Transient && kind != store.Stopped:
			return err
		}
		r.monitor.Retry(list.OperationList, err)
		if err := pace.Wait(ctx, err); err != nil {
			return err
		}
	}
}

// summarize says in one line what a run did.
func (r *s3Receiver) summarize(s replay.Summary, took time.Duration, whole bool) {
	message := "Reading ended before its range did"
	if whole {
		message = "Reading is complete"
	}
	fields := []zap.Field{
		zap.String("signal", r.output.signal), zap.Uint64("delivered_objects", s.Delivered),
		zap.Uint64("failed_objects", s.Failed), zap.Uint64("skipped_objects", s.Skipped),
		zap.Uint64("records", s.Records), zap.Uint64("bytes", s.Bytes), zap.Duration("took", took),
	}
	for reason, objects := range s.Reasons {
		fields = append(fields, zap.Uint64(string(reason), objects))
	}
	r.set.Logger.Info(message, fields...)
}
