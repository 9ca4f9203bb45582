// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

func pending(s Status) (names []string) {
	for _, p := range s.Parts {
		if p.Pending {
			names = append(names, p.Part)
		}
	}
	return names
}

func TestStatusFollowsTheConnection(t *testing.T) {
	onBoth(t, func(b *bubble) {
		all := []string{"agent_description", "health", "effective_config", "available_components", "custom_capabilities"}
		assert.Equal(t, PhaseNotStarted, b.client.Status().Phase)
		assert.Equal(t, all, pending(b.client.Status()))

		start := time.Now()
		var down atomic.Bool
		down.Store(true)
		s := b.serve(opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			if down.Load() {
				w.WriteHeader(http.StatusForbidden)
			}
			return down.Load()
		}})
		time.Sleep(20 * time.Second)
		st := b.client.Status()
		assert.Equal(t, PhaseWaiting, st.Phase)
		assert.Equal(t, start, st.OutageSince)
		assert.Zero(t, st.ConnectedSince)
		assert.Greater(t, st.Attempts, 3)
		assert.True(t, st.NextAttempt.After(time.Now()))
		assert.Equal(t, ReasonUnauthorized, st.LastFailure.Reason)
		assert.Equal(t, "server answered 403 Forbidden", st.LastFailure.Error)
		assert.Zero(t, st.LastMessage)
		assert.Equal(t, all, pending(st))

		down.Store(false)
		time.Sleep(time.Until(st.NextAttempt))
		synctest.Wait()
		up := b.client.Status()
		assert.Equal(t, PhaseConnected, up.Phase)
		assert.Equal(t, st.NextAttempt, up.ConnectedSince, "it came when it said that it would")
		assert.Equal(t, st.NextAttempt, up.LastMessage)
		assert.Zero(t, up.OutageSince)
		assert.Zero(t, up.Attempts)
		assert.Equal(t, st.LastFailure, up.LastFailure, "what went wrong last stays")
		assert.Equal(t, opamptest.Ack(&protobufs.AgentToServer{}).Capabilities, up.ServerCapabilities)
		assert.Empty(t, pending(up))

		down.Store(true)
		s.HangUp()
		b.client.SetHealth(health("StatusPermanentError"))
		synctest.Wait()
		lost := b.client.Status()
		assert.Equal(t, PhaseWaiting, lost.Phase)
		assert.Equal(t, time.Now(), lost.OutageSince)
		assert.Contains(t, pending(lost), "health")

		b.client.Stop(b.t.Context())
		assert.Equal(t, PhaseStopped, b.client.Status().Phase)
		assert.Empty(t, pending(b.client.Status()))
	})
}

func TestStatusOfAServerThatDoesNotAnswer(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		b.serve(opamptest.Script{Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return nil }})
		time.Sleep(time.Minute)
		st := b.client.Status()
		assert.Equal(t, PhaseOpen, st.Phase)
		assert.Equal(t, time.Minute, time.Since(st.OutageSince))
	})
}

func TestStatusCountsWhatWasNotSent(t *testing.T) {
	onBoth(t, func(b *bubble) {
		b.client.SetHealth(health("StatusStopping")) // replaced before it was sent
		b.client.SetHealth(health("StatusStarting"))
		b.client.SetHealth(health("StatusStarting")) // says nothing
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		require.Len(t, s.Rest(), 1)
		b.client.SetHealth(health("StatusOK"))
		synctest.Wait()
		b.client.SetHealth(health("StatusOK"))
		b.client.SetHealth(nil)
		synctest.Wait()
		require.Len(t, s.Rest(), 1)
		assert.Equal(t, PartStatus{Part: "health", Suppressed: 2, Coalesced: 2}, b.client.Status().Parts[partHealth])
		assert.Equal(t, PartStatus{Part: "agent_description"}, b.client.Status().Parts[partDescription])
	})
}

func TestStatusNamesWhatWasRefused(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.RemoteConfig = &protobufs.AgentRemoteConfig{}
			reply.Command = &protobufs.ServerToAgentCommand{}
			return reply
		}})
		time.Sleep(time.Second)
		b.client.SetHealth(health("StatusStopping"))
		synctest.Wait()
		require.Len(t, s.Rest(), 2)
		assert.Equal(t, []RefusedOffer{
			{Offer: "command", Count: 2, Last: time.Now()}, {Offer: "remote_config", Count: 2, Last: time.Now()},
		}, b.client.Status().Refused)
	})
}

func TestTheTextOfAFailureIsBounded(t *testing.T) {
	var b board
	b.troubled(&failure{reason: ReasonNetwork, err: errors.New(strings.Repeat("é", 10_000) + "\xff")}, epoch)
	text := b.status.LastFailure.Error
	assert.LessOrEqual(t, len(text), maxErrorText+len("..."))
	assert.Equal(t, strings.ToValidUTF8(text, ""), text)
}

// partCounts is an Observer of parts.
type partCounts struct {
	NopObserver
	sent, received map[string]int // bytes by part
}

func (p partCounts) Reported(part string, bytes int) { p.sent[part] += bytes }
func (p partCounts) Heard(part string, bytes int)    { p.received[part] += bytes }

func TestPartsAreCountedWithTheirBytes(t *testing.T) {
	onBoth(t, func(b *bubble) {
		offer := &protobufs.AgentRemoteConfig{ConfigHash: make([]byte, 100)}
		reply := &protobufs.ServerToAgent{Flags: 1 << 40, RemoteConfig: offer}
		reply.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		counts := partCounts{sent: map[string]int{}, received: map[string]int{}}
		b.client.set.Observer = counts
		b.serve(opamptest.Script{Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return reply }})
		synctest.Wait()
		b.client.Stop(b.t.Context())
		r := fullReport()
		want := map[string]int{
			"agent_description":    proto.Size(r.Description),
			"health":               proto.Size(r.Health),
			"effective_config":     proto.Size(r.EffectiveConfig),
			"available_components": proto.Size(&protobufs.AvailableComponents{Hash: r.Components.Hash}),
			"custom_capabilities":  proto.Size(r.CustomCapabilities),
			"agent_disconnect":     0,
		}
		assert.Equal(t, want, counts.sent)
		assert.Equal(t, map[string]int{"remote_config": proto.Size(offer), "flags": 6, "unknown": 3}, counts.received)
	})
}
