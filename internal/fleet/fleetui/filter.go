// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// queryBar is the line in which a query is typed.
type queryBar struct {
	Action string // the path that answers it
	Text   string
	Error  string // why it can't be answered
	Hidden []hidden
}

type hidden struct{ Name, Value string }

// view is an address: a path and the parameters that a page of it takes.
type view struct {
	path   string
	values url.Values
}

// newView drops what others add to an address, and what says nothing.
func newView(path string, values url.Values, parameters ...string) view {
	out := url.Values{}
	for _, name := range parameters {
		if v := values.Get(name); v != "" {
			out[name] = values[name]
		}
	}
	return view{path: path, values: out}
}

// with is the address with one parameter changed; an empty value drops it. It is that of a first page.
func (v view) with(name, value string) string {
	out := url.Values{}
	for k, vs := range v.values {
		if k != "cursor" {
			out[k] = vs
		}
	}
	out.Del(name)
	if value != "" {
		out.Set(name, value)
	}
	return address(v.path, out)
}

// without is the view without some parameters.
func (v view) without(names ...string) view {
	out := url.Values{}
	for k, vs := range v.values {
		if !slices.Contains(names, k) {
			out[k] = vs
		}
	}
	return view{path: v.path, values: out}
}

// only are the values of some parameters.
func (v view) only(names ...string) url.Values {
	out := url.Values{}
	for _, name := range names {
		if vs := v.values[name]; len(vs) > 0 {
			out[name] = vs
		}
	}
	return out
}

// hidden are the parameters that a form must carry along, but for those that it has fields of.
func (v view) hidden(fields ...string) (out []hidden) {
	for _, name := range slices.Sorted(keysOf(v.values)) {
		if name == "cursor" || slices.Contains(fields, name) {
			continue
		}
		for _, value := range v.values[name] {
			out = append(out, hidden{Name: name, Value: value})
		}
	}
	return out
}

func keysOf(values url.Values) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range values {
			if !yield(k) {
				return
			}
		}
	}
}

