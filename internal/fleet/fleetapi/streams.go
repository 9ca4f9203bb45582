// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"net/netip"
	"sync"
)

// streams bounds the event streams that are open, over all and for each peer, so that nobody takes them all. It is
// safe for concurrent use.
type streams struct {
	// Fixed at construction.
	most, perPeer int

	mu    sync.Mutex
	open  int                // guarded by mu
	peers map[netip.Addr]int // guarded by mu; who has none is not in it
}

func newStreams(most, perPeer int) *streams {
	return &streams{most: most, perPeer: perPeer, peers: map[netip.Addr]int{}}
}

// Streams is how many event streams are open, and how many may be.
func (a *API) Streams() (open, most int) {
	a.streams.mu.Lock()
	defer a.streams.mu.Unlock()
	return a.streams.open, a.streams.most
}

// peerOf is the address without its port, and the zero address for a peer that has none.
func peerOf(remoteAddr string) netip.Addr {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// mostOf is how many streams peer may have.
func (s *streams) mostOf(peer netip.Addr) int {
	if !peer.IsValid() || peer.IsLoopback() {
		return max(s.most/2, 1)
	}
	return s.perPeer
}

// enter counts a stream in, unless there is no room. Whoever entered leaves.
func (s *streams) enter(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= s.most || s.peers[peer] >= s.mostOf(peer) {
		return false
	}
	s.open++
	s.peers[peer]++
	return true
}

func (s *streams) leave(peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.peers[peer]--; s.peers[peer] == 0 {
		delete(s.peers, peer)
	}
}
