// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"sync"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// listAhead is how many objects may be listed before they are fetched: enough for how much there is
// to be known early, and a few megabytes.
const listAhead = 32 << 10

// slot is an object on its way, in the place that it has in the order.
type slot struct {
	item    list.Item
	cost    int64
	pending chan *ingest.Pending // of one
}

// pass reads the objects of a plan in one form, from the position on. last is whether nothing else is
// to be listed after it.
func (r *Replay) pass(ctx context.Context, p plan.Plan, form plan.Form, last bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	items := make(chan list.Item, listAhead)
	slots := make(chan slot, r.set.MaxObjects)
	budget := newBudget(r.set.MaxObjects, r.set.MaxBytes)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(context.Canceled)

	var listed error // to be read when items is closed
	from := list.Position{Time: r.position.Partition, Key: r.position.Key}
	running.Go(func() {
		defer close(items)
		listed = r.set.Lister.List(ctx, p, form, from, func(item list.Item) error {
			r.set.Tracker.Listed(item.Size)
			r.set.Observer.Found()
			select {
			case items <- item:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if listed == nil && last {
			r.set.Tracker.AllListed(true)
		}
	})
	running.Go(func() {
		defer close(slots)
		r.fetchAhead(ctx, items, slots, budget, &running)
	})

	var failed error
	for s := range slots {
		pending := <-s.pending
		if failed == nil {
			failed = r.deliver(ctx, s.item, pending)
			if failed != nil {
				cancel(failed) // what is on its way comes back at once, and is closed below
			}
		} else {
			pending.Close()
		}
		r.set.Observer.Flight(budget.release(s.cost))
	}
	switch {
	case failed != nil:
		return failed
	case listed != nil && ctx.Err() == nil:
		return r.set.Explain(listed, store.ListPermission)
	case listed != nil:
		return listed
	}
	return ctx.Err()
}

// deliver takes one object to the pipeline.
func (r *Replay) deliver(ctx context.Context, item list.Item, pending *ingest.Pending) error {
	r.set.Tracker.Begin(item.Key)
	if item.Form == plan.Literal && !r.warned {
		r.warned = true
		r.set.Logger.Warn("There are objects whose keys have the slashes of s3downloader.s3_prefix as they are; they are read after those whose keys are as the exporter writes them")
	}
	return r.finish(ctx, item, r.set.Ingester.Deliver(ctx, pending))
}

// fetchAhead opens objects as the budget allows, several at once, and puts them in line in their
// order.
func (r *Replay) fetchAhead(ctx context.Context, items <-chan list.Item, slots chan<- slot, budget *budget, running *sync.WaitGroup) {
	for item := range items {
		object := store.Object{Bucket: r.set.Bucket, Key: item.Key, Size: item.Size}
		s := slot{item: item, cost: r.set.Ingester.Cost(object), pending: make(chan *ingest.Pending, 1)}
		if !budget.acquire(ctx, s.cost) {
			return
		}
		r.set.Observer.Flight(budget.use())
		running.Go(func() { s.pending <- r.set.Ingester.Open(ctx, object) })
		// The budget keeps more from being here than there is room for.
		slots <- s
	}
}
