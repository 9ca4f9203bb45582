// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetindexer

import (
	"context"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Index is what is kept up to date.
type Index interface {
	// Read takes in what changed and reads up to n configs. It returns how many are left.
	Read(n int) (left int)
}

const (
	// share is the part of a core that the work may take: a fourth.
	share = 4
	// piece is how many configs are read at a time. Questions wait for as long as it takes to note what is in them.
	piece = 64
	// pause is the least time between two looks at what changed, so that changes one by one are taken in together.
	pause = 250 * time.Millisecond
	// longest is the longest rest. A process that was frozen need not make up for that.
	longest = 10 * time.Second
)

// Run takes into the index what changes in f, until ctx ends.
func Run(ctx context.Context, f *fleet.Fleet, x Index) {
	watcher := f.Watch()
	defer watcher.Close()
	for ctx.Err() == nil {
		began := time.Now()
		left := x.Read(piece)
		rest := (share - 1) * time.Since(began)
		if left > 0 {
			sleep(ctx, min(rest, longest))
			continue
		}
		sleep(ctx, min(max(rest, pause), longest))
		select {
		case <-ctx.Done():
		case <-watcher.C:
		}
	}
}

// sleep returns when d has passed, or ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
