// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// saidAgain writes down what was said, and reads it into an agent that nothing was said by.
func saidAgain(t *testing.T, a *Agent, now time.Time) *Agent {
	t.Helper()
	raw, err := a.MarshalSaid()
	require.NoError(t, err)
	back := roundTrip(t, a)
	require.Empty(t, back.Channels)
	require.NoError(t, back.RestoreSaid(raw, now))
	return back
}

func TestWhatWasSaidIsRestored(t *testing.T) {
	at := time.Unix(1_700_000_000, 5).UTC()
	a := &Agent{
		UID: scenarioUID("a"), FirstSeen: at, LastSeen: at, LivenessSince: at,
		Channels: []*Channel{
			{Capability: "a.b", Received: 7, Sent: 2, Last: []*Message{
				{N: 9, Capability: "a.b", Type: "t", Direction: DirectionReceived, Fate: MessageReceived, At: at, Size: 9, Data: []byte("line\ntwo…")[:8]},
				{N: 8, Capability: "a.b", Direction: DirectionReceived, Fate: MessageReceived, At: at, Data: []byte{}},
			}},
			{Capability: "c.d", Received: 1},
		},
		Ingests: []*Ingest{{
			Progress: ingestprogress.Progress{Receiver: "aws_s3", TelemetryType: "logs", State: ingestprogress.StateCompleted, Percent: 100, Failures: map[string]uint64{"decode": 3}, Error: "no\nspace"},
			Detailed: true, Since: at, Heard: at.Add(time.Hour), from: 17,
		}},
		Gateways: []*Gateway{{
			Status: gatewaystatus.Status{Gateway: "opamp_gateway", Agents: 3, Upstreams: []gatewaystatus.Upstream{{Name: "u"}}, Drops: map[string]uint64{"x": 1}},
			Told:   true, Heard: at,
		}},
	}
	back := saidAgain(t, a, at.Add(time.Minute))
	a.Channels[0].Last[0].Data = []byte("line\ntwo") // a character that is not all there is left out
	assert.Equal(t, a.Channels, back.Channels)
	assert.Equal(t, a.Ingests, back.Ingests)
	assert.Equal(t, a.Gateways, back.Gateways)
	assert.NotZero(t, back.Said(), "what is not in another store has to be written there")

	raw, err := new(Agent).MarshalSaid()
	require.NoError(t, err)
	assert.Empty(t, raw, "who said nothing takes no room")
}

// Nobody has looked for secrets in what is no text, or what a person sends.
func TestWhatNobodyHasCleanedIsNotWrittenDown(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	a := &Agent{UID: scenarioUID("a")}
	a.keep(&Message{Capability: "c", Direction: DirectionReceived, Fate: MessageReceived, At: at, Size: 7, Data: []byte("\x00secret")})
	a.keep(&Message{Capability: "c", Direction: DirectionSent, Fate: MessageDelivered, At: at, Size: 6, Data: []byte("secret")})
	a.Mail = []*Letter{{Message: Message{Capability: "m", Type: "t", Direction: DirectionSent, Fate: MessageQueued, At: at, Size: 6, Data: []byte("secret")}, Expires: at.Add(time.Hour)}}
	raw, err := a.MarshalSaid()
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "secret")
	assert.NotContains(t, string(raw), "c2VjcmV0")

	back := saidAgain(t, a, at.Add(time.Minute))
	require.Len(t, back.Channels, 2)
	for _, m := range back.Channels[0].Last {
		assert.Empty(t, m.Data)
		assert.True(t, m.Truncated())
	}
	lost := back.Channels[1].Last[0]
	assert.Equal(t, Message{
		N: 1, Capability: "m", Type: "t", Direction: DirectionSent, Fate: MessageExpired, At: at.Add(time.Minute), Size: 6, Data: []byte{},
	}, *lost, "what waited for a poll is not lost in silence")
	assert.Empty(t, back.Mail)
}

func TestWhatIsNotWhatWasSaidIsRefused(t *testing.T) {
	for _, raw := range []string{"", "[]", `{"channels":3}`} {
		require.ErrorIs(t, new(Agent).RestoreSaid([]byte(raw), testNow), ErrNotSaved, raw)
	}
	var many strings.Builder
	many.WriteString(`{"channels":[{"capability":"x"}`)
	for range 2 * maxChannels {
		many.WriteString(`,{"capability":"x"}`)
	}
	many.WriteString("]}")
	a := new(Agent)
	require.NoError(t, a.RestoreSaid([]byte(many.String()), testNow))
	assert.Len(t, a.Channels, maxChannels)
}

func TestSaidGrowsWithWhatIsSaid(t *testing.T) {
	f := New(Settings{})
	said := func() uint64 {
		a, ok := f.Agent(scenarioUID("a"))
		require.True(t, ok)
		return a.Said()
	}
	f.Report(testConn, reportOf("a", fullReport(0)), testNow)
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 1}), testNow)
	require.Zero(t, said(), "nothing was said")
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 2, CustomMessage: &protobufs.CustomMessage{Capability: "x"}}), testNow)
	first := said()
	require.NotZero(t, first)
	f.Posted(scenarioUID("a"), Posting{Capability: "x"}, testNow)
	require.Greater(t, said(), first)
}

// A message that is too big to be looked at in whole, or that only begins as a text, is cleaned as far as it is kept.
func TestTheBeginningOfABigMessageIsCleaned(t *testing.T) {
	const secret = secretToken
	for name, data := range map[string][]byte{
		"small":              []byte("it is " + secret + "."),
		"big":                []byte("it is " + secret + "." + strings.Repeat(" more", maxCleanText)),
		"a little too big":   []byte("it is " + secret + "." + strings.Repeat("é", (maxCleanText-len("it is "+secret+"."))/2+1)),
		"text, then no text": append([]byte("it is "+secret+"."+strings.Repeat(" more", maxMessageData/5)), 0xff),
		"text, then a byte":  []byte("it is " + secret + ".\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			f := redacting(t, Limits{})
			full := fullReport(0)
			full.EffectiveConfig = scenarioConfig(secretConfig(secret))
			f.Report(testConn, reportOf("a", full), testNow)
			f.Report(testConn, reportOf("a", &protobufs.AgentToServer{
				SequenceNum: 1, CustomMessage: &protobufs.CustomMessage{Capability: "x", Data: bytes.Clone(data)},
			}), testNow)
			a, _ := f.Agent(scenarioUID("a"))
			m := a.Channel("x").Last[0]
			assert.NotContains(t, string(m.Data), secret)
			assert.Contains(t, string(m.Data), "it is")
		})
	}
}
