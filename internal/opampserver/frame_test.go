// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseHeader(t *testing.T) {
	tests := map[string]struct {
		in   []byte
		want frameHeader
		size int
		bad  string
	}{
		"small":               {in: []byte{0x82, 0x85, 1, 2, 3, 4}, want: frameHeader{fin: true, op: opBinary, mask: [4]byte{1, 2, 3, 4}, length: 5}, size: 6},
		"16 bit":              {in: []byte{0x02, 0xfe, 0x12, 0x34, 1, 2, 3, 4}, want: frameHeader{op: opBinary, mask: [4]byte{1, 2, 3, 4}, length: 0x1234}, size: 8},
		"64 bit":              {in: []byte{0x80, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}, want: frameHeader{fin: true, mask: [4]byte{1, 2, 3, 4}, length: 1 << 32}, size: 14},
		"incomplete":          {in: []byte{0x82, 0xff}, want: frameHeader{fin: true, op: opBinary}, size: 14},
		"longer than 63 bits": {in: []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, bad: "63 bits"},
		"negative":            {in: []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4}, bad: "63 bits"},
		"not masked":          {in: []byte{0x82, 0x05}, bad: "not masked"},
		"rsv1":                {in: []byte{0xc2, 0x85}, bad: "reserved bits"},
		"rsv3":                {in: []byte{0x92, 0x85}, bad: "reserved bits"},
		"opcode 3":            {in: []byte{0x83, 0x85}, bad: "opcode 3"},
		"opcode 15":           {in: []byte{0x8f, 0x85}, bad: "opcode 15"},
		"ping in pieces":      {in: []byte{0x09, 0x85}, bad: "control frame"},
		"long ping":           {in: []byte{0x89, 0xfe}, bad: "control frame"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			head, size, err := parseHeader(tt.in)
			if tt.bad != "" {
				require.ErrorIs(t, err, errFrame)
				require.ErrorContains(t, err, tt.bad)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.size, size)
			assert.Equal(t, tt.want, head)
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4})
	f.Add([]byte{0x82, 0x85})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 {
			return
		}
		head, size, err := parseHeader(b)
		if err != nil {
			return
		}
		if head.length < 0 || size < 6 || size > maxInHeader || (head.op.control() && head.length > maxControlPayload) {
			t.Fatalf("accepted %x as %+v of %d bytes", b, head, size)
		}
	})
}

func TestUnmaskIsItsOwnInverse(t *testing.T) {
	mask := [4]byte{0xde, 0xad, 0xbe, 0xef}
	for n := range 40 {
		plain := bytes.Repeat([]byte("fleet"), 8)[:n]
		masked := bytes.Clone(plain)
		for i := range masked {
			masked[i] ^= mask[i%4]
		}
		unmask(masked, mask)
		assert.Equal(t, plain, masked, "%d bytes", n)
	}
}

func TestSealWritesTheShortestHeader(t *testing.T) {
	for payload, want := range map[int][]byte{
		0:       {0x82, 0},
		125:     {0x82, 125},
		126:     {0x82, 126, 0, 126},
		0xffff:  {0x82, 126, 0xff, 0xff},
		0x10000: {0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0},
	} {
		got := seal(make([]byte, maxOutHeader+payload), opBinary)
		assert.Equal(t, want, got[:len(want)])
		assert.Len(t, got, len(want)+payload)
	}
}

func TestClosePayloadFitsAndIsUTF8(t *testing.T) {
	b := closePayload(closePolicy, strings.Repeat("é", 200))
	assert.LessOrEqual(t, len(b), maxControlPayload)
	assert.Greater(t, len(b), maxControlPayload-4)
	assert.True(t, utf8.Valid(b[2:]))
	assert.Equal(t, uint16(closePolicy), binary.BigEndian.Uint16(b))
}

func TestParseClose(t *testing.T) {
	for code, ok := range map[uint16]bool{
		0: false, 999: false, 1000: true, 1003: true, 1004: false, 1005: false, 1006: false, 1007: true,
		1014: true, 1015: false, 1016: false, 2999: false, 3000: true, 4999: true, 5000: false, 65535: false,
	} {
		got, err := parseClose(closePayload(code, "bye"))
		if !ok {
			require.ErrorIs(t, err, errFrame, "%d", code)
			continue
		}
		require.NoError(t, err, "%d", code)
		assert.Equal(t, code, got)
	}
	code, err := parseClose(nil)
	require.NoError(t, err)
	assert.Equal(t, uint16(closeNoStatus), code)
	_, err = parseClose([]byte{3})
	require.ErrorIs(t, err, errFrame)
	_, err = parseClose([]byte{0x03, 0xe8, 0xff})
	require.ErrorIs(t, err, errFrame)
}
