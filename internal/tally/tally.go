// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package tally counts what goes wrong by reason, and says when that is worth a log line:
// who can make something go wrong can do so a million times a minute.
package tally

import (
	"sync"
	"sync/atomic"
	"time"
)

// QuietPeriod is the least time between two log lines about one reason.
const QuietPeriod = time.Minute

// Tally counts by reasons of a closed set. Safe for concurrent use.
type Tally[R comparable] struct {
	entries map[R]*entry // fixed at construction
}

type entry struct {
	count atomic.Int64

	mu     sync.Mutex
	spoken time.Time // guarded by mu: the last log line
	told   int64     // guarded by mu: count at that line
}

// New returns a tally of these reasons. Adding to another one panics.
func New[R comparable](reasons []R) *Tally[R] {
	t := &Tally[R]{entries: make(map[R]*entry, len(reasons))}
	for _, r := range reasons {
		t.entries[r] = &entry{}
	}
	return t
}

// Add counts n times r, of which nothing is said.
func (t *Tally[R]) Add(r R, n int64) { t.entries[r].count.Add(n) }

// Note counts n times r. If due, a line may be written now, and speaks of since times.
func (t *Tally[R]) Note(r R, n int64) (since int64, due bool) {
	e := t.entries[r]
	count := e.count.Add(n)
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.spoken.IsZero() && now.Sub(e.spoken) < QuietPeriod {
		return 0, false
	}
	since = count - e.told
	e.spoken, e.told = now, count
	return since, true
}

// Counts are all of them; every reason is there.
func (t *Tally[R]) Counts() map[R]int64 {
	counts := make(map[R]int64, len(t.entries))
	for r, e := range t.entries {
		counts[r] = e.count.Load()
	}
	return counts
}
