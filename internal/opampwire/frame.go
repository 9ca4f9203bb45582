// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// ErrMalformed says that bytes are not an OpAMP message.
var ErrMalformed = errors.New("malformed OpAMP message")

// AppendFrame appends the payload of a binary WebSocket frame to dst: the header,
// a varint 0, then the message (WebSocket Message Format).
func AppendFrame(dst []byte, m proto.Message) ([]byte, error) {
	dst = append(dst, 0)
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return dst, nil
}

// ParseFrame decodes the payload of a binary WebSocket frame into m. A message may
// be empty, its header may not: what has no header predates the specification.
func ParseFrame(frame []byte, m proto.Message) error {
	message, err := Unframe(frame)
	if err != nil {
		return err
	}
	return ParseMessage(message, m)
}

// Unframe is the message in the payload of a binary WebSocket frame, as it is encoded.
func Unframe(frame []byte) ([]byte, error) {
	header, n := binary.Uvarint(frame)
	switch {
	case n == 0:
		return nil, fmt.Errorf("%w: frame without a complete header", ErrMalformed)
	case n < 0:
		return nil, fmt.Errorf("%w: header longer than 64 bits", ErrMalformed)
	case header != 0:
		return nil, fmt.Errorf("%w: header is %d, only 0 is defined", ErrMalformed, header)
	}
	return frame[n:], nil
}

// ParseMessage decodes the body of a plain HTTP exchange into m. A message of more than
// MaxElements is ErrTooLarge and costs nothing.
func ParseMessage(body []byte, m proto.Message) error {
	if err := checkElements(body, m.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
