// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields that are read without decoding a message.
const (
	fieldInstanceUID = 1 // of AgentToServer and ServerToAgent

	fieldSequenceNum        = 2
	fieldAgentCapabilities  = 4
	fieldAgentDisconnect    = 9
	fieldAgentCustomOffers  = 12
	fieldAgentCustomMessage = 13

	fieldErrorResponse       = 2
	fieldConnectionSettings  = 4
	fieldServerCapabilities  = 7
	fieldAgentIdentification = 8
	fieldServerCustomOffers  = 10
	fieldServerCustomMessage = 11

	fieldNewInstanceUID   = 1 // of AgentIdentification
	fieldCustomCapability = 1 // of CustomMessage and CustomCapabilities
	fieldCustomType       = 2 // of CustomMessage
	fieldCustomData       = 3 // of CustomMessage
)

// field is one field of an encoded message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	raw    []byte // tag and value
	value  []byte // of a field of BytesType
	varint uint64 // of a field of VarintType
}

// nextField splits the first field off b. Groups, which no OpAMP message has, are
// refused: what is in one could be taken for a field by one reader and not by another.
func nextField(b []byte) (f field, rest []byte, err error) {
	var tag uint64
	size := 1
	if b[0] < 0x80 {
		tag = uint64(b[0])
	} else if tag, size = binary.Uvarint(b); size <= 0 {
		return f, nil, fmt.Errorf("%w: tag", ErrMalformed)
	}
	f.number, f.kind = protowire.Number(tag>>3), protowire.Type(tag&7)
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return f, nil, fmt.Errorf("%w: field number %d", ErrMalformed, tag>>3)
	}
	var n int
	switch f.kind {
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(b[size:])
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(b[size:])
	case protowire.Fixed32Type:
		_, n = protowire.ConsumeFixed32(b[size:])
	case protowire.Fixed64Type:
		_, n = protowire.ConsumeFixed64(b[size:])
	default:
		return f, nil, fmt.Errorf("%w: wire type %d of field %d", ErrMalformed, f.kind, f.number)
	}
	if n < 0 {
		return f, nil, fmt.Errorf("%w: field %d is incomplete", ErrMalformed, f.number)
	}
	f.raw = b[:size+n]
	return f, b[size+n:], nil
}

// uid reads an instance_uid that must not have been read before. Decoders take the last
// of several, and who forwards by the first would let one agent speak for another.
func (f field) uid(before InstanceUID) (InstanceUID, error) {
	switch {
	case f.kind != protowire.BytesType:
		return InstanceUID{}, fmt.Errorf("%w: instance_uid of wire type %d", ErrMalformed, f.kind)
	case !before.IsZero():
		return InstanceUID{}, fmt.Errorf("%w: more than one instance_uid", ErrMalformed)
	default:
		return InstanceUIDFromBytes(f.value)
	}
}

// AgentMessage is what a relay reads of an AgentToServer. Everything else in the message
// is for the server.
type AgentMessage struct {
	UID          InstanceUID
	SequenceNum  uint64
	Capabilities uint64
	Disconnect   bool // agent_disconnect is set
	Custom       bool // it has custom capabilities or a custom message: see UsesCapability
}

// ScanAgentMessage reads an encoded AgentToServer to its end without decoding it. It is
// stricter than a decoder where decoders differ or choose: exactly one instance_uid, no
// groups, nothing incomplete. What is in other fields is not looked at.
func ScanAgentMessage(b []byte) (m AgentMessage, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return AgentMessage{}, err
		}
		if err = m.note(f); err != nil {
			return AgentMessage{}, err
		}
	}
	return m.complete()
}

// note takes a field of the message.
func (m *AgentMessage) note(f field) (err error) {
	switch f.number {
	case fieldInstanceUID:
		m.UID, err = f.uid(m.UID)
	case fieldSequenceNum:
		m.SequenceNum = f.varint
	case fieldAgentCapabilities:
		m.Capabilities = f.varint
	case fieldAgentDisconnect:
		m.Disconnect = true
	case fieldAgentCustomOffers, fieldAgentCustomMessage:
		m.Custom = true
	}
	return err
}

