// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.opentelemetry.io/collector/config/configretry"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// DefaultPartBytes is how much of an object is asked for at once.
const DefaultPartBytes = 8 << 20

// maxSilence is how long a store may say nothing before a request is given up and made again. The
// SDK's own retries of it count.
const maxSilence = time.Minute

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// ErrChanged says that an object was replaced while it was read.
var ErrChanged = errors.New("the object was replaced while it was read")

// errLength says that nobody knows how long the object is.
var errLength = errors.New("the store does not say how long the object is")

// Error is what kept an object from being read, to be told from what is wrong in it.
type Error struct {
	Kind store.Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the store's own error.
func (e *Error) Unwrap() error { return e.Err }

// Observer hears what happens. Its methods are called from several goroutines and must not block.
type Observer interface {
	// Got is told of bytes that were read and how long one request for them took.
	Got(bytes int64, took time.Duration)
	// Retry is told of what failed and is tried again.
	Retry(operation string, err error)
	// Recovered is told when something that was tried again went well.
	Recovered(operation string)
}

// OperationGet is what an Observer is told of.
const OperationGet = "get"

// Fetcher opens objects. It may be used by several goroutines.
type Fetcher struct {
	API      store.API
	Retry    configretry.BackOffConfig
	Observer Observer
	// PartBytes is how much is asked for at once; DefaultPartBytes if it is 0.
	PartBytes int64
}

// Cost is how much memory an object takes at most while it is open.
func (f *Fetcher) Cost(size int64) int64 {
	if size == store.SizeUnknown {
		return 2 * f.partBytes()
	}
	return min(size, 2*f.partBytes())
}

func (f *Fetcher) partBytes() int64 {
	if f.PartBytes > 0 {
		return f.PartBytes
	}
	return DefaultPartBytes
}

// Open reads the first part of an object and returns when it is there, which is all of most. It
// fails only with an [*Error].
func (f *Fetcher) Open(ctx context.Context, object store.Object) (*Body, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &Body{fetcher: f, object: object, ctx: ctx, cancel: cancel}
	b.size = object.Size
	if b.size == 0 {
		return b, nil
	}
	first, err := b.part(0)
	if err != nil {
		cancel()
		return nil, err
	}
	b.current, b.offset = first, int64(len(first))
	return b, nil
}

// Body is an open object. It is for one goroutine, and has to be closed.
type Body struct {
	// Fixed at construction.
	fetcher *Fetcher
	object  store.Object
	ctx     context.Context
	cancel  context.CancelFunc

	// Written by the first part, before there is a second goroutine.
	size int64
	etag string

	// Owned by the reader.
	current []byte
	offset  int64 // of the end of current
	ahead   chan partResult
	failed  error

	running sync.WaitGroup
}

type partResult struct {
	data []byte
	err  error
}

// Size is the object's, as stored.
func (b *Body) Size() int64 { return b.size }

// Read gives what is stored. It begins to read the next part when the one before is begun.
func (b *Body) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	b.readAhead()
	if len(b.current) == 0 {
		if b.offset >= b.size {
			return 0, io.EOF
		}
		result := <-b.ahead
		b.ahead = nil
		if result.err != nil {
			b.failed = result.err
			return 0, b.failed
		}
		b.current = result.data
		b.offset += int64(len(result.data))
		b.readAhead()
	}
	n := copy(p, b.current)
	b.current = b.current[n:]
	return n, nil
}

// readAhead has the next part fetched, once somebody reads: an object that only waits to be read
// takes one part of memory.
func (b *Body) readAhead() {
	if b.ahead != nil || b.offset >= b.size {
		return
	}
	ahead, offset := make(chan partResult, 1), b.offset
	b.ahead = ahead
	b.running.Go(func() {
		data, err := b.part(offset)
		ahead <- partResult{data, err}
	})
}

// Close gives up what is not read.
func (b *Body) Close() error {
	b.cancel()
	b.running.Wait()
	b.current = nil
	if b.failed == nil {
		b.failed = io.ErrClosedPipe
	}
	return nil
}

