// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

const (
	acceptsStatus = uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus)
	acceptsConfig = acceptsStatus | uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)
)

func TestServerIsToldWhatItAccepts(t *testing.T) {
	st := newState(fullReport())
	s := session{maxSend: math.MaxInt}
	changed := func(body string) func() []drop {
		return func() []drop {
			setPart(&st, partEffectiveConfig, config(body))
			return nil
		}
	}
	says := func(c uint64) func() []drop { return func() []drop { return s.declare(c, st) } }
	steps := []struct {
		name string
		do   func() []drop
		lost []drop
		want string
	}{
		{"nothing is known yet", says(0), nil, everything},
		{"it says nothing", says(0), nil, "nothing"},
		{"so a change goes out", changed("a: 1"), nil, "config"},
		{"it has no use for the config", says(acceptsStatus), []drop{{"effective_config", ReasonNotAccepted}}, "nothing"},
		{"a change stays here", changed("a: 2"), nil, "nothing"},
		{"silence is no change", says(0), nil, "nothing"},
		{"all that it accepts when asked", func() []drop { s.wantFull = true; return nil }, nil, "description health=StatusOK components+ custom"},
		{"undefined bits", says(acceptsStatus | 1<<40), nil, "nothing"},
		{"now it has use for it", says(acceptsConfig), nil, "config"},
		{"and is told once", says(acceptsConfig), nil, "nothing"},
		{"none at all", says(1 << 50), []drop{{"effective_config", ReasonNotAccepted}}, "nothing"},
		{"another connection knows nothing of this one", func() []drop { s.begin(); return nil }, nil, everything},
		{"another name on this one does", func() []drop {
			lost := s.declare(acceptsStatus, st)
			s.forget()
			return lost
		}, []drop{{"effective_config", ReasonNotAccepted}}, "description health=StatusOK components custom"},
	}
	for i, step := range steps {
		require.Equal(t, step.lost, step.do(), step.name)
		out, _ := s.next(st, epoch.Add(time.Duration(i)*time.Minute))
		require.Equal(t, step.want, told(out.msg), step.name)
	}
	now := epoch.Add(time.Hour)
	s.declare(acceptsConfig, st)
	out, _ := s.next(st, now)
	require.Equal(t, "config", told(out.msg))
	s.declare(acceptsStatus, st)
	s.declare(acceptsConfig, st)
	out, wait := s.next(st, now.Add(100*time.Millisecond))
	assert.Equal(t, "nothing", told(out.msg), "a server that changes its mind all the time")
	assert.Equal(t, 900*time.Millisecond, wait)
	out, _ = s.next(st, now.Add(time.Second))
	assert.Equal(t, "config", told(out.msg))

	s.server = acceptsStatus
	setPart(&st, partEffectiveConfig, config("a: 3"))
	assert.Equal(t, "disconnect", told(s.goodbye(st).msg), "not even at the end")
}

func TestServerCapabilitiesAreRespectedWhileTheyLast(t *testing.T) {
	onBoth(t, func(b *bubble) {
		var capabilities atomic.Uint64
		capabilities.Store(acceptsStatus)
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Capabilities: capabilities.Load()}
		}})
		synctest.Wait()
		require.Equal(t, []string{everything}, tellings(s.Rest()))

		b.client.SetEffectiveConfig(config("receivers: {otlp: {}}"))
		time.Sleep(time.Minute + time.Second)
		assert.Equal(t, []string{"", ""}, tellings(s.Rest()), "heartbeats, no configuration")
		assert.Equal(t, map[drop]int{{"effective_config", ReasonNotAccepted}: 1}, b.seen.now().drops)

		capabilities.Store(acceptsConfig)
		time.Sleep(30 * time.Second)
		assert.Equal(t, []string{"", "config"}, tellings(s.Rest()), "as soon as it has said so")
	})
}