// complete is m once all of the message has been read.
func (m AgentMessage) complete() (AgentMessage, error) {
	if m.UID.IsZero() {
		return AgentMessage{}, fmt.Errorf("%w: there is none", ErrBadInstanceUID)
	}
	return m, nil
}

// UsesCapability says whether an encoded AgentToServer, which ScanAgentMessage has
// accepted, offers the custom capability or has a custom message of it. Where a field
// stands more than once any of them counts, since a decoder merges them. What can't be read
// counts as well: a decoder takes groups, which are refused here, for unknown fields, and reads on.
func UsesCapability(message []byte, capability string) bool {
	for b := message; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return false
		}
		b = rest
		if f.number == fieldAgentCustomOffers || f.number == fieldAgentCustomMessage {
			if names(f.value, capability) {
				return true
			}
		}
	}
	return false
}

// names says whether a CustomCapabilities or a CustomMessage has the capability.
func names(b []byte, capability string) bool {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return true
		}
		if f.number == fieldCustomCapability && string(f.value) == capability {
			return true
		}
		b = rest
	}
	return false
}

// ServerMessage is what a relay reads of a ServerToAgent.
type ServerMessage struct {
	UID    InstanceUID // zero: there is none
	NewUID InstanceUID // agent_identification.new_instance_uid; zero: there is none

	Error              bool // error_response is set
	ConnectionSettings bool // connection_settings is set
	CustomMessage      bool // custom_message is set
	Bare               bool // an acknowledgement: an instance UID, at most the server's capabilities beside it

	Capabilities []byte // the field capabilities, tag and value; nil: it is not set
	CustomOffers []byte // the same of custom_capabilities
}

// ScanServerMessage reads an encoded ServerToAgent to its end without decoding it, by
// the rules of ScanAgentMessage, except that it may lack an instance UID.
func ScanServerMessage(b []byte) (m ServerMessage, err error) {
	m.Bare = true
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return ServerMessage{}, err
		}
		switch f.number {
		case fieldInstanceUID:
			if len(f.value) == 0 && f.kind == protowire.BytesType {
				continue // the same as none
			}
			if m.UID, err = f.uid(m.UID); err != nil {
				return ServerMessage{}, err
			}
			continue
		case fieldServerCapabilities:
			m.Capabilities = f.raw
			continue
		case fieldErrorResponse:
			m.Error = true
		case fieldConnectionSettings:
			m.ConnectionSettings = true
		case fieldServerCustomMessage:
			m.CustomMessage = true
		case fieldServerCustomOffers:
			m.CustomOffers = f.raw
		case fieldAgentIdentification:
			if m.NewUID, err = newUID(f.value, m.NewUID); err != nil {
				return ServerMessage{}, err
			}
		}
		m.Bare = false
	}
	return m, nil
}

// newUID is the last new_instance_uid of an AgentIdentification, else before. One that
// is none is for the agent to refuse.
func newUID(b []byte, before InstanceUID) (InstanceUID, error) {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return InstanceUID{}, err
		}
		if f.number == fieldNewInstanceUID {
			if uid, err := InstanceUIDFromBytes(f.value); err == nil {
				before = uid
			}
		}
		b = rest
	}
	return before, nil
}

// CustomMessage is a custom message as it travels. Its parts are slices of the message
// that it was read from.
type CustomMessage struct {
	Capability string
	Type       string
	Data       []byte
}

// ServerCustomMessage reads the custom message of an encoded ServerToAgent.
func ServerCustomMessage(message []byte) (c CustomMessage, ok bool) {
	for b := message; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return CustomMessage{}, false
		}
		b = rest
		if f.number != fieldServerCustomMessage {
			continue
		}
		ok = true
		for inner := f.value; len(inner) > 0; {
			g, rest, err := nextField(inner)
			if err != nil {
				return CustomMessage{}, false
			}
			inner = rest
			switch g.number {
			case fieldCustomCapability:
				c.Capability = string(g.value)
			case fieldCustomType:
				c.Type = string(g.value)
			case fieldCustomData:
				c.Data = g.value
			}
		}
	}
	return c, ok
}
