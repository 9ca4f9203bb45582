// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// opcode is the kind of a WebSocket frame (RFC 6455 section 5.2).
type opcode byte

const (
	opContinuation opcode = 0x0
	opText         opcode = 0x1
	opBinary       opcode = 0x2
	opClose        opcode = 0x8
	opPing         opcode = 0x9
	opPong         opcode = 0xA
)

// opcodeBits are those of a frame's first byte that hold its opcode.
const opcodeBits = 0x0f

func (op opcode) control() bool { return op&0x8 != 0 }

func (op opcode) defined() bool {
	switch op {
	case opContinuation, opText, opBinary, opClose, opPing, opPong:
		return true
	default:
		return false
	}
}

// Close codes (RFC 6455 section 7.4.1).
const (
	closeNormal        = 1000
	closeGoingAway     = 1001
	closeProtocol      = 1002
	closeUnsupported   = 1003
	closeNoStatus      = 1005 // never on the wire
	closeInvalidData   = 1007
	closePolicy        = 1008
	closeTooBig        = 1009
	closeInternalError = 1011
	closeTryAgainLater = 1013
)

const (
	// maxControlPayload bounds the payload of a control frame (RFC 6455 section 5.5).
	maxControlPayload = 125
	// maxInHeader is the longest header of a peer's frame, maxOutHeader of ours,
	// which carries no mask.
	maxInHeader  = 14
	maxOutHeader = 10
)

// errFrame says that bytes are not the frame of a WebSocket client.
var errFrame = errors.New("not a valid WebSocket frame")

type frameHeader struct {
	fin    bool
	op     opcode
	mask   [4]byte
	length int64 // of the payload; never negative
}

// parseHeader reads the header of a client's frame from b, of at least two bytes.
// size is the header's length; when b holds less, the rest of it is needed first.
func parseHeader(b []byte) (h frameHeader, size int, err error) {
	h.fin, h.op = b[0]&0x80 != 0, opcode(b[0]&opcodeBits)
	code := b[1] & 0x7f
	switch {
	case b[0]&0x70 != 0:
		return h, 0, fmt.Errorf("%w: reserved bits are set", errFrame)
	case !h.op.defined():
		return h, 0, fmt.Errorf("%w: opcode %d", errFrame, h.op)
	case b[1]&0x80 == 0:
		return h, 0, fmt.Errorf("%w: not masked", errFrame)
	case h.op.control() && (!h.fin || code > maxControlPayload):
		return h, 0, fmt.Errorf("%w: control frame in pieces or too long", errFrame)
	}
	extended := extendedLength(code)
	size = 2 + extended + 4
	if len(b) < size {
		return h, size, nil
	}
	switch extended {
	case 2:
		h.length = int64(binary.BigEndian.Uint16(b[2:]))
	case 8:
		h.length = int64(binary.BigEndian.Uint64(b[2:])) //nolint:gosec // the sign is checked below
	default:
		h.length = int64(code)
	}
	if h.length < 0 {
		return h, 0, fmt.Errorf("%w: length over 63 bits", errFrame)
	}
	copy(h.mask[:], b[2+extended:])
	return h, size, nil
}

// extendedLength is how many bytes of length follow a length code.
func extendedLength(code byte) int {
	switch code {
	case 126:
		return 2
	case 127:
		return 8
	default:
		return 0
	}
}

// unmask takes the mask off the whole payload of a frame, in place.
func unmask(b []byte, mask [4]byte) {
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

// seal writes the header of an unfragmented frame in front of a payload that was
// appended to maxOutHeader bytes of room, and returns the frame within buf.
func seal(buf []byte, op opcode) []byte {
	length := len(buf) - maxOutHeader
	var head [maxOutHeader]byte
	head[0] = 0x80 | byte(op)
	size := 2
	switch {
	case length <= maxControlPayload:
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
	frame := buf[maxOutHeader-size:]
	copy(frame, head[:size])
	return frame
}

// closePayload is the body of a Close frame: code and reason, cut to what fits.
func closePayload(code uint16, text string) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	for len(text) > maxControlPayload-len(b) {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	return append(b, text...)
}

// parseClose checks the body of a peer's Close frame and returns the code to answer
// with. An empty body is valid and answered in kind (RFC 6455 sections 5.5.1, 7.4).
func parseClose(payload []byte) (uint16, error) {
	if len(payload) == 0 {
		return closeNoStatus, nil
	}
	if len(payload) == 1 {
		return 0, fmt.Errorf("%w: close code of one byte", errFrame)
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case !validCloseCode(code):
		return 0, fmt.Errorf("%w: close code %d", errFrame, code)
	case !utf8.Valid(payload[2:]):
		return 0, fmt.Errorf("%w: close reason is not UTF-8", errFrame)
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
