// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/checkpoint"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/progress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// OperationCheckpoint is what an Observer is told of.
const OperationCheckpoint = "checkpoint"

// Observer hears what happens. Its methods are called from several goroutines and must not block.
type Observer interface {
	// Found is told of each object that a listing gave.
	Found()
	// Finished is told what came of each.
	Finished(ingest.Outcome)
	// Flight is told how many objects are fetched ahead, and how much memory is set aside for them.
	Flight(objects int, bytes int64)
	// Untagged is told of each object that could not be tagged.
	Untagged()
	// At is told the time up to which all is read.
	At(time.Time)
	// Retry is told of what failed and is tried again.
	Retry(operation string, err error)
	// Recovered is told when something that was tried again went well.
	Recovered(operation string)
}

// Settings are all that a replay needs.
type Settings struct {
	// Endpoint is the store, empty for that of the region. With Bucket it says where a checkpoint holds.
	Endpoint, Bucket string
	// Start and End are the range, end exclusive. A zero End follows what is stored later; a zero
	// Start then is the present.
	Start, End time.Time
	Format     plan.Format
	Location   *time.Location
	Layout     plan.Layout
	// Settle is how long after its end a partition is complete, Poll how often those are looked for.
	// Both are of following alone.
	Settle, Poll time.Duration

	Lister     *list.Lister
	Ingester   ingest.Ingester
	Checkpoint checkpoint.Store
	Tracker    *progress.Tracker
	Observer   Observer
	Logger     *zap.Logger
	// Tag marks a delivered object; nil if none is to be.
	Tag func(ctx context.Context, key string) error
	// Explain adds to an error of the store what to do about it.
	Explain func(err error, permission string) error

	// MaxObjects and MaxBytes bound what is fetched ahead.
	MaxObjects int
	MaxBytes   int64
	// FailFast ends the replay at the first object that is not delivered.
	FailFast bool
}

// Replay is one run over a range. It is for one goroutine.
type Replay struct {
	set Settings

	position checkpoint.Position
	warned   bool // that keys have slashes which the exporter leaves out
	tagger   *tagger
	drops    *drops
	denied   int // objects in a row that these credentials may not read
	summary  Summary
	// unsaved is whether the storage failed the last time, and savesFrom when it is tried again then.
	unsaved   bool
	savesFrom time.Time
}

// Summary is what a run did.
type Summary struct {
	Delivered, Failed, Skipped uint64
	Bytes, Records             uint64
	Reasons                    map[ingest.Reason]uint64 // but delivered
}

// New makes a replay.
func New(set Settings) *Replay {
	return &Replay{set: set, drops: newDrops(set.Logger), summary: Summary{Reasons: map[ingest.Reason]uint64{}}}
}

// Summary is what the run did so far.
func (r *Replay) Summary() Summary { return r.summary }

// Run reads until the end of the range, if there is one, or the first error that no further attempt
// can mend. It returns the context's error when ctx is done.
func (r *Replay) Run(ctx context.Context) error {
	if err := r.resume(ctx); err != nil {
		return err
	}
	r.tagger = startTagger(r.set.Tag, r.set.Observer, r.set.Logger)
	defer r.tagger.stop(ctx)
	for {
		done, err := r.next(ctx)
		if done || err != nil {
			r.drops.flush()
			return err
		}
	}
}

// resume takes up the position that was kept.
func (r *Replay) resume(ctx context.Context) error {
	start := r.set.Start
	if start.IsZero() {
		start = r.set.Format.Begin(time.Now(), r.set.Location)
	}
	r.position = checkpoint.Position{Scope: r.scope(), Start: start, End: start}
	kept, found, err := r.set.Checkpoint.Load(ctx)
	switch {
	case err != nil:
		return err
	case !found:
	case kept.Scope != r.position.Scope:
		r.set.Logger.Info("The checkpoint in the storage is of another replay and is not used; this one begins at its start")
	default:
		r.position = kept
		r.set.Logger.Info("Goes on where it was when it ended, says the checkpoint in the storage",
			zap.Time("from", kept.Start), zap.String("after_key", kept.Key))
	}
	r.set.Tracker.Range(r.position.Start, r.set.End)
	if !r.set.Start.IsZero() {
		r.set.Tracker.Range(r.set.Start, r.set.End)
	}
	r.passed(r.position.Start)
	return nil
}

// scope names this replay. Its end is left out: a range that is made longer goes on.
func (r *Replay) scope() string {
	return fmt.Sprintf("%q %q %q %q %q %q %s %d", r.set.Endpoint, r.set.Bucket, r.set.Layout.Prefix, r.set.Layout.FilePrefix,
		r.set.Layout.Signal, r.set.Format, r.set.Location, r.set.Start.Unix())
}

