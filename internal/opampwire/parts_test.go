// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cutUp cuts b into parts of size bytes, with empty ones among them.
func cutUp(b []byte, size int) [][]byte {
	var parts [][]byte
	for len(b) > 0 {
		n := min(size, len(b))
		parts = append(parts, b[:n], nil)
		b = b[n:]
	}
	return parts
}

// However a message is cut, the scan of its parts says what the scan of the whole says.
func FuzzScanAgentMessageParts(f *testing.F) {
	f.Add(AppendGoodbye(nil, uidA, 3)[1:], uint16(1), "c")
	f.Add(append(uidField(uidA[:]), uidField(uidB[:])...), uint16(5), "c")
	f.Add(append(uidField(uidA[:]), 0x0b, 0x0c), uint16(3), "c")
	f.Add(encode(f, &protobufs.AgentToServer{
		InstanceUid: uidA.Bytes(), SequenceNum: 1 << 40, Capabilities: 7,
		AgentDescription:   &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: strings.Repeat("k", 200)}}},
		CustomMessage:      &protobufs.CustomMessage{Data: bytes.Repeat([]byte{0x0a}, 300), Capability: "c", Type: strings.Repeat("t", 100)},
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{strings.Repeat("d", 100), strings.Repeat("e", 100)}},
	}), uint16(7), strings.Repeat("e", 100))
	f.Fuzz(func(t *testing.T, b []byte, size uint16, capability string) {
		parts := cutUp(b, int(size)+1)
		want, wantErr := ScanAgentMessage(b)
		got, err := ScanAgentMessageParts(parts)
		if got != want || !errors.Is(err, unwrapped(wantErr)) {
			t.Fatalf("%x in parts of %d: %v, %v; whole: %v, %v", b, size, got, err, want, wantErr)
		}
		if err == nil && UsesCapabilityParts(parts, capability) != UsesCapability(b, capability) {
			t.Fatalf("%x in parts of %d: capability %q", b, size, capability)
		}
	})
}

// unwrapped is the kind of a scan's error.
func unwrapped(err error) error {
	for _, kind := range []error{ErrBadInstanceUID, ErrMalformed} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

func TestScanOfManyParts(t *testing.T) {
	large := encode(t, &protobufs.AgentToServer{
		InstanceUid: uidA.Bytes(), SequenceNum: 5,
		CustomMessage: &protobufs.CustomMessage{Data: make([]byte, 200<<10), Capability: "c"},
	})
	for _, size := range []int{1, 15, 64, 4096, 1 << 21} {
		parts := cutUp(large, size)
		m, err := ScanAgentMessageParts(parts)
		require.NoError(t, err)
		assert.Equal(t, AgentMessage{UID: uidA, SequenceNum: 5, Custom: true}, m)
		assert.True(t, UsesCapabilityParts(parts, "c"))
		assert.False(t, UsesCapabilityParts(parts, "d"))
		_, err = ScanAgentMessageParts(cutUp(large[:len(large)-1], size))
		require.ErrorIs(t, err, ErrMalformed, "%d", size)
	}
	// Two instance UIDs, far apart.
	_, err := ScanAgentMessageParts(cutUp(append(large, uidField(uidB[:])...), 4096))
	require.ErrorIs(t, err, ErrMalformed)
	// A message of nothing but small fields costs no more than its length.
	small := append(bytes.Repeat([]byte{0x10, 1}, 1<<17), uidField(uidA[:])...)
	assert.Less(t, testing.AllocsPerRun(1, func() { _, _ = ScanAgentMessageParts(cutUp(small, 256<<10)) }), 1000.0)
}
