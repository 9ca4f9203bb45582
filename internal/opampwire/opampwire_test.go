// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

func TestParseInstanceUID(t *testing.T) {
	const canonical = "01890a5d-ac96-774b-bcce-b302099a8057"
	tests := map[string]struct{ in, want string }{
		"canonical":  {in: canonical, want: canonical},
		"upper case": {in: strings.ToUpper(canonical), want: canonical},
		"no dashes":  {in: strings.ReplaceAll(canonical, "-", ""), want: canonical},
		"urn":        {in: "urn:uuid:" + canonical, want: canonical},
		"braces":     {in: "{" + canonical + "}", want: canonical},
		"version 4":  {in: "f81d4fae-7dec-41d0-a765-00a0c91e6bf6", want: "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"},
		"ulid":       {in: "01ARZ3NDEKTSV4RRFFQ69G5FAV", want: "01563e3a-b5d3-d676-4c61-efb99302bd5b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseInstanceUID(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.String())
		})
	}
	for _, bad := range []string{
		"", "node-1", "00000000-0000-0000-0000-000000000000", canonical + "0",
		"01H451VB4PEX5VSKNK0H4SN02!", strings.Repeat("x", 1000),
	} {
		_, err := ParseInstanceUID(bad)
		require.ErrorIs(t, err, ErrBadInstanceUID, bad)
		assert.Less(t, len(err.Error()), 200, "a hostile value must not fill the log")
	}
}

func TestInstanceUIDFromBytes(t *testing.T) {
	uid := NewInstanceUID()
	got, err := InstanceUIDFromBytes(uid.Bytes())
	require.NoError(t, err)
	assert.Equal(t, uid, got)
	for _, n := range []int{0, 1, 15, 16, 17, 26} {
		_, err := InstanceUIDFromBytes(make([]byte, n))
		require.ErrorIs(t, err, ErrBadInstanceUID, "%d zero bytes", n)
	}
}

func TestNewInstanceUIDIsVersion7AndNew(t *testing.T) {
	a, b := NewInstanceUID(), NewInstanceUID()
	assert.NotEqual(t, a, b)
	assert.Equal(t, byte(0x70), a[6]&0xf0)
}

func TestFrameRoundTrip(t *testing.T) {
	in := &protobufs.AgentToServer{InstanceUid: NewInstanceUID().Bytes(), SequenceNum: 7}
	frame, err := AppendFrame(nil, in)
	require.NoError(t, err)
	assert.Equal(t, byte(0), frame[0])

	var out protobufs.AgentToServer
	require.NoError(t, ParseFrame(frame, &out))
	assert.True(t, proto.Equal(in, &out))
}

func TestFrameHeaders(t *testing.T) {
	tests := map[string]struct {
		frame []byte
		ok    bool
	}{
		"empty message":        {frame: []byte{0}, ok: true},
		"zero in two bytes":    {frame: []byte{0x80, 0x00}, ok: true},
		"no bytes":             {frame: nil},
		"header one":           {frame: []byte{1}},
		"unfinished varint":    {frame: []byte{0x80}},
		"header over 64 bits":  {frame: bytes.Repeat([]byte{0xff}, 11)},
		"no header, a message": {frame: []byte{0x0a, 0x01, 0x00}},
		"truncated message":    {frame: []byte{0, 0x0a, 0x10, 0x01}},
		"wrong wire type":      {frame: []byte{0, 0x08, 0x01, 0x0f}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := ParseFrame(tt.frame, &protobufs.AgentToServer{})
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

func TestUnencodableMessageIsAnError(t *testing.T) {
	_, err := AppendFrame(nil, &protobufs.ComponentHealth{LastError: "\xff"})
	require.Error(t, err)
}

func TestReadLimited(t *testing.T) {
	for size, tooLarge := range map[int]bool{0: false, 9: false, 10: false, 11: true, 5000: true} {
		got, err := ReadLimited(bytes.NewReader(make([]byte, size)), 10)
		if tooLarge {
			require.ErrorIs(t, err, ErrTooLarge, "%d bytes", size)
			continue
		}
		require.NoError(t, err)
		assert.Len(t, got, size)
	}
}

func zipped(t *testing.T, size int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func TestGunzip(t *testing.T) {
	const limit = 1 << 16
	one := zipped(t, 1000)
	tests := map[string]struct {
		in   []byte
		want int
		err  error
	}{
		"one member":             {in: one, want: 1000},
		"two members":            {in: append(bytes.Clone(one), one...), want: 2000},
		"just the limit":         {in: zipped(t, limit), want: limit},
		"one byte past":          {in: zipped(t, limit+1), err: ErrTooLarge},
		"bomb":                   {in: zipped(t, 64<<20), err: ErrTooLarge},
		"bomb in two members":    {in: append(zipped(t, limit), zipped(t, 1)...), err: ErrTooLarge},
		"flood of empty members": {in: bytes.Repeat(zipped(t, 0), 1000), err: ErrMalformed},
		"compressed past limit":  {in: append(bytes.Clone(one), make([]byte, 2*limit)...), err: ErrMalformed},
		"truncated":              {in: one[:len(one)-4], err: ErrMalformed},
		"trailing garbage":       {in: append(bytes.Clone(one), "garbage"...), err: ErrMalformed},
		"not gzip":               {in: []byte("plain"), err: ErrMalformed},
		"nothing":                {in: nil, err: ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Gunzip(bytes.NewReader(tt.in), limit)
			if tt.err != nil {
				require.ErrorIs(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Len(t, got, tt.want)
		})
	}
}

func TestGunzipStopsReadingAtTheLimit(t *testing.T) {
	src := &counting{r: io.MultiReader(bytes.NewReader(incompressible()), neverending{})}
	_, err := Gunzip(src, 1<<12)
	require.ErrorIs(t, err, ErrTooLarge)
	assert.LessOrEqual(t, src.n, 1<<12+1)
}

// incompressible is the head of a stored (uncompressed) gzip member that announces
// more than any limit of these tests.
func incompressible() []byte {
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0, 0xff, 0xff, 0, 0}
}

type neverending struct{}

func (neverending) Read(p []byte) (int, error) { return len(p), nil }

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func FuzzParseFrame(f *testing.F) {
	for _, seed := range [][]byte{nil, {0}, {0, 0x0a, 0x01, 0x00}, {0x80, 0x80, 0x01}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m protobufs.AgentToServer
		if err := ParseFrame(frame, &m); err != nil {
			return
		}
		again, err := AppendFrame(nil, &m)
		require.NoError(t, err)
		require.NoError(t, ParseFrame(again, &protobufs.AgentToServer{}))
	})
}
