// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// maxUnpacked bounds what a content may be when unpacked, in bytes: more than any that was packed.
const maxUnpacked = 256 << 20

// packer compresses contents. It is safe for concurrent use.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newPacker() *packer {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err) // only options can be wrong
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		panic(err)
	}
	return &packer{encoder: encoder, decoder: decoder}
}

func (p *packer) pack(raw []byte) []byte { return p.encoder.EncodeAll(raw, nil) }

func (p *packer) unpack(packed []byte) ([]byte, error) {
	raw, err := p.decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return raw, nil
}

func (p *packer) close() {
	_ = p.encoder.Close() // nothing is in it
	p.decoder.Close()
}
