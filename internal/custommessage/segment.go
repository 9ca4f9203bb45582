// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"
)

const (
	// segmentSize is about how large a segment gets, in bytes. One message may be larger.
	segmentSize = 1 << 20
	// maxSegments bounds how many there are.
	maxSegments = 1 << 16
	// format is the version of what is kept, the first byte of each record.
	format = 1
)

var errDamaged = errors.New("what was kept is damaged")

// indexKey names the record that says which segments there are.
const indexKey = "index"

func segmentKey(id uint32) string { return fmt.Sprintf("segment_%d", id) }

// segment is a record that holds some messages.
type segment struct {
	id   uint32
	live int               // how many of them still wait
	last map[string]uint64 // the highest number of each capability in it
}

// index says which segments there are, and up to which number each capability's messages
// need not be sent any more.
type index struct {
	Format   int               `json:"format"`
	Segments []uint32          `json:"segments,omitempty"`
	Done     map[string]uint64 `json:"done,omitempty"`
}

func (x index) encode() []byte {
	x.Format = format
	data, _ := json.Marshal(x) // it holds numbers and valid text
	return data
}

func decodeIndex(data []byte) (index, error) {
	var x index
	if err := json.Unmarshal(data, &x); err != nil {
		return index{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if x.Format != format || len(x.Segments) > maxSegments {
		return index{}, fmt.Errorf("%w: an index of format %d with %d segments", errDamaged, x.Format, len(x.Segments))
	}
	return x, nil
}

// encodeSegment is a segment of items: for each its number, its length and its message,
// and at the end a checksum.
func encodeSegment(items []*item) []byte {
	data := []byte{format}
	for _, i := range items {
		data = binary.AppendUvarint(data, i.number)
		data = binary.AppendUvarint(data, uint64(proto.Size(i.msg)))
		data, _ = proto.MarshalOptions{}.MarshalAppend(data, i.msg) // what cannot be encoded was refused when it came
	}
	return binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data))
}

// numbered is a message that was kept.
type numbered struct {
	number uint64
	msg    *protobufs.CustomMessage
}

func decodeSegment(data []byte) ([]numbered, error) {
	if len(data) < 5 || data[0] != format {
		return nil, errDamaged
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, fmt.Errorf("%w: a checksum does not match", errDamaged)
	}
	var all []numbered
	for rest := body[1:]; len(rest) > 0; {
		number, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errDamaged
		}
		rest = rest[n:]
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return nil, errDamaged
		}
		rest = rest[n:]
		msg := new(protobufs.CustomMessage)
		if err := proto.Unmarshal(rest[:size], msg); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		all, rest = append(all, numbered{number, msg}), rest[size:]
	}
	return all, nil
}
