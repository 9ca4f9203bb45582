// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Report is what the server should know now. Parts that are nil are not reported.
// The client keeps the messages: they must not be changed afterwards.
type Report struct {
	InstanceUID        opampwire.InstanceUID
	Capabilities       protobufs.AgentCapabilities
	Description        *protobufs.AgentDescription
	Health             *protobufs.ComponentHealth
	EffectiveConfig    *protobufs.EffectiveConfig
	Components         *protobufs.AvailableComponents // the hash and the whole list
	CustomCapabilities *protobufs.CustomCapabilities
}

// part is one piece of a report that is sent again only when it changed.
type part int

const (
	partDescription part = iota
	partHealth
	partEffectiveConfig
	partComponents
	partCustomCapabilities
	partCount
)

// parts says of each part what it is called and where it goes. The list of components
// is long and rarely wanted: messages carry its hash, and the list when it is asked for
// (AvailableComponents).
var parts = [partCount]struct {
	name string
	put  func(to *protobufs.AgentToServer, m proto.Message, whole bool)
}{
	partDescription: {"agent_description", func(to *protobufs.AgentToServer, m proto.Message, _ bool) {
		to.AgentDescription = m.(*protobufs.AgentDescription)
	}},
	partHealth: {"health", func(to *protobufs.AgentToServer, m proto.Message, _ bool) {
		to.Health = m.(*protobufs.ComponentHealth)
	}},
	partEffectiveConfig: {"effective_config", func(to *protobufs.AgentToServer, m proto.Message, _ bool) {
		to.EffectiveConfig = m.(*protobufs.EffectiveConfig)
	}},
	partComponents: {"available_components", func(to *protobufs.AgentToServer, m proto.Message, whole bool) {
		list := m.(*protobufs.AvailableComponents)
		if !whole {
			list = &protobufs.AvailableComponents{Hash: list.GetHash()}
		}
		to.AvailableComponents = list
	}},
	partCustomCapabilities: {"custom_capabilities", func(to *protobufs.AgentToServer, m proto.Message, _ bool) {
		to.CustomCapabilities = m.(*protobufs.CustomCapabilities)
	}},
}

// held is the present value of a part. Its version grows with each change and is 0
// while there is none.
type held struct {
	value   proto.Message
	version uint64
}

// state is a report with versions. It is a value: a copy is a snapshot.
type state struct {
	uid          opampwire.InstanceUID
	capabilities protobufs.AgentCapabilities
	parts        [partCount]held
}

func newState(r Report) state {
	s := state{uid: r.InstanceUID, capabilities: r.Capabilities}
	setPart(&s, partDescription, r.Description)
	setPart(&s, partHealth, r.Health)
	setPart(&s, partEffectiveConfig, r.EffectiveConfig)
	setPart(&s, partComponents, r.Components)
	setPart(&s, partCustomCapabilities, r.CustomCapabilities)
	return s
}

// partValue is a pointer to a message.
type partValue interface {
	comparable
	proto.Message
}

// setPart takes m as the part's value and reports whether that is news. Nil changes
// nothing: OpAMP has no way to take a part back.
func setPart[M partValue](s *state, p part, m M) bool {
	var none M
	h := &s.parts[p]
	if m == none || (h.value != nil && proto.Equal(h.value, m)) {
		return false
	}
	h.value = m
	h.version++
	return true
}
