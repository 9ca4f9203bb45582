// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// nested puts b into a field, n times.
func nested(b []byte, fields ...protowire.Number) []byte {
	for _, f := range fields {
		b = protowire.AppendBytes(protowire.AppendTag(nil, f, protowire.BytesType), b)
	}
	return b
}

func TestMessageOfManyElementsIsRefusedBeforeItIsDecoded(t *testing.T) {
	const (
		description    = 3
		identifying    = 1
		health         = 5
		healthMap      = 7
		unknownField   = 1000
		mapValue       = 2
		customMessage  = 12
		customData     = 3
		emptyElements  = 16 << 20
		allowedBytes   = 64 << 20
		elementInBytes = 2
	)
	empty := bytes.Repeat([]byte{identifying<<3 | 2, 0}, emptyElements)
	emptyHealth := bytes.Repeat([]byte{healthMap<<3 | 2, 0}, emptyElements)
	hostile := map[string][]byte{
		"attributes":        nested(empty, description),
		"health parts":      nested(emptyHealth, health),
		"parts two deep":    nested(emptyHealth, mapValue, healthMap, health),
		"unknown fields":    bytes.Repeat(protowire.AppendVarint(protowire.AppendTag(nil, unknownField, protowire.VarintType), 1), 1<<20),
		"one field, often":  bytes.Repeat([]byte{2 << 3, 1}, emptyElements),
		"and then nonsense": append(nested(empty, description), 0xff),
	}
	for name, body := range hostile {
		t.Run(name, func(t *testing.T) {
			require.Less(t, len(body), allowedBytes)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := ParseMessage(body, &protobufs.AgentToServer{})
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, ErrTooLarge)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes allocated to refuse %d", len(body))
		})
	}
	honest := map[string][]byte{
		"large data":   nested(make([]byte, 32<<20), customData, customMessage),
		"many, within": nested(empty[:elementInBytes*(MaxElements-1)], description),
	}
	for name, body := range honest {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, ParseMessage(body, &protobufs.AgentToServer{}))
		})
	}
}

func BenchmarkCheckElements(b *testing.B) {
	list := map[string]*protobufs.ComponentDetails{}
	for i := range 5000 {
		list[fmt.Sprintf("component_with_a_name_%d", i)] = &protobufs.ComponentDetails{}
	}
	body, err := proto.Marshal(&protobufs.AgentToServer{
		AvailableComponents: &protobufs.AvailableComponents{Components: list, Hash: make([]byte, 100_000)},
	})
	require.NoError(b, err)
	d := (&protobufs.AgentToServer{}).ProtoReflect().Descriptor()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := checkElements(body, d); err != nil {
			b.Fatal(err)
		}
	}
}
