// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetproblem"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// side is a column of the index.
type side int

const (
	sideCondition side = iota
	sideWord           // statuses in the agent's own words
	sideHealthy
	sideLiveness
	sideTransport
	sideName
	sideVersion
	sideHost
	sideAttribute // key, a zero byte, value
	sideComponent
	sideFailing
	sideAvailable
	sidePipeline
	sideError
	sideProblem // id, then kind, type and error, with zero bytes between
	sideConfig
	sideVariant
	sideFamily // id, a zero byte, label
	sideFinding
	sideCapability
	sideGateway // host, id, name and instance UID, with zero bytes between; see gateways.go
	sideIdentity
	sides
)

// sidesOf are where the values of a facet are. Words, ages, numbers and instance UIDs have no side, and drift follows from
// variant and family.
func sidesOf(f fleetquery.Facet) []side {
	switch f {
	case fleetquery.FacetStatus:
		return []side{sideCondition, sideWord}
	case fleetquery.FacetHealthy:
		return []side{sideHealthy}
	case fleetquery.FacetLiveness:
		return []side{sideLiveness}
	case fleetquery.FacetTransport:
		return []side{sideTransport}
	case fleetquery.FacetName:
		return []side{sideName}
	case fleetquery.FacetVersion:
		return []side{sideVersion}
	case fleetquery.FacetHost:
		return []side{sideHost}
	case fleetquery.FacetAttribute:
		return []side{sideAttribute}
	case fleetquery.FacetComponent:
		return []side{sideComponent}
	case fleetquery.FacetFailing:
		return []side{sideFailing}
	case fleetquery.FacetAvailable:
		return []side{sideAvailable}
	case fleetquery.FacetPipeline:
		return []side{sidePipeline}
	case fleetquery.FacetError:
		return []side{sideError}
	case fleetquery.FacetProblem:
		return []side{sideProblem}
	case fleetquery.FacetConfig:
		return []side{sideConfig, sideVariant, sideFamily}
	case fleetquery.FacetFinding:
		return []side{sideFinding}
	case fleetquery.FacetCapability:
		return []side{sideCapability}
	case fleetquery.FacetGateway:
		return []side{sideGateway}
	case fleetquery.FacetIdentity:
		return []side{sideIdentity}
	default:
		return nil
	}
}

// Maxima of what is taken of one agent. What is beyond can't be searched for.
const (
	maxIndexedAttributes = 64
	maxIndexedText       = 256
	maxIndexedParts      = 2_000 // components of one kind of list
	maxIndexedProblems   = 256   // the gravest
)

// apply brings the columns of a slot up to what the agent is now. Only what changed is done anew.
func (x *Index) apply(slot int, prev, next *fleet.Agent) {
	if prev == nil {
		prev = &fleet.Agent{}
	}
	r := &x.rows[slot]
	one := func(s side, text string) {
		if text == "" {
			x.columns[s].put(slot, nil)
			return
		}
		x.columns[s].put(slot, []string{text})
	}
	one(sideCondition, string(next.Condition()))
	one(sideLiveness, string(next.Liveness))
	one(sideTransport, next.Transport)
	if r.fresh || next.Logical != prev.Logical {
		one(sideIdentity, cut(next.Logical))
	}
	if r.fresh || next.Description != prev.Description {
		one(sideName, cut(next.ServiceName()))
		one(sideVersion, cut(next.ServiceVersion()))
		one(sideHost, cut(next.HostName()))
		x.putAttributes(slot, attributesOf(next.Description))
	}
	healthy := r.fresh || next.Health != prev.Health
	if healthy {
		x.applyHealth(slot, next)
	}
	configured := r.fresh || next.Config != prev.Config
	if configured {
		x.applyConfig(slot, next.Config)
	}
	if healthy || (configured && r.bare) {
		x.applyParts(slot, next)
	}
	if r.fresh || next.Components != prev.Components {
		x.columns[sideAvailable].put(slot, x.availableOf(next.Components))
	}
	if r.fresh || next.Capabilities != prev.Capabilities || !slices.Equal(next.CustomCapabilities, prev.CustomCapabilities) {
		x.columns[sideCapability].put(slot, append(next.Capabilities.Names(), next.CustomCapabilities...))
	}
	r.fresh = false
	r.rank = uint8(slices.Index(conditions, next.Condition()))
	r.since = next.Since().UnixNano()
	r.place = placeOf(next)
}

var conditions = fleet.Conditions()

// cut bounds what is indexed of one text.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxIndexedText)], "") }

func attributesOf(d *fleet.Description) (out []string) {
	if d == nil {
		return nil
	}
	for _, list := range [][]fleet.Attribute{d.Identifying, d.NonIdentifying} {
		for _, a := range list {
			if len(out) == maxIndexedAttributes {
				return out
			}
			out = append(out, cut(a.Key)+"\x00"+cut(a.Text()))
		}
	}
	return out
}

