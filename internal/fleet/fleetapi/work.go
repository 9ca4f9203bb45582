// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"net/http"
	"sync/atomic"
)

// work bounds the questions that look at all agents, so that no crowd of them takes the cores from the agents. It is
// safe for concurrent use.
type work struct {
	slots   chan struct{} // full of what is being done
	most    int64         // fixed at construction; who may wait
	waiting atomic.Int64
}

// waitersPerSearch is how many may wait for each that is answered.
const waitersPerSearch = 32

func newWork(slots int) *work {
	return &work{slots: make(chan struct{}, slots), most: int64(slots) * waitersPerSearch}
}

// enter waits for a slot. It answers the request itself, and returns false, if there is none: too many wait, or the
// client has gone. Whoever entered leaves.
func (k *work) enter(w http.ResponseWriter, r *http.Request) (leave func(), ok bool) {
	leave = func() { <-k.slots }
	select {
	case k.slots <- struct{}{}:
		return leave, true
	default:
	}
	if k.waiting.Add(1) > k.most {
		k.waiting.Add(-1)
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "busy", "too many searches wait to be answered; ask again in a second")
		return nil, false
	}
	defer k.waiting.Add(-1)
	select {
	case k.slots <- struct{}{}:
		return leave, true
	case <-r.Context().Done():
		fail(w, http.StatusServiceUnavailable, "busy", "the client did not wait")
		return nil, false
	}
}
