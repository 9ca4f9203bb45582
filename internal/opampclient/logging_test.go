// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// busyPause is the time between two changes of a busy agent.
const busyPause = 5 * time.Second

// busy gives the agent something to say for an hour.
func (b *bubble) busy() {
	for i := range int(time.Hour / busyPause) {
		b.client.SetHealth(health([]string{"StatusOK", "StatusRecoverableError"}[i%2]))
		time.Sleep(busyPause)
	}
}

// requireQuiet proves that no line came twice within a minute, and shows the lines.
func (b *bubble) requireQuiet() {
	b.t.Helper()
	last := map[string]time.Time{}
	count := map[string]int{}
	for _, e := range b.logs.All() {
		kind := fmt.Sprint(e.Level, " ", e.Message, " ", e.ContextMap()["offer"], e.ContextMap()["part"])
		if at, again := last[kind]; again && !strings.Contains(kind, "answers again") { // as often as it was lost
			assert.GreaterOrEqual(b.t, e.Time.Sub(at), time.Minute, kind)
		}
		last[kind] = e.Time
		count[kind]++
	}
	assert.NotEmpty(b.t, count)
	for kind, n := range count {
		b.t.Logf("%3d in an hour: %s", n, strings.ReplaceAll(kind, " <nil>", ""))
	}
}

// A busy agent and an hour of each kind of trouble.
func TestAnHourOfTroubleIsALineAMinuteAtMost(t *testing.T) {
	replying := func(f func(reply *protobufs.ServerToAgent)) hostile {
		return func(*bubble) opamptest.Script {
			return opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				f(reply)
				return reply
			}}
		}
	}
	failsEveryOther := func(*bubble) opamptest.Script {
		var n int
		return opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			if n++; n%2 == 0 {
				w.WriteHeader(http.StatusBadGateway)
			}
			return n%2 == 0
		}}
	}
	trouble := map[string]struct {
		schemes []string
		server  hostile
		most    int // lines in the hour
	}{
		"nobody answers":         {bothTransports, refusing(502), 1},
		"unauthorized":           {bothTransports, refusing(401), 1},
		"throttled":              {bothTransports, refusing(429, "Retry-After", "1"), 1},
		"closes what it accepts": {[]string{"ws"}, closing(func(c *websocket.Conn) { _ = c.CloseNow() }), 1},
		"text frames only":       {[]string{"ws"}, chatter, 1},
		"no OpAMP":               {[]string{"http"}, closingBody, 1},
		"unavailable":            {bothTransports, failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable), 1},
		"rejects every message":  {bothTransports, failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest), 1 + 61},
		"unknown errors":         {bothTransports, failing(99), 1 + 61},
		"fails every other time": {[]string{"http"}, failsEveryOther, 1 + 61},
		"answers once, and ends": {[]string{"ws"}, answersAndEnds, 1 + 61},
		"renames with each": {bothTransports, replying(func(r *protobufs.ServerToAgent) {
			r.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
		}), 1 + 61},
		"offers all it can": {bothTransports, replying(func(r *protobufs.ServerToAgent) {
			r.RemoteConfig, r.Command, r.PackagesAvailable = &protobufs.AgentRemoteConfig{}, &protobufs.ServerToAgentCommand{}, &protobufs.PackagesAvailable{}
			r.ConnectionSettings = &protobufs.ConnectionSettingsOffers{
				Opamp:            &protobufs.OpAMPConnectionSettings{DestinationEndpoint: "ws://elsewhere", HeartbeatIntervalSeconds: math.MaxUint64},
				OwnMetrics:       &protobufs.TelemetryConnectionSettings{},
				OwnTraces:        &protobufs.TelemetryConnectionSettings{},
				OwnLogs:          &protobufs.TelemetryConnectionSettings{},
				OtherConnections: map[string]*protobufs.OtherConnectionSettings{"x": {}},
			}
		}), 1 + 8*61},
		"asks, and sends custom messages": {bothTransports, replying(func(r *protobufs.ServerToAgent) {
			r.Flags = math.MaxUint64
			r.CustomMessage = &protobufs.CustomMessage{Capability: "x"}
		}), 1 + 61},
	}
	for name, tt := range trouble {
		for _, scheme := range tt.schemes {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				inBubble(t, scheme, func(b *bubble) {
					b.serve(tt.server(b))
					b.busy()
					b.requireQuiet()
					assert.LessOrEqual(t, len(lines(b.logs)), tt.most, "%q", lines(b.logs))
				})
			})
		}
	}
}

// chatter answers each message with a word.
func chatter(b *bubble) opamptest.Script {
	return opamptest.Script{Accepted: func(c *websocket.Conn) bool {
		for {
			if _, _, err := c.Read(b.t.Context()); err != nil {
				return false
			}
			if err := c.Write(b.t.Context(), websocket.MessageText, []byte("hello")); err != nil {
				return false
			}
		}
	}}
}

// answersAndEnds is a server that is there for one message.
func answersAndEnds(b *bubble) opamptest.Script {
	return opamptest.Script{Accepted: func(c *websocket.Conn) bool {
		if _, _, err := c.Read(b.t.Context()); err == nil {
			_ = c.Write(b.t.Context(), websocket.MessageBinary, []byte{0})
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
		return false
	}}
}

// A report that does not fit is left out with a line a minute.
func TestAnHourOfReportsTooLargeIsALineAMinute(t *testing.T) {
	onBoth(t, func(b *bubble) {
		b.client.set.MaxSend, b.client.session.maxSend = 1000, 1000
		b.serve(opamptest.Script{})
		const changes = int(time.Hour / busyPause)
		for i := range changes {
			b.client.SetEffectiveConfig(config(strings.Repeat(fmt.Sprint(i%10), 5000)))
			time.Sleep(busyPause)
		}
		b.requireQuiet()
		assert.LessOrEqual(t, len(lines(b.logs)), 1+61)
		assert.GreaterOrEqual(t, b.seen.now().drops[drop{"effective_config", ReasonTooLarge}], changes)
	})
}
