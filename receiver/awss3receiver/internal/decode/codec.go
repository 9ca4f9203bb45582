// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Errors of what an object holds.
var (
	ErrUndecodable = errors.New("cannot be decoded")
	ErrCompression = errors.New("cannot be decompressed")
	ErrWrongSignal = errors.New("holds another signal")
	ErrTooLarge    = errors.New("is larger than the limit")
)

// batchBytes is how much encoded telemetry makes a batch. An object below it is one batch.
const batchBytes = 1 << 20

// Limits bound what an object may grow to.
type Limits struct {
	// ObjectBytes is of a whole object, decompressed.
	ObjectBytes int64
	// DocumentBytes is of what has to be in memory at once: one resource of OTLP, or all of an object
	// where its decoder does not stream.
	DocumentBytes int64
}

// Codec reads one format.
type Codec[T any] interface {
	// Format is what the Collector's own telemetry calls it.
	Format() string
	// Decode calls yield with each batch, in order, until the end or the first error, which is
	// yield's own or wraps one of this package or of the reader.
	Decode(r io.Reader, limits Limits, yield func(T) error) error
}

// Codecs chooses a codec by the key of an object.
type Codecs[T any] struct {
	kind      Kind[T]
	encodings []encoding[T]
}

type encoding[T any] struct {
	suffix string
	raw    bool
	codec  Codec[T]
}

// NewCodecs knows the formats of OTLP.
func NewCodecs[T any](kind Kind[T]) *Codecs[T] { return &Codecs[T]{kind: kind} }

// Add has an encoding extension read the keys that end with suffix, with or without that of their
// compression, unless one that was added before does. With raw the extension is given what is
// stored. It returns false for an extension that does not know the signal.
func (c *Codecs[T]) Add(suffix string, raw bool, extension any) bool {
	name := suffix
	if codec, ok := newStreamCodec(c.kind, name, extension); ok {
		c.encodings = append(c.encodings, encoding[T]{suffix, raw, codec})
		return true
	}
	if unmarshal := c.kind.fromExtension(extension); unmarshal != nil {
		c.encodings = append(c.encodings, encoding[T]{suffix, raw, wholeCodec[T]{name, unmarshal}})
		return true
	}
	return false
}

// For is how the object of a key is read. ok is false for one that nothing here reads.
func (c *Codecs[T]) For(key string) (codec Codec[T], raw, ok bool) {
	stripped := withoutCompression(key)
	for _, e := range c.encodings {
		if hasSuffix(stripped, e.suffix) || hasSuffix(key, e.suffix) {
			return e.codec, e.raw, true
		}
	}
	switch {
	case hasSuffix(stripped, ".json"):
		return jsonCodec[T]{c.kind}, false, true
	case hasSuffix(stripped, ".binpb"):
		return protoCodec[T]{c.kind}, false, true
	}
	return nil, false, false
}

// Read decompresses and decodes one object. It returns the context's error soon after ctx is done,
// however much a few bytes grow to.
func Read[T any](ctx context.Context, r io.Reader, key string, codec Codec[T], raw bool, limits Limits, yield func(T) error) error {
	if raw {
		return codec.Decode(&limited{ctx: ctx, r: r, left: limits.ObjectBytes}, limits, yield)
	}
	plain, done, err := decompress(r, key)
	if err != nil {
		return err
	}
	defer done()
	return codec.Decode(&limited{ctx: ctx, r: plain, left: limits.ObjectBytes}, limits, yield)
}

// limited fails instead of ending when there is more than there may be.
type limited struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.left < int64(len(p)) {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, fmt.Errorf("%w: limits.object_bytes", ErrTooLarge)
	}
	return n, err
}
