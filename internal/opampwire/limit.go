// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// DefaultMaxMessageSize is the specification's default bound on one message in
// either direction, counted after decompression (Message Size Limits), in bytes.
const DefaultMaxMessageSize = 64 << 20

// maxGzipMembers bounds the members of one gzip stream. Senders write one; a
// stream of empty members costs time without ever reaching a bound on its output.
const maxGzipMembers = 16

// ErrTooLarge says that a message is longer than its limit.
var ErrTooLarge = errors.New("message too large")

// ReadLimited reads all of r, at most limit bytes. Memory grows with what arrives,
// so a peer that announces much and sends little costs little.
func ReadLimited(r io.Reader, limit int64) ([]byte, error) {
	buf, err := readUpTo(nil, r, limit+1)
	if err != nil {
		return nil, err
	}
	if int64(len(buf)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return buf, nil
}

// readUpTo appends what r brings to buf, until it ends or buf holds most bytes. It doubles
// buf where it is full, up to most and not past it: what is too long costs no more than
// what just fits.
func readUpTo(buf []byte, r io.Reader, most int64) ([]byte, error) {
	for int64(len(buf)) < most {
		if len(buf) == cap(buf) {
			larger := make([]byte, len(buf), min(most, max(bytes.MinRead, 2*int64(cap(buf)))))
			copy(larger, buf)
			buf = larger
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
	return buf, nil
}

// Gunzip reads all of a gzip stream. The limit holds for the bytes read as well as
// for the bytes they expand to.
func Gunzip(r io.Reader, limit int64) ([]byte, error) {
	in := bufferedLimit(r, limit)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return nil, gzipError(in, err)
	}
	defer func() { _ = zr.Close() }() // holds nothing: its source is the caller's

	var out []byte
	for range maxGzipMembers {
		zr.Multistream(false)
		if out, err = readUpTo(out, zr, limit+1); err != nil {
			return nil, gzipError(in, err)
		}
		if int64(len(out)) > limit {
			return nil, fmt.Errorf("%w: more than %d bytes after decompression", ErrTooLarge, limit)
		}
		switch err := zr.Reset(in); {
		case errors.Is(err, io.EOF) && !in.passed():
			return out, nil
		case err != nil:
			return nil, gzipError(in, err)
		}
	}
	return nil, fmt.Errorf("%w: more than %d gzip members", ErrMalformed, maxGzipMembers)
}

// gzipError tells a stream that is too long from one that is broken.
func gzipError(in *limited, err error) error {
	if in.passed() {
		return fmt.Errorf("%w: more than %d compressed bytes", ErrTooLarge, in.limit)
	}
	return fmt.Errorf("%w: gzip: %w", ErrMalformed, err)
}

// limited ends after limit bytes and remembers whether there were more. It reads
// byte by byte as well, so that gzip takes no more than one member's bytes from it.
type limited struct {
	src   *io.LimitedReader // of limit+1 bytes: the last one is the proof of excess
	buf   []byte            // read from src, not yet handed out
	space [4096]byte
	limit int64
}

func bufferedLimit(r io.Reader, limit int64) *limited {
	return &limited{src: &io.LimitedReader{R: r, N: limit + 1}, limit: limit}
}

func (l *limited) passed() bool { return l.src.N <= 0 }

func (l *limited) Read(p []byte) (int, error) {
	if err := l.fill(); err != nil {
		return 0, err
	}
	n := copy(p, l.buf)
	l.buf = l.buf[n:]
	return n, nil
}

// ReadByte makes gzip read through this buffer instead of one of its own.
func (l *limited) ReadByte() (byte, error) {
	if err := l.fill(); err != nil {
		return 0, err
	}
	b := l.buf[0]
	l.buf = l.buf[1:]
	return b, nil
}

func (l *limited) fill() error {
	for len(l.buf) == 0 {
		n, err := l.src.Read(l.space[:])
		l.buf = l.space[:n]
		if n == 0 && err != nil {
			return err
		}
	}
	return nil
}
