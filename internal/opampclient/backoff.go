// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"math/rand/v2"
	"time"
)

// backoff spaces connects: each pause is about twice the one before, up to a cap, and
// jittered so that a fleet that lost its server does not come back as one.
type backoff struct {
	failures int
}

// next is the pause before the next connect: between half and all of the present step.
func (b *backoff) next() time.Duration {
	step := backoffMax
	if b.failures < 16 { // past it the shift says nothing new
		step = min(backoffMax, backoffBase<<b.failures)
	}
	b.failures++
	return step/2 + rand.N(step/2+1) //nolint:gosec // jitter, not a secret
}

// reset follows a connection that proved good.
func (b *backoff) reset() { b.failures = 0 }

// after is the pause that a server asked for, within limit, and spread by a quarter so
// that everybody it told the same does not return in the same instant.
func after(asked, limit time.Duration) time.Duration {
	asked = min(asked, limit)
	return asked + rand.N(asked/4+1) //nolint:gosec // jitter, not a secret
}
