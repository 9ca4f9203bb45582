// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func TestThrottleKeepsReadingToItsShare(t *testing.T) {
	for name, tt := range map[string]struct {
		busy, idle time.Duration // of each round
		rests      bool
	}{
		"a flood":            {time.Millisecond, 0, true},
		"tiny stints":        {3 * time.Microsecond, 0, true},
		"half the time":      {time.Millisecond, time.Millisecond, true},
		"just the share":     {time.Millisecond, 3 * time.Millisecond, false},
		"a heartbeat's ack":  {50 * time.Microsecond, 30 * time.Second, false},
		"20,000 acks/second": {10 * time.Microsecond, 40 * time.Microsecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			var th throttle
			var busy, all, rested time.Duration
			for all < time.Minute {
				rest := th.pause(tt.idle, tt.busy)
				busy += tt.busy
				rested += rest
				all += tt.busy + tt.idle + rest
			}
			if !tt.rests {
				assert.Zero(t, rested)
				return
			}
			share := float64(busy) / float64(all)
			assert.InDelta(t, 1.0/readShare, share, 0.01)
			t.Logf("busy %.1f %% of the time", 100*share)
		})
	}
}

func TestThrottleLetsABurstPass(t *testing.T) {
	var th throttle
	busy := time.Duration(0)
	for th.pause(0, time.Millisecond) == 0 {
		busy += time.Millisecond
	}
	assert.GreaterOrEqual(t, busy, readBurst)
	assert.LessOrEqual(t, busy, readBurst*readShare/(readShare-1)+longestStint)

	assert.LessOrEqual(t, th.pause(0, time.Hour), longestStint*readShare, "a busy host is not the server's doing")
	assert.Zero(t, th.pause(time.Hour, time.Millisecond), "and it is forgiven")
}

// busyPeer has always something to read.
type busyPeer struct{ closed chan struct{} }

func (busyPeer) Read(p []byte) (int, error)    { return len(p), nil }
func (busyPeer) Write(p []byte) (int, error)   { return len(p), nil }
func (p busyPeer) Close() error                { close(p.closed); return nil }
func newBusyPeer() busyPeer                    { return busyPeer{make(chan struct{})} }
func readFor(c io.Reader, work time.Duration)  { _, _ = c.Read(make([]byte, 16)); time.Sleep(work) }
func waitFor(c *pacedConn, wait time.Duration) { time.Sleep(wait); c.waited.Add(int64(wait)) }

func TestPacedConnRestsAndWakesWhenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPacedConn(newBusyPeer())
		start := time.Now()
		for range 10_000 {
			readFor(c, time.Millisecond)
		}
		assert.InDelta(t, 39.0, time.Since(start).Seconds(), 0.1, "10 s of work take 40 s, but for the burst")

		c = newPacedConn(newBusyPeer())
		start = time.Now()
		for range 10_000 {
			readFor(c, 0)
			waitFor(c, time.Millisecond) // for whoever takes the message
		}
		assert.Equal(t, 10*time.Second, time.Since(start), "waiting is no work")

		for range 400 {
			readFor(c, time.Millisecond)
		}
		time.AfterFunc(time.Microsecond, func() { assert.NoError(t, c.Close()) })
		start = time.Now()
		c.rest(time.Hour)
		assert.Equal(t, time.Microsecond, time.Since(start))
	})
}

// A server that sends as much as it can, of what costs it least, takes a bounded share of
// a processor, and what the agent has to say still gets through.
func TestFloodCostsABoundedShare(t *testing.T) {
	ack, err := opampwire.AppendFrame(nil, opamptest.Ack(&protobufs.AgentToServer{InstanceUid: fullReport().InstanceUID.Bytes()}))
	require.NoError(t, err)
	floods := map[string][]byte{
		"empty messages":  {0x82, 1, 0},
		"acks":            append([]byte{0x82, byte(len(ack))}, ack...),
		"pings":           {0x89, 0},
		"empty fragments": {0x00, 0},
		"garbage":         {0x82, 4, 0, 0xff, 0xff, 0xff},
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			endpoint, heard := flooding(t, frame)
			seen := &tally{}
			c := New(Settings{Endpoint: endpoint, HTTPClient: &http.Client{Transport: &http.Transport{}}, Observer: seen}, fullReport())
			c.Start()
			<-heard // the greeting; the flood has begun
			cpu, wall, before := cpuTime(t), time.Now(), seen.received.Load()
			changes := 0
			for ; time.Since(wall) < time.Second; changes++ { // long enough for a rate
				c.SetHealth(health(map[bool]string{true: "StatusOK", false: "StatusPermanentError"}[changes%2 == 1]))
				<-heard
			}
			spent, took := cpuTime(t)-cpu, time.Since(wall)
			rate := float64(seen.received.Load()-before) / took.Seconds()
			start := time.Now()
			c.Stop(t.Context())
			t.Logf("%.0f messages/s taken, %.0f %% of a processor (both ends), %d changes through, stopped in %s",
				rate, 100*spent.Seconds()/took.Seconds(), changes, time.Since(start).Round(time.Microsecond))
		})
	}
}

// tally counts what was received.
type tally struct {
	NopObserver
	received atomic.Int64
}

func (o *tally) Received(int) { o.received.Add(1) }

// flooding is a server that repeats frame after an upgrade for as long as it is read.
// heard gets one for each read from the agent.
func flooding(t *testing.T, frame []byte) (*url.URL, <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	heard := make(chan struct{}, 1<<10)
	chunk := bytes.Repeat(frame, 64<<10/len(frame))
	opamptest.EachConn(t, ln, func(c net.Conn, work *sync.WaitGroup) {
		r := upgrade(t, c)
		work.Go(func() { listen(c, r, heard) })
		if frame[0] == 0x00 { // fragments belong to a message
			_, _ = c.Write([]byte{0x02, 0})
		}
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
	return &url.URL{Scheme: "ws", Host: ln.Addr().String()}, heard
}

// listen notes each binary frame, and leaves out pongs.
func listen(c io.Closer, r *bufio.Reader, heard chan<- struct{}) {
	defer c.Close()
	for {
		kind, err := readFrame(r)
		if err != nil || kind == 0x8 {
			return
		}
		if kind != 0x2 {
			continue
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	}
}

// readFrame leaves a frame's content out. An agent's frames are masked.
func readFrame(r *bufio.Reader) (kind byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	length := int(head[1] & 0x7f)
	if length == 126 {
		var more [2]byte
		if _, err := io.ReadFull(r, more[:]); err != nil {
			return 0, err
		}
		length = int(more[0])<<8 | int(more[1])
	}
	_, err = r.Discard(length + 4)
	return head[0] & 0xf, err
}
