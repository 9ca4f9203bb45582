// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// envelope are the fields that go with most messages and say nothing new.
var envelope = map[protoreflect.Name]bool{"instance_uid": true, "sequence_num": true, "capabilities": true}

// partUnknown stands for the fields that this version of the protocol does not have.
const partUnknown = "unknown"

// eachPart calls f with each field of m that says something, by its name in the
// protocol, and the bytes of its value. The names are a closed set, whatever arrives.
func eachPart(m proto.Message, f func(name string, bytes int)) {
	r := m.ProtoReflect()
	r.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !envelope[field.Name()] {
			f(string(field.Name()), valueSize(field, v))
		}
		return true
	})
	if n := len(r.GetUnknown()); n > 0 {
		f(partUnknown, n)
	}
}

// valueSize knows the kinds that the two messages of OpAMP have at their top: messages,
// and flags.
func valueSize(field protoreflect.FieldDescriptor, v protoreflect.Value) int {
	if field.Kind() == protoreflect.MessageKind {
		return proto.Size(v.Message().Interface())
	}
	return protowire.SizeVarint(v.Uint())
}
