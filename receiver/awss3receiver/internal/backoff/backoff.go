// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package backoff waits longer each time something fails again.
package backoff

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/config/configretry"
)

// ErrGivenUp says that something failed for longer than retry_on_failure allows.
var ErrGivenUp = errors.New("given up")

// Backoff is the pace of one thing that is tried again. It is for one goroutine.
type Backoff struct {
	set configretry.BackOffConfig

	interval time.Duration
	since    time.Time // of the first failure in a row
}

// New begins with no failure.
func New(set configretry.BackOffConfig) *Backoff { return &Backoff{set: set} }

// Reset forgets the failures: something went well.
func (b *Backoff) Reset() { b.interval, b.since = 0, time.Time{} }

// Wait waits before the next attempt. It returns early with the context's error, and with
// [ErrGivenUp] and the cause where there is to be no further attempt.
func (b *Backoff) Wait(ctx context.Context, cause error) error {
	if !b.set.Enabled {
		return fmt.Errorf("%w, retry_on_failure is off: %w", ErrGivenUp, cause)
	}
	now := time.Now()
	if b.since.IsZero() {
		b.since = now
	}
	delay := b.next()
	if limit := b.set.MaxElapsedTime; limit > 0 && now.Add(delay).Sub(b.since) > limit {
		return fmt.Errorf("%w after %v: %w", ErrGivenUp, limit, cause)
	}
	return Sleep(ctx, delay)
}

// Sleep waits for d. It returns early with the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next is the interval with some chance in it, so that many that failed together do not come back
// together.
func (b *Backoff) next() time.Duration {
	if b.interval == 0 {
		b.interval = b.set.InitialInterval
	} else {
		b.interval = time.Duration(float64(b.interval) * max(b.set.Multiplier, 1))
	}
	b.interval = max(min(b.interval, b.set.MaxInterval), time.Millisecond)
	spread := b.set.RandomizationFactor * (2*rand.Float64() - 1) //nolint:gosec // chance, not a secret
	return max(time.Duration(float64(b.interval)*(1+spread)), 0)
}
