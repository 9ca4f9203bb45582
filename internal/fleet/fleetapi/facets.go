// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// facet is a side of the agents found, by value.
type facet struct {
	Name     string       `json:"name"`
	Values   []valueCount `json:"values"`
	Distinct int          `json:"distinct"`
	None     int          `json:"none"`
}

type valueCount struct {
	Value string `json:"value"`
	Label string `json:"label"`
	Count int    `json:"count"`
	Term  string `json:"term"`
}

type groups struct {
	Name     string  `json:"name"`
	Groups   []group `json:"groups"`
	Distinct int     `json:"distinct"`
	None     int     `json:"none"`
}

type group struct {
	valueCount
	Conditions map[fleet.Condition]int `json:"conditions"`
}

func newFacets(list []fleetsearch.FacetCounts) []facet {
	out := make([]facet, 0, len(list))
	for _, f := range list {
		out = append(out, facet{
			Name: f.Side.Name(), Values: newValueCounts(f.Side, f.Values), Distinct: f.Distinct, None: f.None,
		})
	}
	return out
}

func newValueCounts(side fleetsearch.Side, list []fleetsearch.ValueCount) []valueCount {
	out := make([]valueCount, 0, len(list))
	for _, v := range list {
		out = append(out, newValueCount(side, v))
	}
	return out
}

func newValueCount(side fleetsearch.Side, v fleetsearch.ValueCount) valueCount {
	return valueCount{Value: v.Value, Label: v.Label, Count: v.Count, Term: termOf(side, v.Value)}
}

// termOf is the term of a query that finds the agents that were counted.
func termOf(side fleetsearch.Side, value string) string {
	f := side.Facet
	if f == fleetsearch.FacetVariant || f == fleetsearch.FacetFamily {
		f = fleetquery.FacetConfig
	}
	return fleetquery.Is(f, side.Key, value).String()
}

func newGroups(g *fleetsearch.Groups) *groups {
	if g == nil {
		return nil
	}
	out := &groups{Name: g.Side.Name(), Groups: make([]group, 0, len(g.Groups)), Distinct: g.Distinct, None: g.None}
	for _, v := range g.Groups {
		out.Groups = append(out.Groups, group{newValueCount(g.Side, v.ValueCount), v.Conditions})
	}
	return out
}

// counted is the answer to GET /api/v1/facets.
type counted struct {
	Query         string  `json:"query"`
	Total         int     `json:"total"`
	Known         int     `json:"known"`
	Facets        []facet `json:"facets"`
	UnreadConfigs int     `json:"unread_configs"`
	Position      string  `json:"position"`
}

// defaultFacets are counted where none is asked for.
var defaultFacets = []fleetsearch.Side{
	{Facet: fleetquery.FacetStatus},
	{Facet: fleetquery.FacetLiveness},
	{Facet: fleetquery.FacetName},
	{Facet: fleetquery.FacetVersion},
	{Facet: fleetquery.FacetFailing},
	{Facet: fleetsearch.FacetFamily},
}

func (a *API) countFacets(w http.ResponseWriter, r *http.Request) {
	values, err := parametersOf(r, "q", "facets", "top", "contains")
	if err != nil {
		badRequest(w, err)
		return
	}
	contains := values.Get("contains")
	values.Del("contains")
	list, err := ParseList(values)
	if err != nil {
		badRequest(w, err)
		return
	}
	if len(list.Facets) == 0 {
		list.Facets = defaultFacets
	}
	list.Limit, list.Now, list.Containing = -1, a.now(), contains
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	found, err := a.index.Search(list.Request)
	if err != nil {
		badRequest(w, err)
		return
	}
	answer(w, http.StatusOK, counted{
		Query: list.Query.String(), Total: found.Total, Known: found.Known, Facets: newFacets(found.Facets),
		UnreadConfigs: found.Unread, Position: found.Position.String(),
	})
}

// listedComponents is the answer to GET /api/v1/components.
type listedComponents struct {
	Query         string           `json:"query"`
	Components    []componentCount `json:"components"`
	Omitted       bool             `json:"omitted"`
	UnreadConfigs int              `json:"unread_configs"`
	Position      string           `json:"position"`
}

