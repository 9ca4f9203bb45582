// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

func messageReport(capability, kind string, data []byte) *protobufs.AgentToServer {
	return reportOf("a", &protobufs.AgentToServer{
		CustomMessage: &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data},
	})
}

func theAgent(t *testing.T, f *Fleet) *Agent {
	t.Helper()
	a, ok := f.Agent(scenarioUID("a"))
	require.True(t, ok)
	return a
}

// A flood of messages, of more capabilities than anybody has, takes no more memory than a few, and wakes nobody more
// often than once a second.
func TestFloodOfMessagesIsBounded(t *testing.T) {
	f := New(Settings{})
	now := testNow
	data := bytes.Repeat([]byte("x"), maxMessageData+1)
	before := f.Position().Version
	const seconds, each = 20, 2000
	for s := range seconds {
		for i := range each {
			now = now.Add(time.Second / each)
			capability := fmt.Sprintf("com.example.%d", (s*each+i)%(10*maxChannels))
			f.Report(testConn, messageReport(capability, "t", data), now)
		}
		f.Tick(now)
	}
	a := theAgent(t, f)
	assert.LessOrEqual(t, len(a.Channels), maxChannels)
	assert.LessOrEqual(t, a.messageData(), maxAllData)
	assert.Less(t, a.own, int64(256<<10))
	assert.Equal(t, weigh(f), f.Stats().Memory)
	assert.LessOrEqual(t, f.Position().Version-before, uint64(seconds+2))
	assert.Equal(t, uint64(seconds*each), f.Stats().Messages[MessageReceived])
	assert.Equal(t, uint64(seconds*each), f.Stats().Cuts[CutMessageData])
	for _, c := range a.Channels {
		assert.LessOrEqual(t, len(c.Last), maxLast)
	}
}

func TestHugeMessageLeavesItsBeginning(t *testing.T) {
	f := New(Settings{})
	huge := bytes.Repeat([]byte("x"), 64<<20)
	f.Report(testConn, messageReport(ingestprogress.Capability, ingestprogress.TypeProgress, huge), testNow)
	f.Report(testConn, messageReport(ingestprogress.Capability, ingestprogress.TypeStatus, huge), testNow)
	f.Report(testConn, messageReport(strings.Repeat("c", 1<<20), strings.Repeat("t", 1<<20), nil), testNow)
	a := theAgent(t, f)
	assert.Empty(t, a.Ingests)
	m := a.Channel(ingestprogress.Capability).Last[0]
	assert.Equal(t, len(huge), m.Size)
	assert.Len(t, m.Data, maxMessageData)
	assert.True(t, m.Truncated())
	assert.Equal(t, maxMessageData, cap(m.Data), "the rest can go")
	assert.Less(t, a.own, int64(32<<10))
	assert.Equal(t, uint64(2), f.Stats().Cuts[CutIngest])
}

func TestCapabilitiesWithoutEndAreCut(t *testing.T) {
	f := New(Settings{})
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprint("com.example.", i)
	}
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: names},
	}), testNow)
	assert.Len(t, theAgent(t, f).CustomCapabilities, f.settings.Limits.MaxAttributes)
}

// Replays without end: what runs is kept before what is over, and the newest before the oldest.
func TestIngestsAreBounded(t *testing.T) {
	f := New(Settings{})
	say := func(i int, state ingestprogress.State) {
		now := testNow.Add(time.Duration(i) * time.Second)
		words := []string{fmt.Sprintf("aws_s3/%03d", i), "logs", string(state), "5", "1", "1"}
		f.Report(testConn, reportOf("a", &protobufs.AgentToServer{CustomMessage: progressMessage(t, words)}), now)
	}
	for i := range maxIngests / 2 {
		say(i, ingestprogress.StateIngesting)
	}
	for i := range 3 * maxIngests {
		say(100+i, ingestprogress.StateCompleted)
	}
	a := theAgent(t, f)
	require.Len(t, a.Ingests, maxIngests)
	assert.Equal(t, "aws_s3/000", a.Ingests[0].Receiver)
	assert.Equal(t, fmt.Sprintf("aws_s3/%03d", 100+3*maxIngests-1), a.Ingests[maxIngests-1].Receiver)
	for i := range 2 * maxIngests {
		say(500+i, ingestprogress.StateRetrying)
	}
	a = theAgent(t, f)
	require.Len(t, a.Ingests, maxIngests)
	assert.Equal(t, "aws_s3/532", a.Ingests[0].Receiver)
	assert.Equal(t, weigh(f), f.Stats().Memory)
}

