// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"github.com/open-telemetry/opamp-go/protobufs"
)

// report is a message from an agent in our own terms and within our limits. It shares no memory with the message.
type report struct {
	seq          uint64
	capabilities Capabilities // 0 if the message claims none, which a message must not
	goodbye      bool

	// nil means absent, which means unchanged.
	description *Description
	health      *Health // Since is still the agent's word; see settle
	config      *Config
	components  *Components
	custom      *[]string
	masks       masks
	message     *Message // At is not set yet
	ingest      ingestNews
	gateway     gatewayNews
	logical     string // of description

	cuts map[CutReason]struct{}
}

// decode does the costly part of a report, so that it can be done outside any lock.
func decode(msg *protobufs.AgentToServer, l Limits, m masking) report {
	r := report{
		masks:        m.masks,
		seq:          msg.GetSequenceNum(),
		capabilities: Capabilities(msg.GetCapabilities()) & definedCapabilities,
		goodbye:      msg.GetAgentDisconnect() != nil,
	}
	if d := msg.GetAgentDescription(); d != nil {
		c := newCutter(l)
		r.description = decodeDescription(c, d)
		r.noteCuts(c)
	}
	if h := msg.GetHealth(); h != nil {
		c := newCutter(l)
		r.health = decodeHealth(c, "", h, 0)
		r.health.bytes = c.spent() + nodeBytes
		r.noteCuts(c)
	}
	if ec := msg.GetEffectiveConfig(); ec != nil {
		c := newCutter(l)
		r.config = decodeConfig(c, ec, m)
		r.noteCuts(c)
	}
	if ac := msg.GetAvailableComponents(); ac != nil {
		c := newCutter(l)
		r.components = decodeComponents(c, ac)
		r.noteCuts(c)
	}
	if cc := msg.GetCustomCapabilities(); cc != nil {
		c := newCutter(l)
		names := decodeCustomCapabilities(c, cc)
		r.custom = &names
		r.noteCuts(c)
	}
	if cm := msg.GetCustomMessage(); cm != nil {
		c := newCutter(l)
		r.message, r.ingest, r.gateway = decodeMessage(c, cm, m.begins), decodeIngest(c, cm), decodeGateway(c, cm)
		r.noteCuts(c)
	}
	return r
}

func (r *report) noteCuts(c *cutter) {
	for reason := range c.cuts {
		if r.cuts == nil {
			r.cuts = map[CutReason]struct{}{}
		}
		r.cuts[reason] = struct{}{}
	}
}

// complete reports whether the message tells all that caps say the agent can tell. What it is built of is asked
// for apart, for it is large and seldom changes.
func (r *report) complete(caps Capabilities) bool {
	switch {
	case r.description == nil:
		return false
	case r.health == nil && caps.has(protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth):
		return false
	case r.config == nil && caps.has(protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig):
		return false
	}
	return true
}
