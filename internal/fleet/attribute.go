// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Attribute is a key with a value of one of these types: nil, string, bool, int64, float64, []byte, []any (of the
// same) and []Attribute.
type Attribute struct {
	Key   string
	Value any
}

// Text is the value as one line of a list shows it.
func (a Attribute) Text() string { return valueText(a.Value) }

// Description says who an agent is and where it runs.
type Description struct {
	Identifying    []Attribute
	NonIdentifying []Attribute
	// Omitted counts attributes that were more than the limit.
	Omitted int

	bytes int
}

// attribute is the text of the attribute called key, the identifying ones first. It works on nil.
func (d *Description) attribute(key string) string {
	if d == nil {
		return ""
	}
	for _, list := range [][]Attribute{d.Identifying, d.NonIdentifying} {
		for _, a := range list {
			if a.Key == key {
				return valueText(a.Value)
			}
		}
	}
	return ""
}

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func decodeDescription(c *cutter, d *protobufs.AgentDescription) *Description {
	out := &Description{}
	out.Identifying = decodeAttributes(c, d.GetIdentifyingAttributes(), 0, &out.Omitted)
	out.NonIdentifying = decodeAttributes(c, d.GetNonIdentifyingAttributes(), 0, &out.Omitted)
	out.bytes = c.spent()
	return out
}

// decodeAttributes counts into omitted what it leaves out.
func decodeAttributes(c *cutter, kvs []*protobufs.KeyValue, depth int, omitted *int) []Attribute {
	if n := len(kvs) - c.limits.MaxAttributes; n > 0 {
		c.note(CutAttributes)
		*omitted += n
		kvs = kvs[:c.limits.MaxAttributes]
	}
	if len(kvs) == 0 {
		return nil
	}
	c.items += len(kvs)
	out := make([]Attribute, 0, len(kvs))
	for _, kv := range kvs {
		out = append(out, Attribute{Key: c.name(kv.GetKey()), Value: decodeValue(c, kv.GetValue(), depth, omitted)})
	}
	return out
}

func decodeValue(c *cutter, v *protobufs.AnyValue, depth int, omitted *int) any {
	switch v := v.GetValue().(type) {
	case *protobufs.AnyValue_StringValue:
		return c.name(v.StringValue)
	case *protobufs.AnyValue_BoolValue:
		return v.BoolValue
	case *protobufs.AnyValue_IntValue:
		return v.IntValue
	case *protobufs.AnyValue_DoubleValue:
		return v.DoubleValue
	case *protobufs.AnyValue_BytesValue:
		return c.bytes(v.BytesValue)
	case *protobufs.AnyValue_ArrayValue:
		return decodeArray(c, v.ArrayValue.GetValues(), depth+1, omitted)
	case *protobufs.AnyValue_KvlistValue:
		if c.tooDeep(depth + 1) {
			return marker
		}
		return decodeAttributes(c, v.KvlistValue.GetValues(), depth+1, omitted)
	default:
		return nil
	}
}

func decodeArray(c *cutter, vs []*protobufs.AnyValue, depth int, omitted *int) any {
	if c.tooDeep(depth) {
		return marker
	}
	if n := len(vs) - c.limits.MaxAttributes; n > 0 {
		c.note(CutAttributes)
		*omitted += n
		vs = vs[:c.limits.MaxAttributes]
	}
	c.items += len(vs)
	out := make([]any, 0, len(vs))
	for _, v := range vs {
		out = append(out, decodeValue(c, v, depth, omitted))
	}
	return out
}
