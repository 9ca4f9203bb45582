// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// large is the frame of a message with so many bytes of data, which are all different from
// their neighbours.
func large(t testing.TB, uid opampwire.InstanceUID, seq uint64, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	frame, err := opampwire.AppendFrame(nil, &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), SequenceNum: seq,
		CustomMessage: &protobufs.CustomMessage{Capability: "test.custom", Type: "large", Data: data},
	})
	require.NoError(t, err)
	return frame
}

// inFrames is a payload as masked fragments of size bytes.
func inFrames(payload []byte, size int) []byte {
	var out []byte
	op := wsframe.OpBinary
	for len(payload) > 0 {
		n := min(size, len(payload))
		begin := len(out)
		out = wsframe.AppendMasked(out, op, [4]byte{1, 2, 3, byte(n)}, payload[:n])
		if payload = payload[n:]; len(payload) > 0 {
			out[begin] &^= 0x80
		}
		op = wsframe.OpContinuation
	}
	return out
}

// A message within the limit arrives as it was sent, however large it is and however it
// is cut, and in order with those before and after it.
func TestLargeMessagesPassUnchanged(t *testing.T) {
	p := newPartner(t)
	// How long the server is busy with a message is no matter here, nor that agents are silent in the meantime.
	set := Settings{UpstreamPing: patience, PingInterval: patience}
	if testing.Short() {
		set.MaxMessageSize = 8 << 20
	}
	r := connected(t, set, p)
	other := r.arrive()
	for name, tt := range map[string]struct{ size, frames int }{
		"just copied":             {mostCopied - 100, 1 << 30},
		"just lent":               {mostCopied + 1, 1 << 30},
		"in one frame":            {5<<20 + 3, 1 << 30},
		"in small frames":         {3<<20 + 1, 4093},
		"in frames like parts":    {3 << 20, 256 << 10},
		"almost too large":        {int(r.set.MaxMessageSize) - 1<<20, 1<<20 + 13},
		"with the smallest rest":  {1<<20 - 60, 1 << 30},
		"with a rest of one part": {2<<20 - 61, 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			uid, nc := stuckAgent(t, r)
			want := large(t, uid, 2, tt.size)
			go func() {
				_, _ = nc.Write(inFrames(want, tt.frames))
				_, _ = nc.Write(inFrames(opampwire.AppendHeartbeat(nil, uid, 3), 1<<30))
			}()
			r.eventually(func() bool { return p.agent(uid).seq == 3 }, "it does not arrive")
			got := p.agent(uid)
			assert.Equal(t, 1, got.full, "at its first message, which said nothing; nothing is missing after it")
			assert.Equal(t, 3, got.messages)
			p.mu.Lock()
			defer p.mu.Unlock()
			assert.True(t, bytes.Equal(want[1:], p.largest[uid]), "byte for byte")
			delete(p.largest, uid)
		})
	}
	other.beat()
	assert.Equal(t, 1, p.ever())
	counts := r.drop.counts()
	assert.Zero(t, counts[ReasonUpstreamLost]+counts[ReasonUpstreamQueue]+counts[ReasonNoUpstream])
}

// All that is being received together is bounded: who comes when that is in use is told to
// come back, and counted.
func TestLargeMessagesTogetherAreBounded(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	other := r.arrive()
	const each = 40 << 20
	head := []byte{0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint64(head[2:], each)
	chunk := make([]byte, 1<<20)
	conns := make([]*net.TCPConn, 2)
	for i := range conns {
		_, conns[i] = stuckAgent(t, r)
		_, err := conns[i].Write(head)
		require.NoError(t, err)
	}
	for range 38 { // both are almost there, from one address
		for _, c := range conns {
			_, _ = c.Write(chunk)
		}
	}
	r.eventually(func() bool { return r.Stats().Refused["memory"] == 1 }, "both may")
	other.beat()
	assert.Equal(t, 1, p.ever())
}

// A large message ends with its connection, and is counted once; a small one that waits
// behind it too.
func TestLargeMessageToAServerThatDoesNotRead(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	r := newRig(t, Settings{WriteTimeout: 300 * time.Millisecond}, rawServer(t, func(c net.Conn, _ *bufio.Reader) {
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		<-hold
	}))
	a := r.connect(opamp(1))
	a.sendRaw(large(t, a.uid, 1, 30<<20))
	r.waitDropped(ReasonUpstreamLost, 1)
	assert.Equal(t, int64(1), r.drop.counts()[ReasonUpstreamLost])
	assert.Zero(t, r.up.messages.Load())
}

// A server that takes a large message slowly is alive: it is not given up for its silence
// while it takes bytes.
func TestSlowLargeMessageIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		s := &slot{lane: newLane(0)}
		l := newLink(near, s, linkSettings{
			maxMessage: 1 << 20, maxQueue: 1 << 16, pingInterval: 10 * time.Second, writeTimeout: 10 * time.Second,
			onMessage: func(*link, []byte) {}, onWritten: func(time.Duration) {},
		})
		ran := make(chan error, 1)
		go func() { ran <- l.run() }()
		read := make(chan int, 1)
		go func() { // a part every 5 s: 100 s in all
			n := 0
			buf := make([]byte, mostCopied)
			for n < 20*mostCopied {
				k, err := io.ReadFull(far, buf)
				n += k
				if err != nil {
					break
				}
				time.Sleep(5 * time.Second)
			}
			read <- n
			_, _ = io.Copy(io.Discard, far)
		}()
		require.NoError(t, l.carry(context.Background(), time.Second, body{first: make([]byte, 20*mostCopied)}))
		assert.Equal(t, 20*mostCopied, <-read)
		l.end(errLeft)
		require.ErrorIs(t, <-ran, errLeft)
		_ = far.Close()
		synctest.Wait()
	})
}
