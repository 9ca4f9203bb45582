// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// custom is a message that says text.
func custom(text string) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid:   agentUID.Bytes(),
		CustomMessage: &protobufs.CustomMessage{Capability: "io.example", Type: "t", Data: []byte(text)},
	}
}

// customOf is a message of exactly size bytes.
func customOf(t *testing.T, size int) *protobufs.ServerToAgent {
	t.Helper()
	msg := custom(strings.Repeat("x", size-50))
	for proto.Size(msg) < size {
		msg.CustomMessage.Data = append(msg.CustomMessage.Data, 'x')
	}
	require.Equal(t, size, proto.Size(msg))
	return msg
}

// said is the text of the next message, which must be one of custom.
func (p *peer) said() string {
	p.t.Helper()
	msg := p.reply()
	require.NotNil(p.t, msg.GetCustomMessage())
	return string(msg.GetCustomMessage().GetData())
}

// only is the id of the one connection that has spoken.
func only(h *echo) uint64 {
	peers := h.peers()
	return peers[len(peers)-1].ID
}

func TestSendReachesAPeerThatDidNotAsk(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	p.requireAlive()
	before := r.Stats().WebSocketSent
	for i := range 100 {
		require.NoError(t, r.Send(only(h), custom(fmt.Sprint(i))))
	}
	for i := range 100 {
		assert.Equal(t, fmt.Sprint(i), p.said(), "in their order")
	}
	p.requireAlive()
	after := r.Stats()
	assert.Equal(t, int64(101), after.WebSocketSent.Messages-before.Messages)
	assert.Greater(t, after.WebSocketSent.Bytes-before.Bytes, int64(100*proto.Size(custom("1"))))
	r.eventually(func() bool { return r.Stats().UnsentBytes == 0 }, "nothing waits")
}

func TestSendFromWithinAHandler(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		assert.NoError(t, r.Send(only(h), custom("unasked")))
		return acknowledgement(msg)
	}
	p := r.connect()
	p.report(1)
	first, second := p.reply(), p.reply()
	assert.NotEqual(t, first.GetCustomMessage() == nil, second.GetCustomMessage() == nil, "the reply and the message, in any order")
}

func TestEncodedMessageIsPassedOnAsItIs(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	p.requireAlive()
	encoded, err := proto.Marshal(custom("x"))
	require.NoError(t, err)
	encoded = protowire.AppendString(protowire.AppendTag(encoded, 2000, protowire.BytesType), "of a later version")
	kept := append([]byte(nil), encoded...)
	require.NoError(t, r.SendEncoded(only(h), encoded))
	for i := range encoded {
		encoded[i] = 0xff // it is the caller's again
	}
	op, payload, err := p.readFrame()
	require.NoError(t, err)
	assert.Equal(t, opBinary, op)
	assert.Equal(t, append([]byte{0}, kept...), payload)
}

// Many senders, a peer that reports all the while, and messages of very different sizes: each
// frame arrives whole, and each sender's messages in order.
func TestRepliesAndMessagesNeverInterleave(t *testing.T) {
	const senders, each, reports = 8, 60, 300
	h := newEcho()
	r := newRig(t, Settings{MaxUnsentBytes: 64 << 20, MaxUnsentMessages: senders * each}, h)
	p := r.connect()
	p.requireAlive()
	id := only(h)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d %d %s", s, i, strings.Repeat("x", i*i*20))
				assert.NoError(t, r.Send(id, custom(text)))
			}
		})
	}
	all.Go(func() {
		beat := frame(true, opBinary, framed(t, message(1)))
		for range reports {
			if _, err := p.Write(beat); err != nil {
				return
			}
		}
	})
	var next [senders]int
	replies := 0
	for range senders*each + reports {
		msg := p.reply()
		if msg.GetCustomMessage() == nil {
			replies++
			continue
		}
		var s, i int
		_, err := fmt.Sscan(string(msg.GetCustomMessage().GetData()), &s, &i)
		require.NoError(t, err)
		require.Equal(t, next[s], i)
		next[s]++
	}
	all.Wait()
	assert.Equal(t, reports, replies)
}

