// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"encoding/binary"
	"fmt"
)

const (
	// maxDepth is how deep the parts of a resource may stand in each other. The unmarshaler calls
	// itself for each, and a stack that overflows ends the process.
	maxDepth = 512
	// maxObjects is how many objects and lists a resource of OTLP JSON may consist of, maxFields how
	// many texts and messages one of OTLP protobuf: such a one takes two bytes here and some hundred
	// when it is a record.
	maxObjects = 1_000_000
	maxFields  = 2_000_000
)

// checkBounds looks at a message before it is unmarshalled. It knows no schema: what a text holds is
// taken for a message where it could be one. A text that looks like hundreds of messages in each other
// was made to.
func checkBounds(message []byte) error {
	fields := maxFields
	if !bounded(message, maxDepth, &fields) {
		return fmt.Errorf("%w: more than %d fields, or more than %d in each other, in one resource", ErrTooLarge, maxFields, maxDepth)
	}
	return nil
}

// bounded reports whether a message keeps to what is left of depth and fields.
func bounded(message []byte, depth int, fields *int) bool {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return true // not a message
		}
		message = message[n:]
		var size uint64
		switch tag & 7 {
		case wireVarint:
			if _, n = binary.Uvarint(message); n <= 0 {
				return true
			}
			size = uint64(n)
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			if size, n = binary.Uvarint(message); n <= 0 {
				return true
			}
			message = message[n:]
			if size > uint64(len(message)) {
				return true
			}
			if *fields--; *fields < 0 || depth == 0 || !bounded(message[:size], depth-1, fields) {
				return false
			}
		default:
			return true
		}
		if size > uint64(len(message)) {
			return true
		}
		message = message[size:]
	}
	return true
}