func (x *Index) applyHealth(slot int, a *fleet.Agent) {
	r := &x.rows[slot]
	if a.Health == nil {
		for _, s := range []side{sideHealthy, sideWord, sideFailing, sideError, sideProblem} {
			x.columns[s].put(slot, nil)
		}
		r.problems = nil
		return
	}
	healthy := "false"
	if a.Health.Healthy {
		healthy = "true"
	}
	x.columns[sideHealthy].put(slot, []string{healthy})
	var words, failing, errors, problems []string
	if a.Health.Status != "" {
		words = append(words, a.Health.Status)
	}
	if a.Health.LastError != "" {
		errors = append(errors, a.Health.LastError)
	}
	for _, p := range a.Problems[:min(len(a.Problems), maxIndexedProblems)] {
		if p.Status != "" {
			words = append(words, p.Status)
		}
		if p.Error != "" {
			errors = append(errors, p.Error)
		}
		failing = append(failing, componentOf(p))
		problems = append(problems, x.problemOf(p))
	}
	x.columns[sideWord].put(slot, words)
	x.columns[sideError].put(slot, errors)
	x.columns[sideFailing].put(slot, failing)
	r.problems = x.columns[sideProblem].put(slot, problems)
}

// whole is the agent as a whole, among what fails.
const whole = "(whole)"

// componentOf is "exporter:otlp/2", or whole.
func componentOf(p fleet.Problem) string {
	switch {
	case len(p.Path) == 0:
		return whole
	case p.Kind == "":
		return p.ID
	}
	return p.Kind + ":" + p.ID
}

// rawProblem is what a problem's key is made of.
type rawProblem struct{ kind, id, status, err string }

// What is remembered to spare work: how many problems, and how many lists of what agents are built of. What is
// remembered stays in memory, even if no agent has it any more.
const (
	maxMemo          = 4_000
	maxAvailableMemo = 32
)

// problemOf is the text of a problem in its column.
func (x *Index) problemOf(p fleet.Problem) string {
	raw := rawProblem{p.Kind, p.ID, p.Status, p.Error}
	if text, ok := x.problemTexts[raw]; ok {
		return text
	}
	k := fleetproblem.Of(p)
	text := k.ID() + "\x00" + k.Kind + "\x00" + k.Type + "\x00" + k.Error
	if len(x.problemTexts) >= maxMemo {
		clear(x.problemTexts)
	}
	x.problemTexts[raw] = text
	return text
}

func (x *Index) applyConfig(slot int, c *fleet.Config) {
	old, seat := x.rows[slot].facts, x.rows[slot].seat
	f := x.holdFacts(slot, c)
	x.rows[slot].facts = f
	x.dropFacts(old, seat)
	if f == nil {
		x.columns[sideConfig].put(slot, nil)
	} else {
		x.columns[sideConfig].put(slot, []string{f.Hash})
	}
	x.applyFacts(slot, f)
}

// applyFacts says what is in the config of a slot, as far as that is read.
func (x *Index) applyFacts(slot int, f *facts) {
	if f == nil || f.unread != nil {
		for _, s := range []side{sideVariant, sideFamily, sideFinding} {
			x.columns[s].put(slot, nil)
		}
		x.countVariant(slot, nil)
		return
	}
	x.columns[sideVariant].put(slot, []string{f.Variant})
	x.columns[sideFamily].put(slot, []string{f.Family + "\x00" + f.Label})
	var rules []string
	for _, finding := range f.Findings {
		rules = append(rules, finding.Rule)
	}
	x.columns[sideFinding].put(slot, rules)
	x.countVariant(slot, f)
}

// applyParts says which components and pipelines run: the health tree knows, and where it has none the config does.
func (x *Index) applyParts(slot int, a *fleet.Agent) {
	var p parts
	p.walk(a.Health)
	r := &x.rows[slot]
	r.bare = len(p.components)+len(p.pipelines) == 0
	if r.bare && r.facts != nil {
		p.components, p.pipelines = r.facts.Components, r.facts.Pipelines
	}
	x.columns[sideComponent].put(slot, p.components[:min(len(p.components), maxIndexedParts)])
	x.columns[sidePipeline].put(slot, p.pipelines[:min(len(p.pipelines), maxIndexedParts)])
}

type parts struct{ components, pipelines []string }

func (p *parts) walk(h *fleet.Health) {
	if h == nil {
		return
	}
	for _, child := range h.Children {
		kind, id := fleet.SplitComponentName(child.Name)
		switch {
		case kind == "pipeline":
			p.pipelines = append(p.pipelines, id)
		case kind != "" || len(child.Children) == 0:
			p.components = append(p.components, child.Name)
		}
		p.walk(child)
	}
}

// availableOf lists what an agent is built of, as kind:type.
func (x *Index) availableOf(c *fleet.Components) (out []string) {
	if c == nil {
		return nil
	}
	if known, ok := x.available[c]; ok {
		return known
	}
	for _, kind := range c.List {
		name := strings.TrimSuffix(kind.Name, "s")
		if len(kind.Children) == 0 {
			out = append(out, kind.Name)
		}
		for _, child := range kind.Children[:min(len(kind.Children), maxIndexedParts)] {
			out = append(out, name+":"+child.Name)
		}
	}
	if len(x.available) >= maxAvailableMemo {
		clear(x.available)
	}
	x.available[c] = out
	return out
}
