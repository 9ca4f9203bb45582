// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// MaxElements bounds the fields of one message, those of the messages in it included.
// An element costs two bytes on the wire and a hundred in memory, so a bound on bytes
// alone would let a message of 64 MiB take gigabytes. The largest honest messages, the
// component lists and health trees of big Collectors, have some thousands.
const MaxElements = 100_000

// checkElements counts the elements of an encoded message before anything is made of
// them. It is silent on what is malformed: decoding says that better.
func checkElements(b []byte, d protoreflect.MessageDescriptor) error {
	const leastElement = 2 // bytes: a tag and a length, or a value
	if len(b) <= leastElement*MaxElements {
		return nil
	}
	left := MaxElements
	countElements(b, d, &left, 0)
	if left < 0 {
		return fmt.Errorf("%w: more than %d elements", ErrTooLarge, MaxElements)
	}
	return nil
}

// maxNesting is far below what the decoder takes, and far above what is sent.
const maxNesting = 10_000

// countElements takes from left what is in b, and stops below zero.
func countElements(b []byte, d protoreflect.MessageDescriptor, left *int, depth int) {
	for len(b) > 0 && *left >= 0 && depth < maxNesting {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		*left--
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return
		}
		if inner := messageIn(d, number, kind); inner != nil {
			value, _ := protowire.ConsumeBytes(b)
			countElements(value, inner, left, depth+1)
		}
		b = b[n:]
	}
}

// messageIn is the type of the message in a field; nil if there is none.
func messageIn(d protoreflect.MessageDescriptor, number protowire.Number, kind protowire.Type) protoreflect.MessageDescriptor {
	if kind != protowire.BytesType {
		return nil
	}
	if f := d.Fields().ByNumber(number); f != nil {
		return f.Message()
	}
	return nil
}
