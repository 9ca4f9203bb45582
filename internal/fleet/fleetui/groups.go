// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"slices"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// maxGroups bounds the groups that a page lists.
const maxGroups = 200

// groupsPart shows what was found by one side, each group with the conditions of its collectors.
type groupsPart struct {
	Title          string
	Rows           []groupRow
	Distinct, None int
	Units          int // the width of the longest bar
}

type groupRow struct {
	ID       string
	Word     string
	Look     string
	URL      string
	Count    int
	Parts    []groupCount
	Segments []segment
}

type groupCount struct {
	State badge
	Count int
}

// groupSides are offered for grouping, before the attributes.
var groupSides = []fleetsearch.Side{
	{Facet: fleetquery.FacetVersion},
	{Facet: fleetquery.FacetName},
	{Facet: fleetquery.FacetHost},
	{Facet: fleetquery.FacetFailing},
	{Facet: fleetquery.FacetProblem},
	{Facet: fleetsearch.FacetFamily},
	{Facet: fleetquery.FacetFinding},
	{Facet: fleetquery.FacetLiveness},
	{Facet: fleetquery.FacetComponent},
	{Facet: fleetquery.FacetPipeline},
	{Facet: fleetquery.FacetTransport},
	{Facet: fleetquery.FacetIdentity},
}

// groupings are the choices of what to group by.
func (u *UI) groupings(by *fleetsearch.Side) []option {
	out := []option{{Value: "", Word: "No grouping", Selected: by == nil}}
	sides := slices.Clone(groupSides)
	for _, name := range u.attributeKeys() {
		sides = append(sides, fleetsearch.Side{Facet: fleetquery.FacetAttribute, Key: name})
	}
	if by != nil && !slices.Contains(sides, *by) {
		sides = append(sides, *by)
	}
	for _, s := range sides {
		out = append(out, option{Value: s.Name(), Word: "By " + lowerFirst(sideTitle(s)), Selected: by != nil && *by == s})
	}
	return out
}

// lowerFirst begins a title in small letters, for the middle of a sentence.
func lowerFirst(s string) string {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return s
	}
	return string(s[0]+'a'-'A') + s[1:]
}

func newGroupsPart(v view, q fleetquery.Query, found fleetsearch.Result) *groupsPart {
	g := found.Groups
	out := &groupsPart{Title: sideTitle(g.Side), Distinct: g.Distinct, None: g.None, Units: 1}
	list := v.without("group_by")
	for _, group := range g.Groups {
		word := valueWord(g.Side, group.ValueCount)
		narrowed := q.Without(facetOf(g.Side), g.Side.Key)
		narrowed.Terms = append(slices.Clone(narrowed.Terms), termOf(g.Side, group.Value))
		row := groupRow{
			ID: "group-" + termID(group.Value), Word: word.Word, Look: word.Look, Count: group.Count,
			URL: list.with("q", narrowed.String()),
		}
		x := 0
		for _, c := range fleet.Conditions() {
			n := group.Conditions[c]
			if n == 0 {
				continue
			}
			b := conditionBadges[c]
			row.Parts = append(row.Parts, groupCount{State: b, Count: n})
			row.Segments = append(row.Segments, segment{Look: b.Look, X: x, Width: n})
			x += n
		}
		out.Units = max(out.Units, group.Count)
		out.Rows = append(out.Rows, row)
	}
	return out
}
