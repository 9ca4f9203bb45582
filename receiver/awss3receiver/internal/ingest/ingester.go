// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/decode"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// Operations that an [Observer] is told of.
const (
	OperationConsume = "consume"
	OperationTag     = "tag"
)

// Observer hears what happens on the way. Its methods are called from several goroutines and must
// not block.
type Observer interface {
	fetch.Observer
	// Accepted is told of records that the pipeline took.
	Accepted(records int)
}

// Ingester takes objects to the pipeline of one signal. Its methods may be called from several
// goroutines at once; the order of records is the caller's.
type Ingester interface {
	// Signal is traces, metrics or logs.
	Signal() string
	// Supports reports whether anything here reads a file of this name.
	Supports(key string) bool
	// Cost is how much memory an object takes at most, as stored.
	Cost(object store.Object) int64
	// Open fetches the beginning of an object, which is all of most. What goes wrong shows when it is
	// delivered.
	Open(ctx context.Context, object store.Object) *Pending
	// Deliver decodes a pending object, hands it to the pipeline, and closes it. It returns when the
	// pipeline took all of it, or never will, or ctx is done.
	Deliver(ctx context.Context, pending *Pending) Outcome
	// Ingest is Open and Deliver.
	Ingest(ctx context.Context, object store.Object) Outcome
}

// Pending is an object that waits to be delivered.
type Pending struct {
	Object store.Object

	body *fetch.Body
	// reason and err are known before anything was delivered.
	reason Reason
	err    error
}

// Close gives up an object that is not delivered.
func (p *Pending) Close() {
	if p.body != nil {
		p.body.Close()
	}
}

// Settings are all that an Ingester needs.
type Settings[T any] struct {
	Kind    decode.Kind[T]
	Codecs  *decode.Codecs[T]
	Fetcher *fetch.Fetcher
	Limits  decode.Limits
	Retry   configretry.BackOffConfig
	// Consume is the pipeline's. Mutates is whether it may change what it is given.
	Consume func(context.Context, T) error
	Mutates bool
	// Began and Ended report each attempt to the Collector's own telemetry.
	Began func(context.Context) context.Context
	Ended func(ctx context.Context, format string, records int, err error)
	// SkipTagged asks each object for its tags first.
	SkipTagged bool
	// GoOn is whether a batch that the pipeline refuses for good is passed over. The object counts as
	// refused all the same.
	GoOn     bool
	Observer Observer
}

type ingester[T any] struct{ set Settings[T] }

// New makes an Ingester.
func New[T any](set Settings[T]) Ingester { return &ingester[T]{set: set} }

func (i *ingester[T]) Signal() string { return i.set.Kind.Signal }

func (i *ingester[T]) Supports(key string) bool {
	_, _, ok := i.set.Codecs.For(key)
	return ok
}

func (i *ingester[T]) Cost(object store.Object) int64 {
	if !i.Supports(object.Key) {
		return 0
	}
	return i.set.Fetcher.Cost(object.Size)
}

func (i *ingester[T]) Ingest(ctx context.Context, object store.Object) Outcome {
	return i.Deliver(ctx, i.Open(ctx, object))
}

func (i *ingester[T]) Open(ctx context.Context, object store.Object) *Pending {
	p := &Pending{Object: object}
	if !i.Supports(object.Key) {
		p.reason, p.err = Unsupported, fmt.Errorf("%s: no encoding reads a file of this name", object.Key)
		return p
	}
	if i.set.SkipTagged {
		tagged, err := i.tagged(ctx, object)
		switch {
		case err != nil:
			p.reason, p.err = reasonOf(ctx, err), fmt.Errorf("tags of %s: %w", object.Key, err)
			return p
		case tagged:
			p.reason, p.err = Tagged, fmt.Errorf("%s: was delivered before, says its tag %s", object.Key, store.TagKey)
			return p
		}
	}
	body, err := i.set.Fetcher.Open(ctx, object)
	if err != nil {
		p.reason, p.err = reasonOf(ctx, err), err
		return p
	}
	p.body = body
	return p
}

// tagged asks until there is an answer.
func (i *ingester[T]) tagged(ctx context.Context, object store.Object) (bool, error) {
	pace := backoff.New(i.set.Retry)
	for failed := false; ; failed = true {
		tagged, err := store.Tagged(ctx, i.set.Fetcher.API, object.Bucket, object.Key, object.VersionID)
		switch kind := store.KindOf(err); {
		case err == nil:
			if failed {
				i.set.Observer.Recovered(OperationTag)
			}
			return tagged, nil
		case kind != store.Transient && kind != store.Stopped:
			return false, &fetch.Error{Kind: kind, Err: err}
		}
		i.set.Observer.Retry(OperationTag, err)
		if err := pace.Wait(ctx, err); err != nil {
			return false, err
		}
	}
}

func (i *ingester[T]) Deliver(ctx context.Context, p *Pending) Outcome {
	out := Outcome{Reason: p.reason, Err: p.err, Bytes: max(p.Object.Size, 0)}
	if p.body == nil {
		return out
	}
	defer p.body.Close()
	out.Bytes = p.body.Size()
	codec, raw, _ := i.set.Codecs.For(p.Object.Key)
	var refused error
	err := decode.Read(ctx, io.Reader(p.body), p.Object.Key, codec, raw, i.set.Limits, func(batch T) error {
		records, err := i.consume(ctx, codec.Format(), batch)
		out.Records += records
		if errors.Is(err, errRefused) && i.set.GoOn && ctx.Err() == nil {
			refused = err
			return nil
		}
		return err
	})
	if err == nil {
		err = refused
	}
	out.Reason = reasonOf(ctx, err)
	if err != nil {
		out.Err = fmt.Errorf("%s: %w", p.Object.Key, err)
	}
	return out
}

// consume offers a batch until it is taken, or never will be. It says how many records were.
func (i *ingester[T]) consume(ctx context.Context, format string, batch T) (int, error) {
	records := i.set.Kind.Count(batch)
	if records == 0 {
		return 0, nil
	}
	pace := backoff.New(i.set.Retry)
	for failed := false; ; failed = true {
		offered := batch
		if i.set.Mutates {
			offered = i.set.Kind.Clone(batch) // who refuses may have begun to change it
		}
		attempt := i.set.Began(ctx)
		err := i.set.Consume(attempt, offered)
		i.set.Ended(attempt, format, records, err)
		switch {
		case err == nil:
			if failed {
				i.set.Observer.Recovered(OperationConsume)
			}
			i.set.Observer.Accepted(records)
			return records, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case consumererror.IsPermanent(err):
			return 0, fmt.Errorf("%w: %w", errRefused, err)
		}
		i.set.Observer.Retry(OperationConsume, err)
		if err := pace.Wait(ctx, err); err != nil {
			return 0, err
		}
	}
}