// What is handed out never changes, whatever is said next.
func TestSnapshotsOfMessagesAreImmutable(t *testing.T) {
	f := New(Settings{})
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"c"}},
	}), testNow)
	texts := func(a *Agent) string {
		var b strings.Builder
		for _, c := range a.Channels {
			fmt.Fprintln(&b, c.Capability, c.Received, c.Sent)
			for _, m := range c.Last {
				fmt.Fprintln(&b, m.Type, m.Fate, string(m.Data))
			}
		}
		for _, l := range a.Mail {
			fmt.Fprintln(&b, l.Type)
		}
		for _, in := range a.Ingests {
			fmt.Fprintln(&b, in.Receiver, in.Percent, in.Heard)
		}
		return b.String()
	}
	polls := Conn{Transport: TransportHTTP}
	var seen []*Agent
	var were []string
	for i := range 60 {
		now := testNow.Add(time.Duration(i) * time.Second)
		data := []byte(fmt.Sprint(i))
		f.Report(polls, messageReport(fmt.Sprint("c", i%3), "t", data), now)
		f.Report(polls, reportOf("a", &protobufs.AgentToServer{CustomMessage: progressMessage(t,
			[]string{fmt.Sprint("r", i%4), "logs", "ingesting", fmt.Sprint(i), "1", fmt.Sprint(i)})}), now)
		if i%2 == 0 {
			_, err := f.Post(scenarioUID("a"), Posting{Capability: "c", Type: fmt.Sprint(i)}, now)
			require.NoError(t, err)
		}
		f.Tick(now)
		a := theAgent(t, f)
		seen, were = append(seen, a), append(were, texts(a))
	}
	for i, a := range seen {
		require.Equal(t, were[i], texts(a))
	}
	assert.Equal(t, weigh(f), f.Stats().Memory)
}

func TestWhatCannotBePosted(t *testing.T) {
	f := New(Settings{})
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"c"}},
	}), testNow)
	for _, tt := range []struct {
		p    Posting
		want error
	}{
		{Posting{Capability: "c", Type: strings.Repeat("t", MaxPostType+1)}, ErrBadPost},
		{Posting{Capability: "c", Type: "\xff"}, ErrBadPost},
		{Posting{}, ErrBadPost},
		{Posting{Capability: "c", Data: make([]byte, MaxPostBytes+1)}, ErrPostTooLarge},
		{Posting{Capability: "d"}, ErrNotAnnounced},
	} {
		_, err := f.Post(scenarioUID("a"), tt.p, testNow)
		require.ErrorIs(t, err, tt.want)
	}
	_, err := f.Post(scenarioUID("a"), Posting{Capability: "c", Data: make([]byte, MaxPostBytes)}, testNow)
	require.NoError(t, err)
	assert.Equal(t, uint64(5), f.Stats().Messages[MessageRefused])
}

// All agents together are sent to no faster than the pace of all.
func TestMessagesToAllArePaced(t *testing.T) {
	f := New(Settings{})
	for i := range 100 {
		f.Report(Conn{Transport: TransportHTTP}, reportOf(fmt.Sprint(i), &protobufs.AgentToServer{
			CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"c"}},
		}), testNow)
	}
	sent, refused := 0, 0
	for range 5 {
		for i := range 100 {
			if _, err := f.Post(scenarioUID(fmt.Sprint(i)), Posting{Capability: "c"}, testNow); err == nil {
				sent++
			} else {
				require.ErrorIs(t, err, ErrTooManyPosts)
				refused++
			}
		}
	}
	assert.InDelta(t, postsToAll.burst, sent, 0)
	assert.Positive(t, refused)
	for i := range 100 { // who is forgotten leaves no mail behind
		f.forgetLocked(f.agents[scenarioUID(fmt.Sprint(i))])
	}
	assert.Zero(t, f.Stats().Memory)
	assert.Nil(t, f.mailed.head)
	f.Tick(testNow.Add(time.Hour))
}

func TestTextOfAMessage(t *testing.T) {
	for _, tt := range []struct {
		data string
		size int
		want string
		ok   bool
	}{
		{"", 0, "", true},
		{"{\"a\":\t1}\r\n", 10, "{\"a\":\t1}\r\n", true},
		{"é€😀", 9, "é€😀", true},
		{"é€\xf0\x9f\x98", 8, "", false},
		{"é€\xf0\x9f\x98", 99, "é€", true}, // cut within a character
		{"é\xf0", 99, "é", true},
		{"\xff\xff\xff\xff\xff", 99, "", false},
		{"a\x00b", 3, "", false},
		{"\x1b[31m", 5, "", false},
		{"a\u0085b", 4, "", false},
	} {
		m := &Message{Data: []byte(tt.data), Size: tt.size}
		text, ok := m.Text()
		assert.Equal(t, tt.ok, ok, "%q", tt.data)
		assert.Equal(t, tt.want, text, "%q", tt.data)
	}
}
