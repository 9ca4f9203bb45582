// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	gzipSuffix = ".gz"
	zstdSuffix = ".zst"

	// maxWindow is how far back a zstd stream may refer, which is what its decoder holds in memory.
	maxWindow = 32 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func hasSuffix(key, suffix string) bool { return strings.HasSuffix(key, suffix) }

func withoutCompression(key string) string {
	if stripped, ok := strings.CutSuffix(key, gzipSuffix); ok {
		return stripped
	}
	return strings.TrimSuffix(key, zstdSuffix)
}

// decompress gives what an object holds. What the bytes say counts, not the key: stores and proxies
// take a compression off or leave out a suffix. done ends the decompressor.
func decompress(r io.Reader, key string) (plain io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, broken(err)
		}
		return marked{z}, nothing, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, broken(err)
		}
		return marked{z}, z.Close, nil
	case len(head) > 0 && hasSuffix(key, zstdSuffix) && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18}):
		// A skippable frame in front.
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, broken(err)
		}
		return marked{z}, z.Close, nil
	}
	return buffered, nothing, nil
}

// marked tells what is wrong with a compression from what is wrong with the way to it.
type marked struct{ r io.Reader }

func (m marked) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = broken(err)
	} else if err != nil {
		err = io.EOF
	}
	return n, err
}

// broken keeps the cause: it may be an error of the store.
func broken(err error) error { return fmt.Errorf("%w: %w", ErrCompression, err) }
