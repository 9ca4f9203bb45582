// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ScanAgentMessageParts is ScanAgentMessage for a message that came in parts. It copies
// nothing but what is about a part's end.
func ScanAgentMessageParts(parts [][]byte) (m AgentMessage, err error) {
	for rest := newView(parts); rest.left > 0; {
		f, err := rest.next(smallField)
		if err != nil {
			return AgentMessage{}, err
		}
		if err = m.note(f.field); err != nil {
			return AgentMessage{}, err
		}
	}
	return m.complete()
}

// UsesCapabilityParts is UsesCapability for a message that came in parts.
func UsesCapabilityParts(parts [][]byte, capability string) bool {
	most := smallField + len(capability)
	for rest := newView(parts); rest.left > 0; {
		f, err := rest.next(most)
		if err != nil {
			return false
		}
		if f.number != fieldAgentCustomOffers && f.number != fieldAgentCustomMessage {
			continue
		}
		for within := f.content; within.left > 0; {
			g, err := within.next(most)
			if err != nil {
				return true // see UsesCapability
			}
			if g.number == fieldCustomCapability && string(g.value) == capability {
				return true
			}
		}
	}
	return false
}

// smallField is the size up to which a field is looked at as a whole, in bytes: more than
// any that is read has.
const smallField = 64

// view is a stretch of bytes in parts.
type view struct {
	parts [][]byte // what is left of them; the last may reach beyond the stretch
	at    int      // where the stretch begins in the first
	left  int      // its length
}

func newView(parts [][]byte) view {
	v := view{parts: parts}
	for _, part := range parts {
		v.left += len(part)
	}
	v.skip(0) // of parts that are empty
	return v
}

// partField is a field in a view. The value of a large one is cut off; all of it is
// content.
type partField struct {
	field
	content view // of a field of BytesType
}

// next splits the first field off v: nextField, of whose value at most the first bytes are
// looked at.
func (v *view) next(most int) (partField, error) {
	head := v.peek(most)
	tag, size := binary.Uvarint(head)
	if len(head) == v.left || size <= 0 || protowire.Type(tag&7) != protowire.BytesType {
		f, rest, err := nextField(head) // all that is left, or a field that is not larger
		if err != nil {
			return partField{}, err
		}
		return v.split(f, len(head)-len(rest)), nil
	}
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return partField{}, fmt.Errorf("%w: field number %d", ErrMalformed, tag>>3)
	}
	f := field{number: protowire.Number(tag >> 3), kind: protowire.BytesType} //nolint:gosec // checked
	length, n := protowire.ConsumeVarint(head[size:])
	if size += n; n < 0 || length > uint64(v.left-size) { //nolint:gosec // head is shorter than what is left
		return partField{}, fmt.Errorf("%w: field %d is incomplete", ErrMalformed, f.number)
	}
	whole := size + int(length) //nolint:gosec // not more than what is left
	f.value = head[size:min(len(head), whole)]
	out := partField{field: f, content: *v}
	out.content.skip(size)
	out.content.left = int(length) //nolint:gosec // the same
	v.skip(whole)
	return out, nil
}

// split takes the n bytes of f off v.
func (v *view) split(f field, n int) partField {
	out := partField{field: f, content: *v}
	out.content.skip(n - len(f.value))
	out.content.left = len(f.value)
	v.skip(n)
	return out
}

// peek is the first bytes of v, at most n: a copy where they are in several parts.
func (v *view) peek(n int) []byte {
	n = min(n, v.left)
	if n == 0 {
		return nil
	}
	if first := v.parts[0][v.at:]; len(first) >= n {
		return first[:n:n]
	}
	out := append(make([]byte, 0, n), v.parts[0][v.at:]...)
	for _, part := range v.parts[1:] {
		out = append(out, part[:min(len(part), n-len(out))]...)
	}
	return out
}

// skip drops the first n bytes of v.
func (v *view) skip(n int) {
	v.left -= n
	v.at += n
	for len(v.parts) > 0 && v.at >= len(v.parts[0]) {
		v.at -= len(v.parts[0])
		v.parts = v.parts[1:]
	}
}
