// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"sync"
)

// budget is what may be fetched ahead: so many objects, so many bytes. One acquires and another
// releases.
type budget struct {
	maxObjects int
	maxBytes   int64
	freed      chan struct{} // a level, not a queue

	mu      sync.Mutex
	objects int
	bytes   int64
}

func newBudget(objects int, bytes int64) *budget {
	return &budget{maxObjects: objects, maxBytes: bytes, freed: make(chan struct{}, 1)}
}

// acquire waits until there is room. An object that is larger than the whole budget goes alone.
func (b *budget) acquire(ctx context.Context, cost int64) bool {
	for {
		if b.try(cost) {
			return true
		}
		select {
		case <-b.freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (b *budget) try(cost int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects > 0 && (b.objects >= b.maxObjects || b.bytes+cost > b.maxBytes) {
		return false
	}
	b.objects++
	b.bytes += cost
	return true
}

// release gives room back and says how much is still in use.
func (b *budget) release(cost int64) (objects int, bytes int64) {
	b.mu.Lock()
	b.objects--
	b.bytes -= cost
	objects, bytes = b.objects, b.bytes
	b.mu.Unlock()
	select {
	case b.freed <- struct{}{}:
	default:
	}
	return objects, bytes
}

func (b *budget) use() (objects int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects, b.bytes
}
