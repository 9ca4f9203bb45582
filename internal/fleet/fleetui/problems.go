// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetproblem"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// problemsPage is the body of the page of problems.
type problemsPage struct {
	Bar       queryBar
	Known     int
	Problems  []problemPart
	Distinct  int
	Agents    int
	JSON, CSV string
}

// problemPart is what many collectors have in common.
type problemPart struct {
	ID            string
	Kind, Type    string
	Error         string // normalized
	Example       string // as one reported it; empty if that is the same
	State         badge
	Agents, Times int
	First, Last   moment
	URL           string
	Shares        []sharePart
	Components    []rank
	Pipelines     []rank
	Names         []rank
	Sample        []agentLine
	More          int // collectors that the sample leaves out
}

// sharePart is how many of those with a value have the problem: who has a value that none of the well have is likely to
// have it for that.
type sharePart struct {
	Kind, Word, URL string
	Count, Of       int
	Width           int
	All             bool // everybody with this value has it
}

func (u *UI) problems(w http.ResponseWriter, r *http.Request) {
	v := newView("/problems", r.URL.Query(), "q")
	q, err := fleetquery.Parse(v.values.Get("q"))
	if err != nil {
		u.misunderstood(w, r, "problems.html", "Problems", v, err, func(bar queryBar) any { return problemsPage{Bar: bar} })
		return
	}
	found := u.index.Problems(fleetsearch.ProblemsRequest{Query: q, Now: u.now()})
	body := problemsPage{
		Bar: queryBar{Action: v.path, Text: clean(v.values.Get("q"))}, Distinct: found.Distinct, Agents: found.Agents,
		JSON: address("/api/v1/problems", v.values), CSV: view{"/api/v1/problems", v.values}.with("format", "csv"),
		Known: found.Known,
	}
	for _, p := range found.Problems {
		body.Problems = append(body.Problems, u.newProblemPart(q, p))
	}
	u.render(w, r, http.StatusOK, "problems.html", page{
		Title: "Problems", Here: "/problems", Events: events(found.Position, opampwire.InstanceUID{}, found.Unread), Unread: found.Unread, Body: body,
	})
}

func (u *UI) newProblemPart(q fleetquery.Query, p fleetsearch.Problem) problemPart {
	now := u.now()
	who := slices.Concat(q.Without(fleetquery.FacetProblem, "").Terms, []fleetquery.Term{is(fleetquery.FacetProblem, p.ID)})
	if !asksForGone(q) {
		who = append(who, unhealthy)
	}
	out := problemPart{
		ID: "p-" + p.ID, Kind: clean(short(p.Key.Kind, 60)), Type: clean(short(p.Key.Type, 120)),
		Error: clean(short(p.Key.Error, 600)), State: statusBadge(false, p.Status),
		Agents: p.Agents, Times: p.Occurrences, First: ago(p.First, now), Last: ago(p.Last, now),
		URL: agentsWhere(who...), More: p.Agents - len(p.Sample),
	}
	if out.Type == "" {
		out.Type = "The collector as a whole"
	}
	if example := clean(short(strings.TrimSpace(p.Error), 4000)); example != out.Error {
		out.Example = example
	}
	for _, s := range p.Versions {
		out.Shares = append(out.Shares, newSharePart("Version", fleetquery.FacetVersion, s))
	}
	for _, s := range p.Variants {
		share := newSharePart("Config", fleetsearch.FacetVariant, s)
		share.Word, share.URL = short(s.Value, 12), "/configs/"+s.Value
		out.Shares = append(out.Shares, share)
	}
	out.Components = countsOf(fleetquery.FacetFailing, p.Components)
	out.Pipelines = countsOf(fleetquery.FacetPipeline, p.Pipelines)
	out.Names = countsOf(fleetquery.FacetName, p.Names)
	for _, a := range p.Sample {
		line := newAgentLine(out.ID, a, now)
		line.When = problemSince(a, p.Key, now)
		out.Sample = append(out.Sample, line)
	}
	return out
}

// asksForGone tells whether a query says itself which of the collectors that are gone it is about.
func asksForGone(q fleetquery.Query) bool {
	return slices.ContainsFunc(q.Terms, func(t fleetquery.Term) bool {
		return t.Facet == fleetquery.FacetLiveness || t.Facet == fleetquery.FacetStatus
	})
}

func newSharePart(kind string, f fleetquery.Facet, s fleetsearch.Share) sharePart {
	out := sharePart{
		Kind: kind, Word: clean(short(s.Value, 60)), Count: s.Count, Of: s.Of, Width: meter(s.Count, s.Of), All: s.Count == s.Of,
		URL: agentsWhere(is(f, s.Value)),
	}
	if out.Word == "" {
		out.Word = "not told"
	}
	return out
}

func countsOf(f fleetquery.Facet, list []fleetsearch.ValueCount) (out []rank) {
	side := fleetsearch.Side{Facet: f}
	for _, v := range list {
		if v.Value != "" {
			out = append(out, rank{Word: valueWord(side, v).Word, Count: v.Count, URL: agentsWhere(is(f, v.Value))})
		}
	}
	return out
}

func problemComponent(k fleetproblem.Key) string {
	if name := clean(short(k.Component(), 120)); name != "" {
		return name
	}
	return "The collector as a whole"
}

// problemSince is since when an agent has a problem.
func problemSince(a *fleet.Agent, k fleetproblem.Key, now time.Time) moment {
	for _, p := range a.Problems {
		if fleetproblem.Of(p) == k {
			return ago(p.Since, now)
		}
	}
	return moment{}
}