// part reads the part at an offset, in as many attempts as it takes.
func (b *Body) part(offset int64) ([]byte, error) {
	var data []byte
	pace := backoff.New(b.fetcher.Retry)
	failed := false
	for {
		before := len(data)
		var err error
		data, err = b.attempt(data, offset)
		if err == nil {
			if failed {
				b.fetcher.Observer.Recovered(OperationGet)
			}
			return data, nil
		}
		kind := store.KindOf(err)
		switch {
		case b.ctx.Err() != nil:
			return nil, &Error{Kind: store.Stopped, Err: fmt.Errorf("%s: %w", b.object.Key, b.ctx.Err())}
		case errors.Is(err, ErrChanged):
			return nil, &Error{Kind: store.Changed, Err: fmt.Errorf("%s: %w", b.object.Key, err)}
		case errors.Is(err, errLength):
			return nil, &Error{Kind: store.Invalid, Err: fmt.Errorf("%s: %w", b.object.Key, err)}
		case kind != store.Transient && kind != store.Stopped:
			return nil, &Error{Kind: kind, Err: fmt.Errorf("%s: %w", b.object.Key, err)}
		}
		if len(data) > before {
			pace.Reset()
		}
		failed = true
		b.fetcher.Observer.Retry(OperationGet, err)
		if waitErr := pace.Wait(b.ctx, err); waitErr != nil {
			kind := store.Transient
			if b.ctx.Err() != nil {
				kind = store.Stopped
			}
			return nil, &Error{Kind: kind, Err: fmt.Errorf("%s: %w", b.object.Key, waitErr)}
		}
	}
}

// attempt asks for what is missing of the part once and appends what came. The first answer says how
// large the object is and which one: all others have to be of the same.
func (b *Body) attempt(data []byte, offset int64) ([]byte, error) {
	began := time.Now()
	// A connection that is open and silent is given up.
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	silence := time.AfterFunc(maxSilence, cancel)
	defer silence.Stop()
	in := &s3.GetObjectInput{Bucket: aws.String(b.object.Bucket), Key: aws.String(b.object.Key)}
	if b.object.VersionID != "" {
		in.VersionId = aws.String(b.object.VersionID)
	}
	from, known := offset+int64(len(data)), b.etag != ""
	if known {
		in.IfMatch = aws.String(b.etag)
	}
	partBytes := b.fetcher.partBytes()
	// Most objects are one part, and all of them are asked for plainly.
	whole := from == 0 && b.size <= partBytes
	if !whole {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", from, min(offset+partBytes, b.size)-1))
	}
	out, err := b.fetcher.API.GetObject(ctx, in)
	if err != nil {
		return data, err
	}
	defer out.Body.Close()
	heard := readerFunc(func(p []byte) (int, error) {
		silence.Reset(maxSilence)
		return out.Body.Read(p)
	})
	if err := b.check(out, heard, from); err != nil {
		return data, err
	}
	if want := int(min(partBytes, b.size-offset)); cap(data) < want {
		data = append(make([]byte, 0, want), data...)
	}
	before := len(data)
	n, err := io.ReadFull(heard, data[before:min(partBytes, b.size-offset)])
	b.fetcher.Observer.Got(int64(n), time.Since(began))
	if err != nil {
		return data[:before+n], fmt.Errorf("the answer broke off after %d bytes: %w", from+int64(n), err)
	}
	if whole && b.size <= partBytes {
		// The SDK holds a checksum against what it read when it comes to the end.
		switch more, err := heard.Read(make([]byte, 1)); {
		case err != nil && !errors.Is(err, io.EOF):
			return data[:0], err
		case more > 0:
			return data[:0], fmt.Errorf("%w, and it is longer than the %d bytes that it is listed with", errLength, b.size)
		}
	}
	return data[:before+n], nil
}

// check takes the size and the identity from the first answer, holds the others against them, and
// skips what was not asked for, where a store does not know ranges.
func (b *Body) check(out *s3.GetObjectOutput, body io.Reader, from int64) error {
	etag := aws.ToString(out.ETag)
	if b.etag != "" && etag != "" && etag != b.etag {
		return ErrChanged
	}
	if b.etag == "" {
		b.etag = etag
	}
	ranged := out.ContentRange != nil
	if ranged && !strings.HasPrefix(*out.ContentRange, fmt.Sprintf("bytes %d-", from)) {
		return fmt.Errorf("bytes from %d were asked for, and the store says Content-Range: %.64q", from, *out.ContentRange)
	}
	if from == 0 {
		size, err := sizeOf(out, b.object.Size)
		if err != nil {
			return err
		}
		b.size = size
	}
	if !ranged && from > 0 {
		if _, err := io.CopyN(io.Discard, body, from); err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
	}
	return nil
}

// sizeOf is the size of the whole object, of which an answer may be a part. It is the one that the
// object is listed with where the answer does not say.
func sizeOf(out *s3.GetObjectOutput, listed int64) (int64, error) {
	switch {
	case out.ContentRange != nil:
	case out.ContentLength != nil:
		return *out.ContentLength, nil
	case listed != store.SizeUnknown:
		return listed, nil
	default:
		return 0, errLength
	}
	_, total, _ := strings.Cut(*out.ContentRange, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("the store says Content-Range: %.64q", *out.ContentRange)
	}
	return size, nil
}
