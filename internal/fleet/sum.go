// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
)

// sum is our own SHA-256 of a content. An agent's hash of its content is only the agent's word for it, so nothing
// is ever shared between agents by that.
type sum [sha256.Size]byte

func (s sum) String() string { return hex.EncodeToString(s[:]) }

// hasher writes parts so that no two sequences of parts look alike.
type hasher struct{ h hash.Hash }

func newHasher() hasher { return hasher{h: sha256.New()} }

func (h hasher) int(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.h.Write(b[:])
}

func (h hasher) text(s string) {
	h.int(len(s))
	_, _ = io.WriteString(h.h, s) // a hash never fails
}

func (h hasher) sum() (s sum) {
	h.h.Sum(s[:0])
	return s
}
