// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

// pieces are encoded resources one after the other, which can be decoded together or one by one.
type pieces struct {
	data   []byte
	starts []int
}

func (p *pieces) size() int { return len(p.data) }

// begin says that another piece starts where the data ends.
func (p *pieces) begin() { p.starts = append(p.starts, len(p.data)) }

// last is the piece that was begun last.
func (p *pieces) last() []byte { return p.data[p.starts[len(p.starts)-1]:] }

// drop takes the last piece back.
func (p *pieces) drop() {
	last := len(p.starts) - 1
	p.data, p.starts = p.data[:p.starts[last]], p.starts[:last]
}

func (p *pieces) reset() {
	if cap(p.data) > 4*batchBytes {
		p.data = nil // one large piece must not hold its memory for all that come after
	}
	p.data, p.starts = p.data[:0], p.starts[:0]
}

// flush decodes all pieces at once and yields them. Where that fails it goes on one by one, so that
// all before the broken piece are delivered; explain says what is wrong with that one.
func flush[T any](p *pieces, decode func([]byte) (T, error), explain func([]byte, error) error, yield func(T) error) error {
	if len(p.starts) == 0 {
		return nil
	}
	defer p.reset()
	batch, err := decode(p.data)
	if err == nil {
		return yield(batch)
	}
	if len(p.starts) == 1 {
		return explain(p.data, err)
	}
	for i, start := range p.starts {
		end := len(p.data)
		if i+1 < len(p.starts) {
			end = p.starts[i+1]
		}
		piece := p.data[start:end]
		one, err := decode(piece)
		if err != nil {
			return explain(piece, err)
		}
		if err := yield(one); err != nil {
			return err
		}
	}
	return nil
}