func address(path string, values url.Values) string {
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// agentsWhere is the list of the agents that a term finds.
func agentsWhere(terms ...fleetquery.Term) string {
	return address("/agents", url.Values{"q": {fleetquery.Query{Terms: terms}.String()}})
}

// is asks for the agents that have a value of a side, as it is counted.
func is(f fleetquery.Facet, value string) fleetquery.Term {
	return termOf(fleetsearch.Side{Facet: f}, value)
}

func termOf(side fleetsearch.Side, value string) fleetquery.Term {
	return fleetquery.Is(facetOf(side), side.Key, value)
}

func facetOf(side fleetsearch.Side) fleetquery.Facet {
	if side.Facet == fleetsearch.FacetVariant || side.Facet == fleetsearch.FacetFamily {
		return fleetquery.FacetConfig
	}
	return side.Facet
}

// toggle adds a value to what a query asks for, as one more alternative, or takes it out if it is there.
func toggle(q fleetquery.Query, t fleetquery.Term) (out fleetquery.Query, wasThere bool) {
	value := t.Values[0]
	done := false
	for _, have := range q.Terms {
		if done || have.Not || have.Facet != t.Facet || have.Key != t.Key {
			out.Terms = append(out.Terms, have)
			continue
		}
		done = true
		if i := slices.IndexFunc(have.Values, func(v fleetquery.Value) bool { return sameValue(v, value) }); i >= 0 {
			wasThere = true
			have.Values = slices.Delete(slices.Clone(have.Values), i, i+1)
		} else {
			have.Values = append(slices.Clone(have.Values), value)
		}
		if len(have.Values) > 0 {
			out.Terms = append(out.Terms, have)
		}
	}
	if !done {
		out.Terms = append(out.Terms, t)
	}
	return out, wasThere
}

func sameValue(a, b fleetquery.Value) bool { return a.Op == b.Op && strings.EqualFold(a.Text, b.Text) }

// facetPart is a side of the collectors that were found, each of its values a filter.
type facetPart struct {
	ID, Title string
	Open      bool
	Values    []facetValue
	More      int // values that are not listed
	MoreURL   string
	Rollout   string // of versions: how they came
}

type facetValue struct {
	ID     string
	Word   string
	Look   string // of the icon before it, if it has one
	Count  int
	URL    string
	Active bool
}

// facetSides are counted beside the list, those that are open first.
var facetSides = []struct {
	side  fleetsearch.Side
	title string
	open  bool
}{
	{fleetsearch.Side{Facet: fleetquery.FacetLiveness}, "Presence", true},
	{fleetsearch.Side{Facet: fleetquery.FacetFailing}, "Failing component", true},
	{fleetsearch.Side{Facet: fleetquery.FacetVersion}, "Version", true},
	{fleetsearch.Side{Facet: fleetquery.FacetName}, "Service name", true},
	{fleetsearch.Side{Facet: fleetquery.FacetAttribute, Key: "k8s.cluster.name"}, "Cluster", true},
	{fleetsearch.Side{Facet: fleetquery.FacetAttribute, Key: "deployment.environment.name"}, "Environment", true},
	{fleetsearch.Side{Facet: fleetquery.FacetAttribute, Key: "service.namespace"}, "Namespace", false},
	{fleetsearch.Side{Facet: fleetsearch.FacetFamily}, "Config family", false},
	{fleetsearch.Side{Facet: fleetquery.FacetDrift}, "Config drift", false},
	{fleetsearch.Side{Facet: fleetquery.FacetFinding}, "Risky setting", false},
	{fleetsearch.Side{Facet: fleetquery.FacetComponent}, "Component", false},
	{fleetsearch.Side{Facet: fleetquery.FacetPipeline}, "Pipeline", false},
	{fleetsearch.Side{Facet: fleetquery.FacetAttribute, Key: "os.type"}, "Operating system", false},
	{fleetsearch.Side{Facet: fleetquery.FacetTransport}, "Transport", false},
}

const facetTop = 8

func sidesOfFacets() (out []fleetsearch.Side) {
	for _, f := range facetSides {
		out = append(out, f.side)
	}
	return out
}

// newFacets shows the counts of facetSides. A side on which nobody differs and nothing is asked for is left out.
func newFacets(v view, q fleetquery.Query, counts []fleetsearch.FacetCounts) (out []facetPart) {
	for i, c := range counts {
		part := facetPart{
			ID: "facet-" + strconv.Itoa(i), Title: facetSides[i].title, Open: facetSides[i].open,
			MoreURL: v.with("group_by", c.Side.Name()), More: c.Distinct - len(c.Values),
		}
		active := false
		for _, value := range c.Values {
			one := newFacetValue(v, q, c.Side, value)
			active = active || one.Active
			part.Values = append(part.Values, one)
		}
		if !active && (c.Distinct == 0 || (c.Distinct == 1 && c.None == 0)) {
			continue
		}
		part.Open = part.Open || active
		if c.Side.Facet == fleetquery.FacetVersion {
			part.Rollout = address("/rollout", view{values: v.values}.only("q"))
		}
		out = append(out, part)
	}
	return out
}

func newFacetValue(v view, q fleetquery.Query, side fleetsearch.Side, value fleetsearch.ValueCount) facetValue {
	next, was := toggle(q, termOf(side, value.Value))
	word := valueWord(side, value)
	return facetValue{ID: side.Name() + "-" + termID(value.Value), Word: word.Word, Look: word.Look, Count: value.Count, URL: v.with("q", next.String()), Active: was}
}

// valueWord is a value in the words of the pages.
func valueWord(side fleetsearch.Side, value fleetsearch.ValueCount) badge {
	switch side.Facet {
	case fleetquery.FacetStatus:
		if b, ok := conditionBadges[fleet.Condition(value.Value)]; ok {
			return b
		}
	case fleetquery.FacetLiveness:
		if b, ok := livenessBadges[fleet.Liveness(value.Value)]; ok {
			return b
		}
	case fleetquery.FacetTransport:
		return badge{Word: transportWord(value.Value)}
	case fleetquery.FacetDrift:
		if value.Value == "true" {
			return badge{Word: "Drifted", Look: "warn"}
		}
		return badge{Word: "Like most of its family"}
	}
	text := value.Label
	if text == "" {
		text = value.Value
	}
	if text = clean(short(oneLine(text), 120)); text == "" {
		text = "(empty)"
	}
	return badge{Word: text}
}

// sideTitle names a side for people.
func sideTitle(s fleetsearch.Side) string {
	for _, f := range facetSides {
		if f.side == s {
			return f.title
		}
	}
	switch s.Facet {
	case fleetquery.FacetHost:
		return "Host"
	case fleetquery.FacetProblem:
		return "Problem"
	case fleetquery.FacetStatus:
		return "Status"
	case fleetquery.FacetAttribute:
		return clean(s.Key)
	}
	return strings.ToUpper(string(s.Facet[:1])) + string(s.Facet[1:])
}

// termID is a foreign text as a part of an element's id.
func termID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:5])
}

// meter is a part of a whole as a bar of 100 units.
func meter(part, whole int) int {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return max(100*part/whole, 1)
}
