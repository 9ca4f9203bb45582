// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// errNoMemory says that Settings.MaxBufferedBytes are in use.
var errNoMemory = errors.New("too many bytes of messages are being received")

const (
	leastBuffer = 4 << 10
	// mostPooled is the largest buffer that is kept for the next message.
	mostPooled = 64 << 10
)

// budget bounds the bytes that wait in buffers for the rest of their message. It
// refuses rather than makes wait: who waited would hold what others wait for.
// Safe for concurrent use.
type budget struct {
	most int64
	used atomic.Int64
	pool sync.Pool // of *buffer
}

// buffer is a byte slice whose capacity is charged to a budget.
type buffer struct {
	b       []byte
	charged int64
}

func newBudget(most int64) *budget {
	return &budget{most: most, pool: sync.Pool{New: func() any {
		return &buffer{b: make([]byte, 0, leastBuffer)}
	}}}
}

func (b *budget) take(n int64) error {
	if b.used.Add(n) > b.most {
		b.used.Add(-n)
		return fmt.Errorf("%w: limit %d", errNoMemory, b.most)
	}
	return nil
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// scratch returns an empty buffer that is not charged, for replies.
func (b *budget) scratch() *buffer {
	buf := b.pool.Get().(*buffer)
	buf.b = buf.b[:0]
	return buf
}

// get returns an empty, charged buffer. Release it with put.
func (b *budget) get() (*buffer, error) {
	buf := b.scratch()
	if err := b.take(int64(cap(buf.b))); err != nil {
		b.pool.Put(buf)
		return nil, err
	}
	buf.charged = int64(cap(buf.b))
	return buf, nil
}

// grow makes room in buf for some of the n bytes that are still to come, at most
// doubling what has arrived.
func (b *budget) grow(buf *buffer, n int) error {
	if len(buf.b) < cap(buf.b) {
		return nil
	}
	capacity := min(2*cap(buf.b), len(buf.b)+n)
	if err := b.take(int64(capacity) - buf.charged); err != nil {
		return err
	}
	buf.charged = int64(capacity)
	buf.b = append(make([]byte, 0, capacity), buf.b...)
	return nil
}

// put releases buf; its bytes must not be used afterwards.
func (b *budget) put(buf *buffer) {
	b.give(buf.charged)
	buf.charged = 0
	if cap(buf.b) <= mostPooled {
		b.pool.Put(buf)
	}
}

// chargedReader charges what is read through it, until release.
type chargedReader struct {
	budget  *budget
	src     io.Reader
	charged int64
}

func (r *chargedReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if full := r.charge(n); full != nil {
		return 0, full
	}
	return n, err
}

// charge charges n bytes more.
func (r *chargedReader) charge(n int) error {
	if err := r.budget.take(int64(n)); err != nil {
		return err
	}
	r.charged += int64(n)
	return nil
}

func (r *chargedReader) release() {
	r.budget.give(r.charged)
	r.charged = 0
}
