// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// turnLimit is how long whose turn it is keeps others from being looked at, if nobody says how it ended.
	turnLimit = time.Second
	// turnPause and turnShare are how long nobody's turn it is after credentials were wrong: at least the one, and so
	// many times as long as it took to find out.
	turnPause = 100 * time.Millisecond
	turnShare = 4
	// mostCounted is how many failures count, beyond those that an address may have: when they end it is soon forgiven.
	mostCounted = 10
	// rightAgain is how often it is noted that the same credentials were right.
	rightAgain = time.Minute
)

// proof stands for what a request presents to be let in. It tells requests apart in this process alone, and nothing of
// what was presented.
type proof uint64

// turnstile bounds what wrong credentials of agents cost, and how fast they can be guessed. Behind one address may be
// a gateway or a whole site, so, unlike [Failures] for people, who fails too often makes nobody wait who is right:
//
//   - credentials that were right are looked at always;
//   - of an address that failed too often, those that were wrong a moment ago are refused without another look, and
//     those that nobody knows take turns, with a pause after each that was wrong.
//
// It is safe for concurrent use.
type turnstile struct {
	// Fixed at construction.
	seed maphash.Seed

	failures Failures

	mu    sync.Mutex
	right map[proof]time.Time        // guarded by mu; when they were last
	wrong map[proof]time.Time        // guarded by mu; until when nobody looks again
	turns map[netip.Prefix]time.Time // guarded by mu; from when on it is the next one's turn at an address
}

// newTurnstile returns one that knows nobody.
func newTurnstile() *turnstile {
	return &turnstile{
		seed:  maphash.MakeSeed(),
		right: map[proof]time.Time{}, wrong: map[proof]time.Time{}, turns: map[netip.Prefix]time.Time{},
	}
}

// passing are headers that differ from one request of an agent to the next, or from one transport to the other.
var passing = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Baggage": true, "Connection": true, "Content-Encoding": true,
	"Content-Length": true, "Content-Type": true, "Date": true, "Opamp-Instance-Uid": true,
	"Sec-Websocket-Extensions": true, "Sec-Websocket-Key": true, "Sec-Websocket-Version": true, "Traceparent": true,
	"Tracestate": true, "Upgrade": true, "User-Agent": true, "X-Request-Id": true,
}

// presented is what a request presents. An authenticator may read any header, so all of them count.
func (c *turnstile) presented(header http.Header) (p proof) {
	for name, values := range header {
		if passing[name] {
			continue
		}
		var h maphash.Hash
		h.SetSeed(c.seed)
		_, _ = h.WriteString(name) // never fails
		for _, value := range values {
			_ = h.WriteByte(0)
			_, _ = h.WriteString(value)
		}
		p += proof(h.Sum64()) // whatever their order is
	}
	return p
}

// wait is how long a peer has to wait before p is looked at, and 0 if it is looked at now. Then letIn or refused says
// what came of it.
func (c *turnstile) wait(remoteAddr string, p proof, now time.Time) time.Duration {
	if c.failures.Wait(remoteAddr, now) == 0 {
		return 0
	}
	site, _, _ := siteOf(remoteAddr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.right[p]; known {
		return 0
	}
	if wait := c.wrong[p].Sub(now); wait > 0 {
		return wait
	}
	if wait := c.turns[site].Sub(now); wait > 0 {
		return wait + rand.N(wait+time.Second) //nolint:gosec // jitter, no secret
	}
	remember(c.turns, site, now.Add(turnLimit))
	return 0
}

// letIn notes that p was let in.
func (c *turnstile) letIn(remoteAddr string, p proof, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.right[p]
	if known && now.Sub(last) < rightAgain {
		return
	}
	remember(c.right, p, now)
	delete(c.wrong, p)
	if !known {
		site, _, _ := siteOf(remoteAddr)
		delete(c.turns, site) // the next one need not wait
	}
}

// refused notes that p was refused.
func (c *turnstile) refused(remoteAddr string, p proof, now time.Time) {
	site, _, pause := siteOf(remoteAddr)
	limited := c.failures.Wait(remoteAddr, now)
	if limited <= mostCounted*pause {
		c.failures.Note(remoteAddr, now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.right, p)
	remember(c.wrong, p, now.Add(pause))
	if limited > 0 {
		var took time.Duration
		if left := c.turns[site].Sub(now); left > 0 { // whose turn it was
			took = turnLimit - left
		}
		remember(c.turns, site, now.Add(max(turnPause, turnShare*took)))
	}
}
