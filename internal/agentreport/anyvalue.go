// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"slices"
	"strings"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

const (
	// MaxAttributes is how many attributes of one resource or one status event
	// are reported; the first ones by key.
	MaxAttributes = 128
	// MaxKeyBytes bounds the name of an attribute, a component or a pipeline.
	MaxKeyBytes = 1 << 10
	// MaxValueBytes bounds a text or byte value.
	MaxValueBytes = 4 << 10

	// maxDepth bounds the nesting of lists and maps inside one value, maxElements
	// the members of each.
	maxDepth    = 4
	maxElements = 64
)

// keyValues are the attributes of m sorted by key, so that two equal maps make
// equal messages whatever the order in which they were filled.
func keyValues(m pcommon.Map, limit, depth int) []*protobufs.KeyValue {
	if m == (pcommon.Map{}) {
		return nil // a Map that nobody made: its methods would panic
	}
	var kvs []*protobufs.KeyValue
	for _, k := range sortedKeys(m, limit) {
		if v, ok := m.Get(k); ok {
			kvs = append(kvs, &protobufs.KeyValue{Key: clip(k, MaxKeyBytes), Value: anyValue(v, depth)})
		}
	}
	return kvs
}

func sortedKeys(m pcommon.Map, limit int) []string {
	keys := make([]string, 0, m.Len())
	for k := range m.All() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys[:min(len(keys), limit)]
}

// anyValue keeps the type of v. Values nested deeper than maxDepth are told as
// text.
func anyValue(v pcommon.Value, depth int) *protobufs.AnyValue {
	switch v.Type() {
	case pcommon.ValueTypeBool:
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_BoolValue{BoolValue: v.Bool()}}
	case pcommon.ValueTypeInt:
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_IntValue{IntValue: v.Int()}}
	case pcommon.ValueTypeDouble:
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_DoubleValue{DoubleValue: v.Double()}}
	case pcommon.ValueTypeBytes:
		b := v.Bytes().AsRaw()
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_BytesValue{BytesValue: b[:min(len(b), MaxValueBytes)]}}
	case pcommon.ValueTypeSlice:
		if depth < maxDepth {
			return arrayValue(v.Slice(), depth+1)
		}
	case pcommon.ValueTypeMap:
		if depth < maxDepth {
			return &protobufs.AnyValue{Value: &protobufs.AnyValue_KvlistValue{
				KvlistValue: &protobufs.KeyValueList{Values: keyValues(v.Map(), maxElements, depth+1)},
			}}
		}
	}
	return stringValue(v.AsString())
}

func arrayValue(s pcommon.Slice, depth int) *protobufs.AnyValue {
	n := min(s.Len(), maxElements)
	values := make([]*protobufs.AnyValue, 0, n)
	for i := range n {
		values = append(values, anyValue(s.At(i), depth))
	}
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_ArrayValue{ArrayValue: &protobufs.ArrayValue{Values: values}}}
}

func stringValue(s string) *protobufs.AnyValue {
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: clip(s, MaxValueBytes)}}
}

func stringKeyValue(key, value string) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: clip(key, MaxKeyBytes), Value: stringValue(value)}
}

// byKey orders attributes for a reader and for comparison.
func byKey(a, b *protobufs.KeyValue) int { return strings.Compare(a.GetKey(), b.GetKey()) }
