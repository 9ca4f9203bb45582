// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package wsframe

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
		want Header
		size int
		bad  string
	}{
		"small":               {in: []byte{0x82, 0x85, 1, 2, 3, 4}, want: Header{Fin: true, Op: OpBinary, Mask: [4]byte{1, 2, 3, 4}, Length: 5}, size: 6},
		"16 bit":              {in: []byte{0x02, 0xfe, 0x12, 0x34, 1, 2, 3, 4}, want: Header{Op: OpBinary, Mask: [4]byte{1, 2, 3, 4}, Length: 0x1234}, size: 8},
		"64 bit":              {in: []byte{0x80, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}, want: Header{Fin: true, Mask: [4]byte{1, 2, 3, 4}, Length: 1 << 32}, size: 14},
		"incomplete":          {in: []byte{0x82, 0xff}, want: Header{Fin: true, Op: OpBinary}, size: 14},
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
			head, size, err := ParseHeader(tt.in, FromClient)
			if tt.bad != "" {
				require.ErrorIs(t, err, ErrFrame)
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
		head, size, err := ParseHeader(b, FromClient)
		if err != nil {
			return
		}
		if head.Length < 0 || size < 6 || size > MaxMaskedHeader || (head.Op.Control() && head.Length > MaxControlPayload) {
			t.Fatalf("accepted %x as %+v of %d bytes", b, head, size)
		}
	})
}

func TestParseHeaderOfAServer(t *testing.T) {
	head, size, err := ParseHeader([]byte{0x82, 0x05}, FromServer)
	require.NoError(t, err)
	assert.Equal(t, Header{Fin: true, Op: OpBinary, Length: 5}, head)
	assert.Equal(t, 2, size)
	_, _, err = ParseHeader([]byte{0x82, 0x85, 1, 2, 3, 4}, FromServer)
	require.ErrorIs(t, err, ErrFrame)
	require.ErrorContains(t, err, "masked by a server")
}

func TestAppendMasked(t *testing.T) {
	mask := [4]byte{0xde, 0xad, 0xbe, 0xef}
	for _, length := range []int{0, 1, 125, 126, 0xffff, 0x10000} {
		payload := bytes.Repeat([]byte{7}, length)
		b := AppendMasked([]byte("before"), OpBinary, mask, payload)
		b = b[len("before"):]
		head, size, err := ParseHeader(b, FromClient)
		require.NoError(t, err)
		require.Equal(t, Header{Fin: true, Op: OpBinary, Mask: mask, Length: int64(length)}, head)
		require.Len(t, b, size+length)
		Mask(b[size:], mask)
		require.Equal(t, payload, b[size:])
	}
}

func TestMaskIsItsOwnInverse(t *testing.T) {
	mask := [4]byte{0xde, 0xad, 0xbe, 0xef}
	for n := range 40 {
		plain := bytes.Repeat([]byte("fleet"), 8)[:n]
		masked := bytes.Clone(plain)
		for i := range masked {
			masked[i] ^= mask[i%4]
		}
		Mask(masked, mask)
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
		got := Seal(make([]byte, MaxHeader+payload), OpBinary)
		assert.Equal(t, want, got[:len(want)])
		assert.Len(t, got, len(want)+payload)
	}
}

func TestClosePayloadFitsAndIsUTF8(t *testing.T) {
	b := ClosePayload(ClosePolicy, strings.Repeat("é", 200))
	assert.LessOrEqual(t, len(b), MaxControlPayload)
	assert.Greater(t, len(b), MaxControlPayload-4)
	assert.True(t, utf8.Valid(b[2:]))
	assert.Equal(t, uint16(ClosePolicy), binary.BigEndian.Uint16(b))
}

func TestParseClose(t *testing.T) {
	for code, ok := range map[uint16]bool{
		0: false, 999: false, 1000: true, 1003: true, 1004: false, 1005: false, 1006: false, 1007: true,
		1014: true, 1015: false, 1016: false, 2999: false, 3000: true, 4999: true, 5000: false, 65535: false,
	} {
		got, err := ParseClose(ClosePayload(code, "bye"))
		if !ok {
			require.ErrorIs(t, err, ErrFrame, "%d", code)
			continue
		}
		require.NoError(t, err, "%d", code)
		assert.Equal(t, code, got)
	}
	code, err := ParseClose(nil)
	require.NoError(t, err)
	assert.Equal(t, uint16(CloseNoStatus), code)
	_, err = ParseClose([]byte{3})
	require.ErrorIs(t, err, ErrFrame)
	_, err = ParseClose([]byte{0x03, 0xe8, 0xff})
	require.ErrorIs(t, err, ErrFrame)
}
