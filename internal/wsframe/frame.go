// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package wsframe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Opcode is the kind of a WebSocket frame (RFC 6455 section 5.2).
type Opcode byte

const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// Control says whether it is a control frame, which may come between the fragments of
// a message.
func (op Opcode) Control() bool { return op&0x8 != 0 }

func (op Opcode) defined() bool {
	switch op {
	case OpContinuation, OpText, OpBinary, OpClose, OpPing, OpPong:
		return true
	default:
		return false
	}
}

// Close codes (RFC 6455 section 7.4.1).
const (
	CloseNormal        = 1000
	CloseGoingAway     = 1001
	CloseProtocol      = 1002
	CloseUnsupported   = 1003
	CloseNoStatus      = 1005 // never on the wire
	CloseInvalidData   = 1007
	ClosePolicy        = 1008
	CloseTooBig        = 1009
	CloseInternalError = 1011
	CloseTryAgainLater = 1013
)

const (
	// MaxControlPayload bounds the payload of a control frame (RFC 6455 section 5.5).
	MaxControlPayload = 125
	// MaxMaskedHeader is the longest header of a client's frame, MaxHeader of a
	// server's, which carries no mask.
	MaxMaskedHeader = 14
	MaxHeader       = 10
	// OpcodeBits are those of a frame's first byte that hold its opcode.
	OpcodeBits = 0x0f
)

// ErrFrame says that bytes are not a frame, or not one of that sender.
var ErrFrame = errors.New("not a valid WebSocket frame")

// Sender is who sends a frame. A client masks what it sends, a server does not (RFC 6455
// section 5.1).
type Sender bool

const (
	FromClient Sender = true
	FromServer Sender = false
)

// Header is the header of a frame.
type Header struct {
	Fin    bool
	Op     Opcode
	Mask   [4]byte
	Length int64 // of the payload; never negative
}

// ParseHeader reads the header of a frame from b, of at least two bytes. size is the
// header's length; when b holds less, the rest of it is needed first.
func ParseHeader(b []byte, from Sender) (h Header, size int, err error) {
	h.Fin, h.Op = b[0]&0x80 != 0, Opcode(b[0]&OpcodeBits)
	code := b[1] & 0x7f
	switch {
	case b[0]&0x70 != 0:
		return h, 0, fmt.Errorf("%w: reserved bits are set", ErrFrame)
	case !h.Op.defined():
		return h, 0, fmt.Errorf("%w: opcode %d", ErrFrame, h.Op)
	case b[1]&0x80 == 0 && from == FromClient:
		return h, 0, fmt.Errorf("%w: not masked", ErrFrame)
	case b[1]&0x80 != 0 && from == FromServer:
		return h, 0, fmt.Errorf("%w: masked by a server", ErrFrame)
	case h.Op.Control() && (!h.Fin || code > MaxControlPayload):
		return h, 0, fmt.Errorf("%w: control frame in pieces or too long", ErrFrame)
	}
	extended := ExtendedLength(code)
	size = 2 + extended
	if from == FromClient {
		size += 4
	}
	if len(b) < size {
		return h, size, nil
	}
	switch extended {
	case 2:
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
	case 8:
		h.Length = int64(binary.BigEndian.Uint64(b[2:])) //nolint:gosec // the sign is checked below
	default:
		h.Length = int64(code)
	}
	if h.Length < 0 {
		return h, 0, fmt.Errorf("%w: length over 63 bits", ErrFrame)
	}
	copy(h.Mask[:], b[2+extended:size])
	return h, size, nil
}

// ExtendedLength is how many bytes of length follow a length code.
func ExtendedLength(code byte) int {
	switch code {
	case 126:
		return 2
	case 127:
		return 8
	default:
		return 0
	}
}

// Mask puts a mask on the whole payload of a frame, or takes it off, in place.
func Mask(b []byte, mask [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(mask[:]))
	word |= word << 32
	i := 0
	for ; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], binary.LittleEndian.Uint64(b[i:])^word)
	}
	for ; i < len(b); i++ {
		b[i] ^= mask[i&3]
	}
}

// Seal writes the header of a server's unfragmented frame in front of a payload that
// was appended to MaxHeader bytes of room, and returns the frame within buf.
func Seal(buf []byte, op Opcode) []byte {
	length := len(buf) - MaxHeader
	var head [MaxHeader]byte
	head[0] = 0x80 | byte(op)
	size := 2
	switch {
	case length <= MaxControlPayload:
		head[1] = byte(length)
	case length <= 0xffff:
		head[1] = 126
		binary.BigEndian.PutUint16(head[2:], uint16(length))
		size = 4
	default:
		head[1] = 127
		binary.BigEndian.PutUint64(head[2:], uint64(length))
		size = 10
	}
	frame := buf[MaxHeader-size:]
	copy(frame, head[:size])
	return frame
}

// ClosePayload is the body of a Close frame: code and reason, cut to what fits.
func ClosePayload(code uint16, text string) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	for len(text) > MaxControlPayload-len(b) {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	return append(b, text...)
}

// ParseClose checks the body of a peer's Close frame and returns the code to answer
// with. An empty body is valid and answered in kind (RFC 6455 sections 5.5.1, 7.4).
func ParseClose(payload []byte) (uint16, error) {
	if len(payload) == 0 {
		return CloseNoStatus, nil
	}
	if len(payload) == 1 {
		return 0, fmt.Errorf("%w: close code of one byte", ErrFrame)
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case !validCloseCode(code):
		return 0, fmt.Errorf("%w: close code %d", ErrFrame, code)
	case !utf8.Valid(payload[2:]):
		return 0, fmt.Errorf("%w: close reason is not UTF-8", ErrFrame)
	}
	return code, nil
}

// validCloseCode says whether code may stand in a Close frame: the registered ones,
// and 3000–4999 for libraries and applications.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 3000 && code < 5000:
		return true
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != 1005 && code != 1006
	default:
		return false
	}
}

// AppendMasked appends a client's unfragmented frame to dst.
func AppendMasked(dst []byte, op Opcode, mask [4]byte, payload []byte) []byte {
	dst = AppendMaskedHeader(dst, op, mask, len(payload))
	dst = append(dst, payload...)
	Mask(dst[len(dst)-len(payload):], mask)
	return dst
}

// AppendMaskedHeader appends the header of a client's unfragmented frame to dst. A payload
// of so many bytes has to follow, under the mask.
func AppendMaskedHeader(dst []byte, op Opcode, mask [4]byte, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length <= MaxControlPayload:
		dst = append(dst, 0x80|byte(length))
	case length <= 0xffff:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(length))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(length))
	}
	return append(dst, mask[:]...)
}
