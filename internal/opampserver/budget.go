// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
)

var (
	// errNoMemory says that Settings.MaxBufferedBytes are in use.
	errNoMemory = errors.New("too many bytes of messages are being received")
	// errPeerMemory says that one peer uses as much of them as it may.
	errPeerMemory = fmt.Errorf("%w from this address", errNoMemory)
)

const (
	leastBuffer = 4 << 10
	// smallMessage is the size up to which a message is charged to a share of its own,
	// so that nobody who holds large messages back keeps small ones out: an agent's
	// first report has some ten KiB.
	smallMessage = 64 << 10
	// mostPooled is the largest buffer that is kept for the next message.
	mostPooled = smallMessage
	// partSize is the most that is received in one piece, in bytes. What is larger comes in
	// parts, which are pooled: to grow one buffer would hold it twice while it is copied.
	partSize = 256 << 10
)

// budget bounds the bytes that wait in buffers for the rest of their message. It
// refuses rather than makes wait: who waited would hold what others wait for. One
// peer's address can hold a part of it only. Safe for concurrent use.
type budget struct {
	most  held      // fixed at construction: of all peers
	share held      // fixed at construction: of one peer
	pool  sync.Pool // of *buffer
	parts sync.Pool // of *[partSize]byte

	mu    sync.Mutex
	used  held                // guarded by mu
	peers map[netip.Addr]held // guarded by mu: who holds anything
}

// held are bytes, by what they are charged to: the first smallMessage bytes of each
// message are small, what is beyond them is large.
type held struct{ small, large int64 }

func split(n int64) held { return held{min(n, smallMessage), max(n-smallMessage, 0)} }

func (h held) plus(o held) held  { return held{h.small + o.small, h.large + o.large} }
func (h held) minus(o held) held { return held{h.small - o.small, h.large - o.large} }

// exceeds says whether h is beyond most, for what d adds.
func (h held) exceeds(most, d held) bool {
	return d.small > 0 && h.small > most.small || d.large > 0 && h.large > most.large
}

// claim is what one message has charged to a budget. The zero claim of a peer holds
// nothing. It is owned by who receives the message.
type claim struct {
	peer netip.Addr
	n    int64
}

// newBudget shares out most: a quarter to small messages, of which one peer may have
// half, and the rest to large ones, of which one peer may have a quarter of most, in
// any case one message, whose last part may have room left.
func newBudget(most, message int64) *budget {
	reserve := most / 4
	return &budget{
		most:  held{reserve, most - reserve},
		share: held{reserve / 2, max(most/4, message+2*partSize)},
		peers: make(map[netip.Addr]held),
		parts: sync.Pool{New: func() any { return new([partSize]byte) }},
		pool: sync.Pool{New: func() any {
			return &buffer{b: make([]byte, 0, leastBuffer)}
		}},
	}
}

// newClaim is a claim of the peer at addr.
func newClaim(addr string) claim { return claim{peer: peerOf(addr)} }

// peerOf is who is at addr: a host, or the network of a host that has one to itself
// (RFC 6177). Peers without an IP address, such as those of a unix socket, are one.
func peerOf(addr string) netip.Addr {
	const subscriberNet = 64
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Addr{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	return netip.PrefixFrom(ip, subscriberNet).Masked().Addr()
}

// resize charges c with n bytes in all. On an error it holds what it held.
func (b *budget) resize(c *claim, n int64) error {
	d := split(n).minus(split(c.n))
	b.mu.Lock()
	defer b.mu.Unlock()
	used, peer := b.used.plus(d), b.peers[c.peer].plus(d)
	switch {
	case used.exceeds(b.most, d):
		return errNoMemory
	case peer.exceeds(b.share, d):
		return errPeerMemory
	}
	c.n, b.used, b.peers[c.peer] = n, used, peer
	if peer == (held{}) {
		delete(b.peers, c.peer)
	}
	return nil
}

// release gives back all that c holds.
func (b *budget) release(c *claim) { _ = b.resize(c, 0) } // less is never refused

// inUse is how many bytes are charged.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used.small + b.used.large
}

// buffer is room for a message, which is charged to a budget.
type buffer struct {
	full  [][]byte // what came before b, in parts of partSize
	b     []byte
	claim claim
}

func (buf *buffer) len() int { return partSize*len(buf.full) + len(buf.b) }

// scratch returns an empty buffer that is not charged, for replies.
func (b *budget) scratch() *buffer {
	buf := b.pool.Get().(*buffer)
	buf.b, buf.claim = buf.b[:0], claim{}
	return buf
}

// get returns an empty buffer, charged to the peer at addr. Release it with put.
func (b *budget) get(addr string) (*buffer, error) {
	buf := b.scratch()
	buf.claim = newClaim(addr)
	if err := b.resize(&buf.claim, int64(cap(buf.b))); err != nil {
		b.pool.Put(buf)
		return nil, err
	}
	return buf, nil
}

// grow makes room in buf for some of the n bytes that are still to come, at most
// doubling what has arrived, and by a part at a time from partSize on.
func (b *budget) grow(buf *buffer, n int) error {
	if len(buf.b) < cap(buf.b) {
		return nil
	}
	if cap(buf.b) >= partSize {
		if err := b.resize(&buf.claim, buf.claim.n+partSize); err != nil {
			return err
		}
		buf.full = append(buf.full, buf.b)
		buf.b = b.parts.Get().(*[partSize]byte)[:0]
		return nil
	}
	capacity := min(2*cap(buf.b), len(buf.b)+n, partSize)
	if err := b.resize(&buf.claim, int64(capacity)); err != nil {
		return err
	}
	if capacity == partSize {
		buf.b = append(b.parts.Get().(*[partSize]byte)[:0], buf.b...)
		return nil
	}
	buf.b = append(make([]byte, 0, capacity), buf.b...)
	return nil
}

// join makes one slice of what came in parts. Its charge is that of the parts, which others
// have then.
func (b *budget) join(buf *buffer) {
	if len(buf.full) == 0 {
		return
	}
	whole := make([]byte, 0, buf.len())
	for _, part := range buf.full {
		whole = append(whole, part...)
		b.putPart(part)
	}
	whole = append(whole, buf.b...)
	b.putPart(buf.b)
	buf.full, buf.b = nil, whole
}

// putPart gives back a part. What has another size is none.
func (b *budget) putPart(part []byte) {
	if cap(part) == partSize {
		b.parts.Put((*[partSize]byte)(part[:partSize]))
	}
}

// put releases buf; its bytes must not be used afterwards.
func (b *budget) put(buf *buffer) {
	b.release(&buf.claim)
	for _, part := range buf.full {
		b.putPart(part)
	}
	b.putPart(buf.b)
	buf.full = nil
	if cap(buf.b) <= mostPooled {
		b.pool.Put(buf)
	}
}

// chargedReader charges what is read through it, until release, and tells how much
// has come.
type chargedReader struct {
	budget   *budget
	src      io.Reader
	claim    claim
	progress func(n int64) // of n bytes in all
}

func (r *chargedReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if full := r.charge(n); full != nil {
		return 0, full
	}
	r.progress(r.claim.n)
	return n, err
}

// charge charges n bytes more.
func (r *chargedReader) charge(n int) error {
	return r.budget.resize(&r.claim, r.claim.n+int64(n))
}

func (r *chargedReader) release() { r.budget.release(&r.claim) }
