// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package list

import (
	"context"
	"iter"
	"sync"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
)

// ahead is how many objects each of several listings may find before its turn comes: a page.
const ahead = 1000

// found is what one of several listings finds: objects, and when those end why.
type found struct {
	items chan Item
	err   error // to be read when items is closed
}

// sideBySide runs several scans at once and emits what they find one scan after the other.
func (l *Lister) sideBySide(ctx context.Context, first plan.Scan, rest iter.Seq[plan.Scan], form plan.Form, after string, emit func(Item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	turns := make(chan *found, max(l.Concurrency-1, 0))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		defer close(turns)
		begin := func(scan plan.Scan, after string) bool {
			f := &found{items: make(chan Item, ahead)}
			select {
			case turns <- f:
			case <-ctx.Done():
				return false
			}
			running.Go(func() {
				defer close(f.items)
				f.err = l.scan(ctx, scan, form, after, func(item Item) error {
					select {
					case f.items <- item:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			})
			return true
		}
		if !begin(first, after) {
			return
		}
		for scan := range rest {
			if !begin(scan, "") {
				return
			}
		}
	})
	for f := range turns {
		for item := range f.items {
			if err := emit(item); err != nil {
				return err
			}
		}
		if f.err != nil {
			return f.err
		}
	}
	return ctx.Err()
}
