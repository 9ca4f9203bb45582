// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"net/netip"
	"sync"
	"time"
)

// How often one address may present credentials that are wrong: that many at once, and from then on one whenever the
// pause is over. An address of this host may be a proxy that speaks for many.
const (
	failureBurst     = 10
	failurePause     = 6 * time.Second
	failureBurstHere = 10 * failureBurst
	failurePauseHere = failurePause / 10
)

const (
	mostFailing = 10_000 // addresses that are remembered, and as many credentials of agents
	// siteBits is how much of an address of IPv6 is one customer's.
	siteBits = 64
	// candidates is among how many of those that are remembered the one is looked for that makes room.
	candidates = 16
)

// Failures bounds how often an address may fail to authenticate, so that passwords can't be tried as fast as they are
// checked, nor the checking keep the processor busy. Its zero value is ready. It is safe for concurrent use.
type Failures struct {
	mu    sync.Mutex
	peers map[netip.Prefix]time.Time // guarded by mu; until when the failures so far count
}

// Wait is how long the peer at remoteAddr has to wait before it may try, and 0 if it need not.
func (f *Failures) Wait(remoteAddr string, now time.Time) time.Duration {
	site, burst, pause := siteOf(remoteAddr)
	f.mu.Lock()
	defer f.mu.Unlock()
	free := f.peers[site].Add(-time.Duration(burst-1) * pause) // from then on one more fits in
	return max(free.Sub(now), 0)
}

// Note notes that the peer failed.
func (f *Failures) Note(remoteAddr string, now time.Time) {
	site, _, pause := siteOf(remoteAddr)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers == nil {
		f.peers = map[netip.Prefix]time.Time{}
	}
	until := f.peers[site]
	if until.Before(now) {
		until = now
	}
	remember(f.peers, site, until.Add(pause))
}

// remember puts a time into a map of bounded size, at the cost of the earliest of some.
func remember[K comparable](times map[K]time.Time, key K, at time.Time) {
	if _, known := times[key]; !known && len(times) >= mostFailing {
		var least K
		seen := 0
		for k, t := range times {
			if seen == 0 || t.Before(times[least]) {
				least = k
			}
			if seen++; seen == candidates {
				break
			}
		}
		delete(times, least)
	}
	times[key] = at
}

// siteOf is whose failures count together. A peer without an address, on a socket, is of this host.
func siteOf(remoteAddr string) (site netip.Prefix, burst int, pause time.Duration) {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return site, failureBurstHere, failurePauseHere
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := min(addr.BitLen(), siteBits)
	site, _ = addr.Prefix(bits) // there are as many bits
	if addr.IsLoopback() {
		return site, failureBurstHere, failurePauseHere
	}
	return site, failureBurst, failurePause
}
