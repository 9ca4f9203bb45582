// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"runtime"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
)

// A connection that has spoken, and was sent what it did not ask for, leaves one goroutine of ours and none of net/http.
func TestAConnectionAtRestIsOneGoroutine(t *testing.T) {
	const n = 100
	h := newEcho()
	r := newRig(t, Settings{}, h)
	before := runtime.NumGoroutine()
	for range n {
		p := r.connect()
		p.requireAlive()
		id := h.peers()[len(h.peers())-1].ID
		require.NoError(t, r.Send(id, &protobufs.ServerToAgent{InstanceUid: agentUID.Bytes()}))
		p.reply()
	}
	const waiting = 1 // of the test itself, for this condition
	r.eventually(func() bool { return runtime.NumGoroutine() <= before+n+waiting }, "%d connections", n)
}