// componentCount is how many agents run a component, fail with it, and could run one of its type.
type componentCount struct {
	Kind      string `json:"kind"`
	Type      string `json:"type"`
	Running   int    `json:"running"`
	Failing   int    `json:"failing"`
	Available int    `json:"available"`
	Term      string `json:"term"`
}

func (a *API) listComponents(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "q", "format")
	if !ok {
		return
	}
	defer leave()
	found, omitted := a.index.Components(q.query, a.now())
	out := listedComponents{
		Query: q.query.String(), Components: make([]componentCount, 0, len(found.Components)), Omitted: omitted,
		UnreadConfigs: found.Unread, Position: found.Position.String(),
	}
	for _, c := range found.Components {
		out.Components = append(out.Components, componentCount{
			Kind: c.Kind, Type: c.Type, Running: c.Running, Failing: c.Failing, Available: c.Available, Term: componentTerm(c.Kind, c.Type),
		})
	}
	if q.asCSV {
		writeCSV(w, "components", componentColumns, out.Components, found.Unread)
		return
	}
	answer(w, http.StatusOK, out)
}

// componentTerm finds the agents that run a component of a type, whatever its name.
func componentTerm(kind, typ string) string {
	if kind == "" {
		return fleetquery.Is(fleetquery.FacetComponent, "", typ).String()
	}
	q, err := fleetquery.Parse("component:" + kind + ":" + typ)
	if err != nil || len(q.Terms) != 1 {
		return fleetquery.Is(fleetquery.FacetComponent, "", kind+":"+typ).String()
	}
	return q.String()
}

var componentColumns = []csvColumn[componentCount]{
	{"kind", func(c componentCount) string { return c.Kind }},
	{"type", func(c componentCount) string { return c.Type }},
	{"running", func(c componentCount) string { return strconv.Itoa(c.Running) }},
	{"failing", func(c componentCount) string { return strconv.Itoa(c.Failing) }},
	{"available", func(c componentCount) string { return strconv.Itoa(c.Available) }},
}

// completed is the answer to GET /api/v1/query/complete.
type completed struct {
	Suggestions []suggestion `json:"suggestions"`
	// Query is the one text that means the same, empty if the text is no query.
	Query string      `json:"query"`
	Error *queryError `json:"error"`
}

type suggestion struct {
	Text  string `json:"text"`
	Start int    `json:"start"`
	End   int    `json:"end"`
	Help  string `json:"help"`
	Count *int   `json:"count"`
}

type queryError struct {
	Word    string `json:"word"`
	Start   int    `json:"start"`
	Reason  string `json:"reason"`
	Hint    string `json:"hint"`
	Message string `json:"message"`
}

func (a *API) completeQuery(w http.ResponseWriter, r *http.Request) {
	values, err := parametersOf(r, "q", "cursor")
	if err != nil {
		badRequest(w, err)
		return
	}
	text := strings.ToValidUTF8(values.Get("q"), "\uFFFD")
	cursor, err := parseCursor(values.Get("cursor"), text)
	if err != nil {
		badRequest(w, fmt.Errorf("cursor: %w", err))
		return
	}
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	out := completed{Suggestions: []suggestion{}}
	q, err := fleetquery.Parse(text)
	var wrong *fleetquery.Error
	if errors.As(err, &wrong) {
		out.Error = &queryError{
			Word: wrong.Word, Start: wrong.Column - 1, Reason: wrong.Reason, Hint: wrong.Hint, Message: wrong.Error(),
		}
	} else {
		out.Query = q.String()
	}
	for _, s := range a.index.Complete(text, cursor, a.now()) {
		one := suggestion{
			Text: s.Text, Start: utf8.RuneCountInString(text[:s.Start]), End: utf8.RuneCountInString(text[:s.End]), Help: s.Help,
		}
		if s.Count >= 0 {
			one.Count = &s.Count
		}
		out.Suggestions = append(out.Suggestions, one)
	}
	answer(w, http.StatusOK, out)
}

// parseCursor turns characters into bytes. Without a cursor it is at the end.
func parseCursor(s, text string) (int, error) {
	if s == "" {
		return len(text), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%.64q is not a number of characters", s)
	}
	for at := range text {
		if n == 0 {
			return at, nil
		}
		n--
	}
	return len(text), nil
}