func TestSendToNobody(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	require.ErrorIs(t, r.Send(4711, custom("x")), ErrNotConnected)

	require.Equal(t, 200, r.post(encoded(t, message(1))).StatusCode)
	require.ErrorIs(t, r.Send(only(h), custom("x")), ErrNotConnected, "an exchange is no connection")

	p := r.connect()
	p.requireAlive()
	id := only(h)
	require.NoError(t, p.Close())
	assert.Equal(t, id, (<-h.closed).ID)
	require.ErrorIs(t, r.SendEncoded(id, nil), ErrNotConnected)
	assert.Equal(t, int64(3), r.Stats().Rejected[ReasonNotConnected])
}

func TestSizesThatCanBeSent(t *testing.T) {
	h := newEcho()
	const limit = 10_000
	r := newRig(t, Settings{MaxMessageSize: limit, MaxUnsentBytes: 100}, h)
	p := r.connect()
	p.requireAlive()
	require.NoError(t, r.Send(only(h), customOf(t, limit)), "one may wait, whatever its size")
	p.said()
	require.ErrorIs(t, r.Send(only(h), customOf(t, limit+1)), ErrMessageTooLarge)
	require.ErrorIs(t, r.SendEncoded(only(h), make([]byte, limit+1)), ErrMessageTooLarge)
	require.Error(t, r.Send(only(h), &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Type: "\xff"}}))
	assert.Equal(t, int64(3), r.Stats().Rejected[ReasonReply])
	p.requireAlive()
}

func TestQueueOfAPeerThatDoesNotReadIsBounded(t *testing.T) {
	tests := map[string]struct {
		settings Settings
		agents   int // that the peer speaks for; 0: it has not said
		accepted int
	}{
		// One message is being written besides those that wait.
		"count":         {Settings{MaxUnsentMessages: 3}, 0, 4},
		"count_of_one":  {Settings{MaxUnsentMessages: 3}, 1, 4},
		"count_of_four": {Settings{MaxUnsentMessages: 3}, 4, 13},
		"bytes":         {Settings{MaxUnsentBytes: 1000}, 0, 3},
		"bytes_of_four": {Settings{MaxUnsentBytes: 1000}, 4, 12},
		"bytes_of_many": {Settings{MaxUnsentBytes: 1000, MaxAllUnsentBytes: 8000}, 1000, 6},
		"all_of_them":   {Settings{MaxAllUnsentBytes: 1000}, 0, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.InfoLevel)
				tt.settings.Logger = zap.New(core)
				r := newPipeRig(t, tt.settings)
				r.requireAlive()
				id := only(r.handler)
				r.connection(id).Share(tt.agents)
				for range tt.accepted {
					require.NoError(t, r.Send(id, customOf(t, 300)))
					synctest.Wait() // the writer has taken it, or waits for the peer
				}
				require.ErrorIs(t, r.Send(id, customOf(t, 300)), ErrQueueFull)
				assert.Zero(t, time.Since(r.started), "nobody was kept waiting")
				assert.Equal(t, int64(tt.accepted)*(maxOutHeader+messageHeader+300), r.Stats().UnsentBytes)

				<-r.ended
				assert.Equal(t, 10*time.Second, time.Since(r.started), "as for a reply that is not read")
				stats := r.Stats()
				assert.Equal(t, int64(1), stats.Rejected[ReasonQueueFull])
				assert.Equal(t, int64(1), stats.Rejected[ReasonWriteTimeout])
				assert.Equal(t, int64(tt.accepted), stats.Rejected[ReasonUnsent])
				assert.Zero(t, stats.UnsentBytes)
				assert.Len(t, r.handler.closed, 1)
				require.ErrorIs(t, r.Send(id, custom("x")), ErrNotConnected)
				assert.Len(t, logs.FilterMessage("did not send a message to an OpAMP peer").All(), 1)
				_ = r.Conn.Close()
			})
		})
	}
}

