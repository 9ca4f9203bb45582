// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields of ConnectionSettingsOffers and OpAMPConnectionSettings that
// say where and how an agent connects.
const (
	fieldOpAMPSettings = 2

	fieldDestination = 1
	fieldCertificate = 3
	fieldTLS         = 5
	fieldProxy       = 6
)

// AppendHeartbeat appends the frame of an AgentToServer that says nothing but that the
// agent is there. A server that has missed something of it asks for everything.
func AppendHeartbeat(dst []byte, uid InstanceUID, seq uint64) []byte {
	dst = append(dst, 0)
	dst = protowire.AppendTag(dst, fieldInstanceUID, protowire.BytesType)
	dst = protowire.AppendBytes(dst, uid[:])
	dst = protowire.AppendTag(dst, fieldSequenceNum, protowire.VarintType)
	return protowire.AppendVarint(dst, seq)
}

// AppendAcknowledgement appends an encoded ServerToAgent that says nothing but whom it is
// for.
func AppendAcknowledgement(dst []byte, uid InstanceUID) []byte {
	dst = protowire.AppendTag(dst, fieldInstanceUID, protowire.BytesType)
	return protowire.AppendBytes(dst, uid[:])
}

// AppendGoodbye appends the frame of an AgentToServer with agent_disconnect.
func AppendGoodbye(dst []byte, uid InstanceUID, seq uint64) []byte {
	dst = AppendHeartbeat(dst, uid, seq)
	dst = protowire.AppendTag(dst, fieldAgentDisconnect, protowire.BytesType)
	return protowire.AppendBytes(dst, nil)
}

// Destination says what became of a destination in an offer of connection settings.
type Destination struct {
	Found    bool   // an OpAMP destination was offered
	Endpoint string // the last one
}

// RedirectOffers takes the OpAMP destination out of the connection settings of an
// encoded ServerToAgent, and with it what is only of use there: certificate, TLS and
// proxy. Where to is not empty it stands in the destination's place. Everything else,
// headers and the heartbeat interval among it, stays byte for byte and in its order. The
// message is returned as it is if it offers no destination. One that can't be read has none
// that could be taken out with certainty: it must not go on.
func RedirectOffers(message []byte, to string) ([]byte, Destination, error) {
	var d Destination
	each := func(change func(settings []byte) ([]byte, error)) ([]byte, error) {
		return edit(message, fieldConnectionSettings, func(offers []byte) ([]byte, error) {
			return edit(offers, fieldOpAMPSettings, change)
		})
	}
	_, err := each(func(settings []byte) ([]byte, error) { return settings, d.find(settings) })
	if err != nil || !d.Found { // the settings are for the connection that the agent has
		return message, d, err
	}
	out, err := each(func(settings []byte) ([]byte, error) { return redirect(settings, to) })
	return out, d, err
}

// find looks for a destination. Of several settings in a message any counts, since a decoder merges them.
func (d *Destination) find(settings []byte) error {
	for b := settings; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if b = rest; f.number == fieldDestination && len(f.value) > 0 {
			d.Found, d.Endpoint = true, string(f.value)
		}
	}
	return nil
}

// edit copies message with each field of number replaced by what change makes of it.
func edit(message []byte, number protowire.Number, change func([]byte) ([]byte, error)) ([]byte, error) {
	out := make([]byte, 0, len(message))
	for b := message; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		b = rest
		if f.number != number || f.kind != protowire.BytesType {
			out = append(out, f.raw...)
			continue
		}
		value, err := change(f.value)
		if err != nil {
			return nil, err
		}
		out = protowire.AppendTag(out, number, protowire.BytesType)
		out = protowire.AppendBytes(out, value)
	}
	return out, nil
}

// redirect rewrites one OpAMPConnectionSettings.
func redirect(settings []byte, to string) ([]byte, error) {
	var kept []byte
	for b := settings; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		b = rest
		switch f.number {
		case fieldDestination, fieldCertificate, fieldTLS, fieldProxy:
		default:
			kept = append(kept, f.raw...)
		}
	}
	if to == "" {
		return kept, nil
	}
	out := protowire.AppendTag(nil, fieldDestination, protowire.BytesType)
	return append(protowire.AppendString(out, to), kept...), nil
}
