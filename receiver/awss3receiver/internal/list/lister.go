// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package list

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.opentelemetry.io/collector/config/configretry"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// OperationList is what an Observer is told of.
const OperationList = "list"

// maxSilence is how long a page may take, with the SDK's own retries, before it is asked for again.
const maxSilence = time.Minute

// ErrUnordered says that a store lists keys in another order than their own.
var ErrUnordered = errors.New("the store does not list keys in their order: set s3downloader.list_by_partition")

// Errors of an answer that is none.
var (
	errNoListing = errors.New("the answer is no listing of a bucket, though it says that all went well: check s3downloader.endpoint if this stays")
	errNoToken   = errors.New("the store says that there are more keys, and not how to go on")
)

// Observer hears what happens. Its methods must not block.
type Observer interface {
	// Listed is told how long a page took.
	Listed(took time.Duration)
	// Retry is told of what failed and is tried again.
	Retry(operation string, err error)
	// Recovered is told when something that was tried again went well.
	Recovered(operation string)
}

// Item is an object that was found.
type Item struct {
	Key       string
	Size      int64
	Partition *plan.Partition
	Form      plan.Form
}

// Lister finds objects.
type Lister struct {
	API      store.API
	Bucket   string
	Filter   plan.Filter
	Retry    configretry.BackOffConfig
	Observer Observer
	// Concurrency is how many listings run side by side where one cannot do.
	Concurrency int
	// ByPartition gives each partition a listing of its own and sorts what it finds.
	ByPartition bool
}

// Position is where a listing goes on: after Key, which lies in the partition that begins at Time.
// The zero position is the beginning.
type Position struct {
	Time time.Time
	Key  string
}

// List calls emit with each object of the plan in one form, in order, until the end or the first
// error, which is the store's, the context's or emit's.
func (l *Lister) List(ctx context.Context, p plan.Plan, form plan.Form, from Position, emit func(Item) error) error {
	scans := p.Scans(form, from.Time)
	if l.ByPartition {
		scans = p.Singles(form, from.Time)
	}
	next, stop := iter.Pull(scans)
	defer stop()
	first, ok := next()
	if !ok {
		return nil
	}
	second, more := next()
	if !more {
		return l.scan(ctx, first, form, from.Key, emit)
	}
	rest := func(yield func(plan.Scan) bool) {
		for scan, ok := second, true; ok; scan, ok = next() {
			if !yield(scan) {
				return
			}
		}
	}
	return l.sideBySide(ctx, first, rest, form, from.Key, emit)
}