// next reads the next piece of the range, or waits for one.
func (r *Replay) next(ctx context.Context) (done bool, err error) {
	follows := r.set.End.IsZero()
	if end := r.position.End; !r.position.Start.Before(end) {
		end = r.set.End
		if follows {
			end = r.set.Format.Settled(time.Now().Add(-r.set.Settle), r.set.Location)
		}
		switch {
		case r.position.Start.Before(end):
			r.position.End = end
		case follows:
			r.set.Tracker.Waiting()
			return false, backoff.Sleep(ctx, r.set.Poll)
		default:
			r.set.Tracker.AllListed(true)
			return true, nil
		}
	}
	if !follows && r.position.End.After(r.set.End) {
		r.position.End = r.set.End // the range was made shorter
	}
	return false, r.piece(ctx)
}

// piece reads the range of the position, in each form that its keys may have.
func (r *Replay) piece(ctx context.Context) error {
	p := plan.Plan{
		Range:  plan.Range{Start: r.position.Start, End: r.position.End, Format: r.set.Format, Location: r.set.Location},
		Layout: r.set.Layout,
	}
	forms := p.Layout.Forms(p.Range.Format.At(r.position.Start.In(r.set.Location)))
	for i, form := range forms {
		if form < r.position.Form {
			continue
		}
		if form != r.position.Form {
			r.position.Form, r.position.Partition, r.position.Key = form, time.Time{}, ""
		}
		last := i == len(forms)-1 && !r.position.End.Before(r.set.End)
		err := r.pass(ctx, p, form, last && !r.set.End.IsZero())
		if form == plan.Literal && store.KindOf(err) == store.Invalid {
			r.set.Logger.Warn("The store does not take keys with the slashes that s3downloader.s3_prefix has, so that only those without are read", zap.Error(err))
			err = nil
		}
		if err != nil {
			return err
		}
	}
	r.passed(r.position.End)
	// The last partition was read in whole, so that a longer range begins with the one after it.
	end := r.set.Format.End(r.position.End, r.set.Location)
	r.position = checkpoint.Position{Scope: r.position.Scope, Start: end, End: end}
	r.save(ctx)
	return nil
}

// passed says up to which time all is read.
func (r *Replay) passed(at time.Time) {
	r.set.Tracker.Position(at)
	r.set.Observer.At(at)
}

// finish takes what came of an object. It returns an error to end the replay.
func (r *Replay) finish(ctx context.Context, item list.Item, out ingest.Outcome) error {
	if out.Reason == ingest.Stopped {
		return context.Cause(ctx)
	}
	r.count(item, out)
	if out.Reason == ingest.Denied {
		out.Err = r.set.Explain(out.Err, store.GetPermission)
		if r.denied++; r.denied >= deniedEnough && r.summary.Delivered == 0 {
			return out.Err
		}
	} else {
		r.denied = 0
	}
	if out.Failed() && r.set.FailFast {
		return fmt.Errorf("%w: %s: %w", ErrFailed, out.Reason, out.Err)
	}
	if out.Reason == ingest.Delivered {
		r.tagger.tag(ctx, item.Key)
	}
	r.set.Tracker.Position(item.Partition.Time)
	r.set.Observer.At(item.Partition.Time)
	r.position.Partition, r.position.Key = item.Partition.Time, item.Key
	if r.denied == 0 && !(r.unsaved && time.Now().Before(r.savesFrom)) {
		r.save(ctx)
	}
	return nil
}

// deniedEnough is how many objects have to be denied from the beginning on for all to be: a missing
// permission must not pass over a whole bucket.
const deniedEnough = 10

// ErrFailed says that a replay ended at an object because on_error is fail.
var ErrFailed = errors.New("an object was not delivered, and on_error is fail")

func (r *Replay) count(item list.Item, out ingest.Outcome) {
	r.set.Observer.Finished(out)
	s := &r.summary
	s.Bytes += uint64(max(out.Bytes, 0))
	s.Records += uint64(out.Records)
	if out.Reason == ingest.Delivered {
		s.Delivered++
		r.set.Tracker.Delivered(item.Size)
		return
	}
	s.Reasons[out.Reason]++
	if out.Failed() {
		s.Failed++
	} else {
		s.Skipped++
	}
	r.set.Tracker.Dropped(item.Size, string(out.Reason), out.Failed(), out.Err)
	r.drops.log(item, out)
}

// save keeps the position. A storage that fails holds nothing up: what it does not know would be read
// twice, not lost.
func (r *Replay) save(ctx context.Context) {
	began := time.Now()
	err := r.set.Checkpoint.Save(ctx, r.position)
	r.savesFrom = time.Now().Add(storageShare * time.Since(began)) // one that hangs must not for each object
	switch {
	case err != nil:
		r.set.Observer.Retry(OperationCheckpoint, err)
	case r.unsaved:
		r.set.Observer.Recovered(OperationCheckpoint)
	}
	r.unsaved = err != nil
}

// storageShare is how much longer than a storage takes to fail it is left alone then.
const storageShare = 20
