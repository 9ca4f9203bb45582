// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

const (
	tagWorkers = 8
	tagQueue   = 256
	// tagGrace is how long tags may take that are not written when the receiver is shut down.
	tagGrace = 2 * time.Second
	// tagLogInterval is how often a tag that cannot be written is worth a line.
	tagLogInterval = time.Minute
)

// tagger marks delivered objects beside the delivery. A tag is a note for whoever cleans up, so one
// that cannot be written is counted and left.
type tagger struct {
	keys    chan string
	running sync.WaitGroup
	cancel  context.CancelFunc
}

// startTagger begins to tag; nothing, if mark is nil.
func startTagger(mark func(context.Context, string) error, observer Observer, logger *zap.Logger) *tagger {
	if mark == nil {
		return &tagger{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tagger{keys: make(chan string, tagQueue), cancel: cancel}
	var mu sync.Mutex
	var logged time.Time
	for range tagWorkers {
		t.running.Go(func() {
			for key := range t.keys {
				err := mark(ctx, key)
				if err == nil {
					continue
				}
				observer.Untagged()
				mu.Lock()
				if now := time.Now(); now.Sub(logged) >= tagLogInterval {
					logged = now
					logger.Warn("A delivered object could not be tagged; that needs "+store.TagPermission, zap.String("key", key), zap.Error(err))
				}
				mu.Unlock()
			}
		})
	}
	return t
}

// tag has an object marked. It waits while too many are to be.
func (t *tagger) tag(ctx context.Context, key string) {
	if t.keys == nil {
		return
	}
	select {
	case t.keys <- key:
	case <-ctx.Done():
	}
}

// stop waits for what is to be tagged; once ctx is done, for a moment only.
func (t *tagger) stop(ctx context.Context) {
	if t.keys == nil {
		return
	}
	close(t.keys)
	stopped := context.AfterFunc(ctx, func() { time.AfterFunc(tagGrace, t.cancel) })
	defer stopped()
	t.running.Wait()
	t.cancel()
}