// Half of a frame is out when the writer gives up: whatever followed would be read as the rest of it.
func TestNothingFollowsAPartOfAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		require.NoError(t, r.Send(only(r.handler), customOf(t, 300)))
		part := make([]byte, 100)
		_, err := io.ReadFull(r.Conn, part)
		require.NoError(t, err)
		r.report(2) // run waits for its turn to answer
		<-r.ended
		assert.Equal(t, 10*time.Second, time.Since(r.started))
		rest, err := io.ReadAll(r.Conn)
		require.NoError(t, err)
		assert.Empty(t, rest)
		stats := r.Stats()
		assert.Equal(t, int64(1), stats.Rejected[ReasonWriteTimeout])
		assert.Equal(t, int64(1), stats.Rejected[ReasonUnsent])
		_ = r.Conn.Close()
	})
}

// While a peer reads slowly, its replies and its messages take turns.
func TestNeitherSideKeepsTheOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		for range 50 {
			require.NoError(t, r.Send(only(r.handler), custom("x")))
		}
		var reports sync.WaitGroup
		reports.Go(func() {
			for range 20 {
				r.report(2)
			}
		})
		replies, lastReply := 0, 0
		for i := range 70 {
			if r.peer.reply().GetCustomMessage() == nil {
				replies, lastReply = replies+1, i
			}
			synctest.Wait()
		}
		reports.Wait()
		assert.Equal(t, 20, replies)
		assert.Less(t, lastReply, 60, "the replies did not wait for all messages")
		require.NoError(t, r.Conn.Close())
		<-r.ended
	})
}

func TestShutdownDoesNotWaitForAPeerThatDoesNotReadItsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		for range 5 {
			require.NoError(t, r.Send(only(r.handler), custom("x")))
		}
		synctest.Wait()
		require.NoError(t, r.Shutdown(context.Background()))
		assert.Equal(t, 500*time.Millisecond, time.Since(r.started))
		<-r.ended
		assert.Equal(t, int64(5), r.Stats().Rejected[ReasonUnsent])
		assert.Zero(t, r.Stats().Rejected[ReasonWriteTimeout], "it is we who leave")
		_ = r.Conn.Close()
	})
}

func TestNothingFollowsACloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		r.send(frame(true, opText, []byte("{}")))
		synctest.Wait() // the Close frame is being written
		err := r.Send(only(r.handler), custom("x"))
		require.ErrorIs(t, err, ErrNotConnected)
		op, _, err := r.readFrame()
		require.NoError(t, err)
		assert.Equal(t, opClose, op)
		<-r.ended
		_, _, err = r.readFrame()
		require.ErrorIs(t, err, io.EOF)
		_ = r.Conn.Close()
	})
}

// Connections come and go while they are sent to; nothing is left behind, and each message is
// either read or counted.
func TestSendDuringConnectAndClose(t *testing.T) {
	const rounds, each = 40, 30
	h := newEcho()
	r := newRig(t, Settings{}, h)
	read, refused := 0, 0
	for range rounds {
		p := r.connect()
		p.requireAlive()
		id := only(h)
		var sender sync.WaitGroup
		failed := 0
		sender.Go(func() {
			for range each {
				if r.Send(id, custom("x")) != nil {
					failed++
				}
			}
		})
		for range each / 3 {
			p.said()
			read++
		}
		_ = p.Close()
		sender.Wait()
		refused += failed
		<-h.closed
	}
	assert.Zero(t, r.Stats().UnsentBytes)
	stats := r.Stats()
	assert.Equal(t, int64(refused), stats.Rejected[ReasonNotConnected])
	written := stats.WebSocketSent.Messages - rounds // without the replies
	assert.Equal(t, int64(rounds*each), written+stats.Rejected[ReasonUnsent]+stats.Rejected[ReasonNotConnected])
	assert.GreaterOrEqual(t, written, int64(read))
}

// An idle connection pays nothing for what it was sent.
func TestOutboxGoesWithItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		id := only(r.handler)
		require.NoError(t, r.Send(id, custom("x")))
		r.said()
		synctest.Wait()
		assert.Nil(t, r.connection(id).out)
		require.NoError(t, r.Conn.Close())
		<-r.ended
	})
}
