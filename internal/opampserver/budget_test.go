// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSmallMessagesHaveAShareOfTheirOwn(t *testing.T) {
	b := newBudget(16<<20, 4<<20)
	var large []*claim
	for i := range 100 { // until large messages of ever more peers get nothing more
		c := newClaim(fmt.Sprintf("10.0.0.%d:1", i))
		if b.resize(&c, 2<<20) != nil {
			break
		}
		large = append(large, &c)
	}
	require.Len(t, large, 6)
	small := newClaim("10.0.1.1:1")
	require.NoError(t, b.resize(&small, smallMessage))
	require.ErrorIs(t, b.resize(&small, smallMessage+1<<20), errNoMemory)
	assert.Equal(t, int64(smallMessage), small.n, "a refusal changes nothing")
	b.release(&small)
	for _, c := range large {
		b.release(c)
	}
	assert.Zero(t, b.inUse())
	assert.Empty(t, b.peers, "who holds nothing is forgotten")
}

func TestOnePeerHoldsAPartOnly(t *testing.T) {
	b := newBudget(16<<20, 4<<20)
	fill := func(addr string, size int64) (n int) {
		for c := newClaim(addr); b.resize(&c, size) == nil; c = newClaim(addr) {
			n++
		}
		return n
	}
	assert.Equal(t, 2, fill("10.0.0.1:1", 2<<20), "a quarter of all")
	assert.Equal(t, 32-2, fill("10.0.0.1:2", smallMessage), "half of what small messages have; its large ones count")
	again := newClaim("10.0.0.1:3")
	require.ErrorIs(t, b.resize(&again, 1), errPeerMemory)
	assert.Equal(t, 2, fill("10.0.0.2:1", 2<<20))
	whole := newBudget(4<<20, 3<<20)
	one := newClaim("10.0.0.1:1")
	require.NoError(t, whole.resize(&one, 3<<20), "in any case one message")
}

func TestPeerOf(t *testing.T) {
	for addr, want := range map[string]string{
		"10.0.0.1:1":                "10.0.0.1",
		"[::ffff:10.0.0.1]:2":       "10.0.0.1",
		"[2001:db8:1:2:3:4:5:6]:1":  "2001:db8:1:2::",
		"[2001:db8:1:2::9]:80":      "2001:db8:1:2::",
		"[fe80::1%eth0]:80":         "fe80::",
		"@":                         "invalid IP",
		"pipe":                      "invalid IP",
		"collector.example.com:443": "invalid IP",
	} {
		assert.Equal(t, want, peerOf(addr).String(), addr)
	}
}

// Some stalled senders used to fill what all messages share.
func TestStalledSendersDoNotKeepNewcomersOut(t *testing.T) {
	r := newRig(t, Settings{MaxMessageSize: 4 << 20, MaxBufferedBytes: 16 << 20}, newEcho())
	for _, size := range []int{3_900_000, 3_900_000, 3_900_000, 3_900_000, 1_000_000, 150_000} {
		whole := frame(true, opBinary, framed(t, sized(t, size)))
		_, _ = r.connect().Write(whole[:len(whole)-1]) // which may be refused
	}
	r.eventually(func() bool { return r.budget.inUse() >= 3_900_000 }, "one at least is buffered")
	for range 20 {
		p := r.connect()
		p.send(frame(true, opBinary, framed(t, sized(t, 30_000))))
		p.reply()
		assert.Equal(t, http.StatusOK, r.post(encoded(t, sized(t, 30_000))).StatusCode)
	}
}

func TestLargeMessageMustGoOn(t *testing.T) {
	whole := frame(true, opBinary, framed(t, sized(t, 6_000_000)))
	tests := map[string]struct {
		first, each int
		every       time.Duration
		ends        time.Duration // 0: it is answered
	}{
		"stalls":                      {first: 2_000_000, each: 0, every: time.Hour, ends: 20 * time.Second},
		"slower than it may":          {first: 70_000, each: 600_000, every: 10 * time.Second, ends: 20 * time.Second},
		"as fast as it must":          {first: 70_000, each: 450_000, every: 6 * time.Second},
		"the longest of messages":     {first: 70_000, each: leastRate * 11 / 10, every: time.Second},
		"small and slow, then faster": {first: 60_000, each: 1_500_000, every: 19 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, Settings{})
				rest := whole
				send := func(n int) bool {
					n = min(n, len(rest))
					_, err := r.Conn.Write(rest[:n])
					rest = rest[n:]
					return err == nil
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ok := send(tt.first); ok && len(rest) > 0 && tt.each > 0; ok = send(tt.each) {
						time.Sleep(tt.every)
					}
				}()
				if tt.ends > 0 {
					r.requireEnd(closePolicy, tt.ends)
					assert.Equal(t, int64(1), r.Stats().Rejected[ReasonSlowMessage])
				} else {
					r.peer.reply()
					_ = r.Conn.Close()
					<-r.ended
				}
				<-done
				assert.Zero(t, r.budget.inUse())
			})
		})
	}
}

// Of a body, too, only what comes moves the deadline.
func TestLargeBodyMovesItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		deadlines := &deadlineRecorder{}
		s := New(Settings{}, newEcho())
		progress := s.keepPace(http.NewResponseController(deadlines))
		progress(0)
		time.Sleep(time.Second)
		progress(10_000)
		assert.Equal(t, []time.Duration{time.Minute}, deadlines.since(start))
		progress(70_000)
		progress(80_000)
		assert.Equal(t, []time.Duration{time.Minute, 21 * time.Second}, deadlines.since(start))
		time.Sleep(10 * time.Second)
		progress(70_000 + 20*leastRate)
		assert.Equal(t, []time.Duration{time.Minute, 21 * time.Second, 31 * time.Second}, deadlines.since(start))
		require.NoError(t, s.Shutdown(context.Background()))
	})
}

type deadlineRecorder struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlineRecorder) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func (d *deadlineRecorder) since(start time.Time) (out []time.Duration) {
	for _, t := range d.set {
		out = append(out, t.Sub(start))
	}
	return out
}

func TestFewLargeMessagesAreDealtWithAtATime(t *testing.T) {
	h := newEcho()
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		if msg.GetHealth() != nil {
			entered <- struct{}{}
			<-leave
		}
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{}, h)
	peers := make([]*peer, costlySlots()+3)
	for i := range peers {
		peers[i] = r.connect()
		peers[i].send(frame(true, opBinary, framed(t, sized(t, 2*smallMessage))))
	}
	for range costlySlots() {
		<-entered
	}
	r.eventually(func() bool { return r.Stats().WebSocketReceived.Messages == int64(len(peers)) }, "all have come")
	r.connect().requireAlive() // small ones need no slot
	assert.Empty(t, entered)
	close(leave)
	for _, p := range peers {
		p.reply()
	}
}

// A message of a few bytes for each of very many elements is refused before it is decoded.
func TestTooManyElementsAreTooLarge(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	msg := message(1)
	msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: make([]string, 200_000)}
	assert.Equal(t, http.StatusRequestEntityTooLarge, r.post(encoded(t, msg)).StatusCode)
	p := r.connect()
	p.send(frame(true, opBinary, framed(t, msg)))
	assert.NotNil(t, p.reply().GetErrorResponse())
	p.requireAlive()
	assert.Equal(t, int64(2), r.Stats().Rejected[ReasonTooLarge])
}
