// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "slices"

// Parts is a set of the parts of a report.
type Parts uint8

const (
	PartDescription Parts = 1 << iota
	PartHealth
	PartConfig
	PartComponents
	PartCustomCapabilities
	PartMessages

	allParts = PartDescription | PartHealth | PartConfig | PartComponents | PartCustomCapabilities | PartMessages
)

// Names of the parts in p, in a fixed order.
func (p Parts) Names() (out []string) {
	for i, name := range []string{
		"description", "health", "effective_config", "available_components", "custom_capabilities",
		"custom_messages",
	} {
		if p&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// What things take besides their texts, in bytes: rounded up from what the allocator gives them.
const (
	agentBytes     = 1 << 10 // an Agent, its record, and its places in maps
	nodeBytes      = 256     // a Health or a Component
	attributeBytes = 96      // an Attribute or an element of a list
	fileBytes      = 128     // a ConfigFile
	problemBytes   = 256     // a Problem with its path; the texts are those of Health
	channelBytes   = 192     // a Channel
	messageBytes   = 192     // a Message or a Letter
	ingestBytes    = 512     // an Ingest
	gatewayBytes   = 512     // a Gateway
	upstreamBytes  = 128     // an upstream of one, or a part of a listing
)

// maxStripped bounds how many agents give up their parts because of one message: what one costs must not depend on
// how many there are.
const maxStripped = 64

// Maxima of what is left of a part that was given up.
const (
	maxBriefName  = 128
	maxBriefError = 256
)

// ownBytes is what the agent holds that it shares with no other.
func (a *Agent) ownBytes() int64 {
	n := a.channelsBytes() + a.mailBytes() + a.ingestsBytes() + a.gatewaysBytes() + a.masks.bytes()
	n += agentBytes + len(a.search) + problemBytes*len(a.Problems)
	for _, c := range a.CustomCapabilities {
		n += len(c) + attributeBytes
	}
	if a.Description != nil {
		n += a.Description.bytes
	}
	if a.Health != nil {
		n += a.Health.bytes
	}
	return int64(n)
}

// economizeLocked gets back below Settings.MaxMemory after rec reported ch. Agents that are gone give up their parts
// first, who went first before others; if that is not enough, what was just reported is not kept.
func (f *Fleet) economizeLocked(rec *record, ch Changes) {
	if !rec.agent.Present() && ch.parts() != 0 {
		f.laden.push(rec) // a goodbye may tell something, and repeat itself
	}
	for range maxStripped {
		if f.stats.Memory <= f.settings.MaxMemory || f.laden.head == nil {
			break
		}
		gone := f.laden.head
		f.laden.remove(gone)
		f.stripLocked(gone, allParts, CutMemoryGone)
	}
	if f.stats.Memory > f.settings.MaxMemory {
		f.stripLocked(rec, ch.parts(), CutMemory)
	}
}

// parts that a report with these changes brought.
func (ch Changes) parts() (p Parts) {
	for _, m := range []struct {
		changed Changes
		part    Parts
	}{
		{ChangedDescription, PartDescription},
		{ChangedHealth, PartHealth},
		{ChangedConfig, PartConfig},
		{ChangedComponents, PartComponents},
		{ChangedCapabilities, PartCustomCapabilities},
		{ChangedMessages, PartMessages},
		{ChangedMail, PartMessages},
	} {
		if ch&m.changed != 0 {
			p |= m.part
		}
	}
	return p
}

// changes that the loss of these parts is.
func (p Parts) changes() (ch Changes) {
	for _, c := range []Changes{
		ChangedDescription, ChangedHealth, ChangedConfig, ChangedComponents, ChangedCapabilities,
		ChangedMessages,
	} {
		if c.parts()&p != 0 {
			ch |= c
		}
	}
	return ch
}

func (f *Fleet) stripLocked(rec *record, parts Parts, why CutReason) {
	next := *rec.agent
	lost := next.strip(parts)
	if lost == 0 {
		return
	}
	f.stats.Cuts[why]++
	if !next.Present() {
		next.talk.synced, next.talk.asked = false, false // if it returns, it is asked for everything
	}
	f.publishLocked(rec, &next, lost.changes())
}

// strip gives up parts and says of which of them something was lost.
func (a *Agent) strip(parts Parts) (lost Parts) {
	if heavy := a.masks.bytes() > lightSecrets; parts&PartConfig != 0 && (a.Config != nil || heavy) {
		a.Config, lost = nil, lost|PartConfig
		if heavy {
			a.masks = masks{}
		}
	}
	if parts&PartComponents != 0 && a.Components != nil {
		a.Components, lost = nil, lost|PartComponents
	}
	if parts&PartCustomCapabilities != 0 && len(a.CustomCapabilities) > 0 {
		a.CustomCapabilities, lost = nil, lost|PartCustomCapabilities
	}
	if parts&PartMessages != 0 && len(a.Channels)+len(a.Ingests)+len(a.Gateways) > 0 {
		a.Channels, a.Ingests, a.Gateways, lost = nil, nil, nil, lost|PartMessages
		a.said++
	}
	if parts&PartHealth != 0 && a.Health.bulky() {
		a.Health, lost = a.Health.brief(), lost|PartHealth
		a.Problems = briefProblems(a.Problems)
	}
	if parts&PartDescription != 0 && a.Description.bulky() {
		a.Description, lost = a.Description.brief(), lost|PartDescription
	}
	if lost&(PartHealth|PartDescription) != 0 {
		a.search = a.searchText()
	}
	a.Dropped |= lost
	return lost
}

// identity are the attributes that an agent is known by.
var identity = []string{"service.name", "service.version", "host.name"}

func (d *Description) bulky() bool {
	return d != nil && d.bytes > len(identity)*(maxBriefName+attributeBytes)
}

// brief keeps what the agent is known by.
func (d *Description) brief() *Description {
	out := &Description{Omitted: d.Omitted + len(d.Identifying) + len(d.NonIdentifying)}
	for _, key := range identity {
		if v := d.attribute(key); v != "" {
			v = briefText(v, maxBriefName)
			out.Identifying = append(out.Identifying, Attribute{Key: key, Value: v})
			out.bytes += len(key) + len(v) + attributeBytes
			out.Omitted--
		}
	}
	return out
}

func (h *Health) bulky() bool { return h != nil && h.bytes > nodeBytes+maxBriefName+maxBriefError }

// brief keeps how the whole is.
func (h *Health) brief() *Health {
	out := &Health{
		Healthy: h.Healthy, Since: h.Since, StartedAt: h.StartedAt,
		Status:    briefText(h.Status, maxBriefName),
		LastError: briefText(h.LastError, maxBriefError),
		Omitted:   h.Omitted + len(h.Attributes) + len(h.Children),
	}
	out.bytes = nodeBytes + len(out.Status) + len(out.LastError)
	return out
}

// briefProblems keeps the worst problem, so that an agent that fails is still seen to.
func briefProblems(list []Problem) []Problem {
	if len(list) == 0 {
		return nil
	}
	p := list[0]
	p.Pipeline, p.Kind = briefText(p.Pipeline, maxBriefName), briefText(p.Kind, maxBriefName)
	p.ID, p.Status = briefText(p.ID, maxBriefName), briefText(p.Status, maxBriefName)
	p.Error = briefText(p.Error, maxBriefError)
	p.Path = slices.Clone(p.Path[max(0, len(p.Path)-2):])
	for i, name := range p.Path {
		p.Path[i] = briefText(name, maxBriefName)
	}
	return []Problem{p}
}

// briefText is the beginning of s, in memory of its own.
func briefText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return head(s, limit-len(marker)) + marker
}