// scan finds the objects of one scan. after is a key to begin after.
func (l *Lister) scan(ctx context.Context, scan plan.Scan, form plan.Form, after string, emit func(Item) error) error {
	if l.ByPartition {
		return l.sorted(ctx, scan, form, after, emit)
	}
	next, stop := iter.Pull(scan.Targets)
	defer stop()
	w := walker{next: next, form: form, filter: l.Filter, emit: emit, last: after}
	w.advance()
	in := &s3.ListObjectsV2Input{
		Bucket: aws.String(l.Bucket), Prefix: optional(scan.Root), StartAfter: optional(max(after, plan.Before(scan.First))),
	}
	for {
		page, err := l.page(ctx, in)
		if err != nil {
			return err
		}
		for _, object := range page.Contents {
			if err := w.take(aws.ToString(object.Key), sizeOf(object)); err != nil {
				return err
			}
		}
		switch {
		case w.done || !aws.ToBool(page.IsTruncated):
			return nil
		case w.target.Prefix > w.last && !w.ignoresStart && plan.Before(w.target.Prefix) > aws.ToString(in.StartAfter):
			// Nothing of what is wanted comes for a while: go there, unless that is where this began, with
			// a page that holds nothing.
			in.StartAfter, in.ContinuationToken = optional(plan.Before(w.target.Prefix)), nil
			w.jumped, w.listed = true, ""
		default:
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

// walker holds the keys of a listing against the targets, both in order.
type walker struct {
	next   func() (plan.Target, bool)
	form   plan.Form
	filter plan.Filter
	emit   func(Item) error

	target plan.Target
	done   bool
	// last is the greatest key so far, listed that of the listing since it was begun.
	last, listed string
	// jumped is whether the listing was begun anew further on, ignoresStart whether the store then
	// began at the first key all the same.
	jumped, ignoresStart bool
}

func (w *walker) advance() {
	target, ok := w.next()
	w.target, w.done = target, !ok
}

func (w *walker) take(key string, size int64) error {
	if key <= w.listed {
		return fmt.Errorf("%w: %q came after %q", ErrUnordered, key, w.listed)
	}
	w.listed = key
	if key <= w.last {
		// A store that does not know start-after gives again what came before.
		w.ignoresStart = w.jumped
		return nil
	}
	w.last = key
	for !w.done && key > w.target.Prefix && !strings.HasPrefix(key, w.target.Prefix) {
		w.advance()
	}
	if w.done || !strings.HasPrefix(key, w.target.Prefix) || !w.filter.Takes(key) {
		return nil
	}
	partition := w.target.Partition
	return w.emit(Item{Key: key, Size: size, Partition: &partition, Form: w.form})
}

// sorted finds the objects of the one target of a scan, whatever the order that they are listed in.
func (l *Lister) sorted(ctx context.Context, scan plan.Scan, form plan.Form, after string, emit func(Item) error) error {
	for target := range scan.Targets {
		var items []Item
		// Directory buckets list whole directories.
		in := &s3.ListObjectsV2Input{Bucket: aws.String(l.Bucket), Prefix: optional(target.Prefix[:strings.LastIndexByte(target.Prefix, '/')+1])}
		for {
			page, err := l.page(ctx, in)
			if err != nil {
				return err
			}
			for _, object := range page.Contents {
				key := aws.ToString(object.Key)
				if strings.HasPrefix(key, target.Prefix) && key > after && l.Filter.Takes(key) {
					items = append(items, Item{Key: key, Size: sizeOf(object), Partition: &target.Partition, Form: form})
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				break
			}
			in.ContinuationToken = page.NextContinuationToken
		}
		slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Key, b.Key) })
		items = slices.CompactFunc(items, func(a, b Item) bool { return a.Key == b.Key })
		for _, item := range items {
			if err := emit(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// page asks for a page until there is an answer, or never will be.
func (l *Lister) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	pace := backoff.New(l.Retry)
	for failed := false; ; failed = true {
		began := time.Now()
		asking, cancel := context.WithTimeout(ctx, maxSilence)
		out, err := l.API.ListObjectsV2(asking, in)
		cancel()
		l.Observer.Listed(time.Since(began))
		if err == nil {
			err = doubt(in, out)
		}
		if err == nil {
			err = unescape(out)
		}
		switch {
		case err == nil:
			if failed {
				l.Observer.Recovered(OperationList)
			}
			return out, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		if in.EncodingType == "" && illegible(err) {
			in.EncodingType = types.EncodingTypeUrl
			continue
		}
		if kind := store.KindOf(err); kind != store.Transient && kind != store.Stopped {
			return nil, fmt.Errorf("list %q: %w", aws.ToString(in.Prefix), err)
		}
		l.Observer.Retry(OperationList, err)
		if err := pace.Wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// doubt says why a page cannot be one. What is between here and the store may answer in its place,
// and an answer that holds nothing would be taken for an empty bucket.
func doubt(in *s3.ListObjectsV2Input, out *s3.ListObjectsV2Output) error {
	switch {
	case len(out.Contents) == 0 && out.Name == nil && out.KeyCount == nil && out.IsTruncated == nil:
		return errNoListing
	case !aws.ToBool(out.IsTruncated):
		return nil
	case aws.ToString(out.NextContinuationToken) == "", aws.ToString(out.NextContinuationToken) == aws.ToString(in.ContinuationToken):
		return errNoToken
	}
	return nil
}

// illegible reports whether a page is not XML for a character that XML does not have. A key may hold
// one, and its listing can then be had with the keys escaped (Amazon S3 API, ListObjectsV2,
// encoding-type). Not all stores know that, so it is asked for where it has to be.
func illegible(err error) bool {
	var syntax *xml.SyntaxError
	return errors.As(err, &syntax) && strings.Contains(syntax.Msg, "illegal character")
}

// unescape takes the escapes from the keys of a page that has them.
func unescape(out *s3.ListObjectsV2Output) error {
	if out.EncodingType != types.EncodingTypeUrl {
		return nil
	}
	for i, object := range out.Contents {
		key, err := url.QueryUnescape(aws.ToString(object.Key))
		if err != nil {
			return fmt.Errorf("key of an object: %w", err)
		}
		out.Contents[i].Key = aws.String(key)
	}
	return nil
}

// sizeOf is the size of an object, if the store says it.
func sizeOf(object types.Object) int64 {
	if object.Size == nil || *object.Size < 0 {
		return store.SizeUnknown
	}
	return *object.Size
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
