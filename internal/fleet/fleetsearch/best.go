// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import "slices"

// best keeps the first n of all that it is offered, in the order of compare.
type best[T any] struct {
	n       int
	compare func(a, b T) int
	kept    []T
	full    bool // kept[n-1] is the last that counts
	last    T
}

func newBest[T any](n int, compare func(a, b T) int) *best[T] {
	return &best[T]{n: n, compare: compare}
}

func (b *best[T]) offer(v T) {
	if b.full && b.compare(v, b.last) >= 0 {
		return
	}
	b.kept = append(b.kept, v)
	if b.n > 0 && len(b.kept) >= 2*b.n+16 {
		b.shrink()
	}
}

func (b *best[T]) shrink() {
	slices.SortFunc(b.kept, b.compare)
	if b.n > 0 && len(b.kept) >= b.n {
		b.kept = b.kept[:b.n]
		b.full, b.last = true, b.kept[b.n-1]
	}
}

// sorted is what was kept. n of 0 keeps all.
func (b *best[T]) sorted() []T {
	b.shrink()
	return b.kept
}
