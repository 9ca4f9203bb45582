// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
)

// ErrBadInstanceUID says that something is not an instance UID: 16 bytes, not
// all of them zero (AgentToServer.instance_uid).
var ErrBadInstanceUID = errors.New("not an instance UID")

// InstanceUID names one running agent. It is comparable, so it can key a map.
// The zero value names nobody.
type InstanceUID [16]byte

// NewInstanceUID returns a fresh UUIDv7, the form the specification recommends.
// It panics only where the system has no randomness, as crypto/rand does.
func NewInstanceUID() InstanceUID {
	return InstanceUID(uuid.Must(uuid.NewV7()))
}

// ParseInstanceUID reads a UUID of any version and spelling, or a ULID, which
// agents used before the specification settled on 16 bytes.
func ParseInstanceUID(s string) (InstanceUID, error) {
	if id, err := uuid.Parse(s); err == nil {
		return nonZero(InstanceUID(id))
	}
	if id, err := ulid.ParseStrict(s); err == nil {
		return nonZero(InstanceUID(id))
	}
	return InstanceUID{}, fmt.Errorf("%w: %.64q is neither a UUID nor a ULID", ErrBadInstanceUID, s)
}

// InstanceUIDFromBytes reads the field of a message.
func InstanceUIDFromBytes(b []byte) (InstanceUID, error) {
	if len(b) != len(InstanceUID{}) {
		return InstanceUID{}, fmt.Errorf("%w: %d bytes, want 16", ErrBadInstanceUID, len(b))
	}
	return nonZero(InstanceUID(b))
}

func nonZero(u InstanceUID) (InstanceUID, error) {
	if u.IsZero() {
		return InstanceUID{}, fmt.Errorf("%w: all zero", ErrBadInstanceUID)
	}
	return u, nil
}

// String is the canonical UUID spelling.
func (u InstanceUID) String() string { return uuid.UUID(u).String() }

// Bytes is the wire form, in memory of its own.
func (u InstanceUID) Bytes() []byte { return append([]byte(nil), u[:]...) }

// IsZero reports whether u names nobody.
func (u InstanceUID) IsZero() bool { return u == InstanceUID{} }
