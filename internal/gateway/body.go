// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"slices"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// body is an encoded message of an agent's, as it was received: a large one in parts. It
// is valid, and may be written to, while whoever handed it over waits.
type body struct {
	first []byte
	more  [][]byte // nil for most
}

func (b body) len() int {
	n := len(b.first)
	for _, part := range b.more {
		n += len(part)
	}
	return n
}

// uses says whether the message has a custom capability.
func (b body) uses(capability string) bool {
	if b.more == nil {
		return opampwire.UsesCapability(b.first, capability)
	}
	return opampwire.UsesCapabilityParts(slices.Concat([][]byte{b.first}, b.more), capability)
}

// whole is the message in one piece, which is a copy if it is in parts.
func (b body) whole() []byte {
	if b.more == nil {
		return b.first
	}
	return slices.Concat(b.first, bytes.Join(b.more, nil))
}
