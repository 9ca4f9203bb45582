// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// protoCodec reads OTLP protobuf. A message of many resources is a row of fields, and any part of
// that row is a message too; so it is read a batch of resources at a time.
type protoCodec[T any] struct{ kind Kind[T] }

func (protoCodec[T]) Format() string { return "otlp_proto" }

// Wire types of protobuf (https://protobuf.dev/programming-guides/encoding).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5

	resourcesTag = 1<<3 | wireBytes
)

func (c protoCodec[T]) Decode(r io.Reader, limits Limits, yield func(T) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var batch pieces
	found, other := false, false
	for {
		tag, err := binary.ReadUvarint(in)
		switch {
		case errors.Is(err, io.EOF):
			if err := c.flush(&batch, yield); err != nil {
				return err
			}
			if other && !found {
				return fmt.Errorf("%w: there is no OTLP %s in it", ErrUndecodable, c.kind.Signal)
			}
			return nil
		case err != nil:
			return malformed(err)
		case tag != resourcesTag:
			other = true
			if err := skipField(in, tag); err != nil {
				return c.last(&batch, yield, malformed(err))
			}
			continue
		}
		found = true
		if err := readField(in, &batch, limits); err != nil {
			return c.last(&batch, yield, err)
		}
		if batch.size() >= batchBytes {
			if err := c.flush(&batch, yield); err != nil {
				return err
			}
		}
	}
}

// last delivers what came before an error.
func (c protoCodec[T]) last(batch *pieces, yield func(T) error, err error) error {
	return errors.Join(c.flush(batch, yield), err)
}

func (c protoCodec[T]) flush(batch *pieces, yield func(T) error) error {
	return flush(batch, c.kind.fromProto, func(piece []byte, err error) error {
		if signal := c.kind.othersRead(piece); signal != "" {
			return fmt.Errorf("%w: %s", ErrWrongSignal, signal)
		}
		return fmt.Errorf("%w: OTLP protobuf of %s: %w", ErrUndecodable, c.kind.Signal, err)
	}, yield)
}

// readField appends one resource, tag and length included.
func readField(in *bufio.Reader, batch *pieces, limits Limits) error {
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return malformed(err)
	}
	if length > uint64(limits.DocumentBytes) {
		return fmt.Errorf("%w: limits.document_bytes, for there is a resource of %d", ErrTooLarge, length)
	}
	batch.begin()
	batch.data = append(batch.data, resourcesTag)
	batch.data = binary.AppendUvarint(batch.data, length)
	// In steps: a length that is announced is not yet there.
	for length > 0 {
		step := min(length, 256<<10)
		at := len(batch.data)
		batch.data = append(batch.data, make([]byte, step)...)
		if _, err := io.ReadFull(in, batch.data[at:]); err != nil {
			batch.drop()
			return malformed(err)
		}
		length -= step
	}
	if err := checkBounds(batch.last()); err != nil {
		batch.drop()
		return err
	}
	return nil
}

func skipField(in *bufio.Reader, tag uint64) error {
	var n uint64
	var err error
	switch tag & 7 {
	case wireVarint:
		_, err = binary.ReadUvarint(in)
		return err
	case wireFixed64:
		n = 8
	case wireFixed32:
		n = 4
	case wireBytes:
		if n, err = binary.ReadUvarint(in); err != nil {
			return err
		}
	default:
		return errors.New("unknown wire type")
	}
	if tag>>3 == 0 {
		return errors.New("field 0")
	}
	if n > 1<<62 {
		return errors.New("length of a field")
	}
	copied, err := io.CopyN(io.Discard, in, int64(n))
	if err != nil && copied < int64(n) && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// malformed says that the encoding is broken, unless the way to it is: an error of another kind than
// an early end keeps its own meaning.
func malformed(err error) error {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCompression) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrUndecodable, err)
}
