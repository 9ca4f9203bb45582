// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readShare is the part of one processor's time that reading may take for long: a
	// quarter. It is counted in time, not in messages, so that it holds for a flood of
	// whatever is cheap to send: tiny messages, pings, empty fragments, deep nesting.
	readShare = 4
	// readBurst is the reading that may be done at once before that is enforced. It is
	// tens of thousands of small messages.
	readBurst = 250 * time.Millisecond
	// longestStint bounds what counts for one look at the network. A host that is busy
	// elsewhere makes any work look long.
	longestStint = 20 * time.Millisecond
	// leastPause keeps pauses worth their timer.
	leastPause = time.Millisecond
)

// throttle decides when a reader that has been kept busy has to rest. It is pure.
type throttle struct {
	level time.Duration // work done beyond the share
}

// pause is how long to rest after busy, which followed idle.
func (t *throttle) pause(idle, busy time.Duration) time.Duration {
	busy = min(busy, longestStint)
	t.level = max(0, t.level-idle/readShare)
	t.level += busy - busy/readShare
	rest := (t.level - readBurst) * readShare
	if rest < leastPause {
		return 0
	}
	t.level = readBurst
	return rest
}

// pacedConn is a connection whose reader rests where the throttle says so. While it does
// the peer fills its own buffers, then waits: that is all that happens to it.
type pacedConn struct {
	io.ReadWriteCloser

	closed chan struct{}
	once   sync.Once

	waited atomic.Int64 // nanoseconds that the reader spent waiting, not working, since the last Read

	// Owned by whoever reads; reads exclude each other.
	throttle throttle
	idle     time.Duration // of the last Read
	since    time.Time     // when it returned
}

func newPacedConn(conn io.ReadWriteCloser) *pacedConn {
	return &pacedConn{ReadWriteCloser: conn, closed: make(chan struct{}), since: time.Now()}
}

// Read implements io.Reader.
func (p *pacedConn) Read(b []byte) (int, error) {
	start := time.Now()
	busy := start.Sub(p.since) - time.Duration(p.waited.Swap(0))
	if rest := p.throttle.pause(p.idle, max(0, busy)); rest > 0 {
		p.rest(rest)
		start = time.Now()
	}
	n, err := p.ReadWriteCloser.Read(b)
	p.since = time.Now()
	p.idle = p.since.Sub(start)
	return n, err
}

func (p *pacedConn) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.closed:
	}
}

// Close implements io.Closer.
func (p *pacedConn) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.ReadWriteCloser.Close()
}
