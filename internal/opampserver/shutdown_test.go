// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShutdownClosesEveryWebSocketAndRefusesNewcomers(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	const n = 50
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = r.connect()
		if i%2 == 0 {
			peers[i].requireAlive()
		}
	}
	done := make(chan error)
	go func() { done <- r.Shutdown(context.Background()) }()
	for _, p := range peers {
		assert.Equal(t, "server is shutting down", p.requireClose(closeGoingAway))
	}
	require.NoError(t, <-done)
	assert.Len(t, h.closed, n)
	assert.Zero(t, r.Stats().Connections)

	assert.Equal(t, http.StatusServiceUnavailable, r.dial().request(handshakeRequest+"\r\n").StatusCode)
	assert.Equal(t, http.StatusServiceUnavailable, r.post(encoded(t, message(1))).StatusCode)
	assert.Equal(t, int64(2), r.Stats().Rejected[ReasonShutdown])
}

func TestShutdownOfAnUnusedServer(t *testing.T) {
	s := New(Settings{}, newEcho())
	require.NoError(t, s.Shutdown(context.Background()))
}

func TestShutdownWaitsForExchanges(t *testing.T) {
	h := newEcho()
	inside, leave := make(chan struct{}), make(chan struct{})
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		close(inside)
		<-leave
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{}, h)
	p, body := r.dial(), encoded(t, message(1))
	p.send(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", exchangeHead, len(body), body))
	<-inside
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	r.eventually(func() bool {
		return r.post(body).StatusCode == http.StatusServiceUnavailable
	}, "newcomers are refused")
	assert.Empty(t, done)
	close(leave)
	require.NoError(t, <-done)
	assert.Equal(t, http.StatusOK, p.response().StatusCode)
}

func TestHandlerThatDoesNotReturnCannotHoldShutdown(t *testing.T) {
	h := newEcho()
	inside, leave := make(chan struct{}), make(chan struct{})
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		close(inside)
		<-leave
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{}, h)
	r.connect().report(1)
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, r.Shutdown(ctx), context.Canceled)
	close(leave)
	<-h.closed
}
