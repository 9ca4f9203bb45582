// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// overviewPage is the body of the first page: what an operator asks first, each answer a link to who it is about.
type overviewPage struct {
	Known    int
	Endpoint string
	Query    queryBar

	Tiles    []tile
	Segments []segment
	Units    int

	Problems     []problemLine
	MoreProblems int // problems that are not listed
	Failing      []rank
	Changed      []agentLine
	ChangedCount int
	ChangedURL   string
	Gone         []goneGroup
	Versions     []rank
	MoreVersions int
	Behind       *rank // who runs an older version than the newest
	Flapping     []rank
	MoreFlapping int
	Areas        *areasPart
	Families     []familyLine
	MoreFamilies int
	Drifted      *rank
	Untold       int // collectors that tell no config
	Findings     []rank
	Hosts        hostsPart
}

// rank is a value and how many collectors have it.
type rank struct {
	ID, Word, Look, Help string
	URL                  string
	Count                int
	Width                int // of 100
}

type problemLine struct {
	ID, Component, Error string
	State                badge
	Agents               int
	Since                moment
	URL                  string
}

// agentLine is a collector in a short list.
type agentLine struct {
	ID, Name, Host, URL string
	State               badge
	When                moment
	What                string // fails
}

type goneGroup struct {
	State  badge
	Count  int
	URL    string
	Agents []agentLine
}

type familyLine struct {
	ID, Label, URL    string
	Agents, Different int
	Drifted           int
	DriftURL          string
	Width             int
}

// areasPart is how the parts of the fleet are: its clusters, or what else it is made up of.
type areasPart struct {
	Title, URL string
	Rows       []areaRow
	Units      int
	More       int
}

type areaRow struct {
	ID, Word, URL string
	Count         int
	Unhealthy     int
	UnhealthyURL  string
	Segments      []segment
}

// areas are what a fleet may be made up of, what tells most first.
var areas = []fleetsearch.Side{
	{Facet: fleetquery.FacetAttribute, Key: "k8s.cluster.name"},
	{Facet: fleetquery.FacetAttribute, Key: "deployment.environment.name"},
	{Facet: fleetquery.FacetAttribute, Key: "service.namespace"},
	{Facet: fleetquery.FacetName},
}

// hostsPart is how collectors and hosts go together.
type hostsPart struct {
	Distinct, None int
	Shared         []rank // hosts with more than one
	URL, NoneURL   string
	Duplicates     uint64

	Restarted, Uncovered       int // agents that others were before, hosts where all are gone
	RestartedURL, UncoveredURL string
}

const (
	overviewTop   = 6
	overviewLong  = 9
	overviewShort = 3
	changedWithin = time.Hour
	changedTerm   = "since:<1h"
)

// overview is the first page. An address of before, when the list was here, leads to the list.
func (u *UI) overview(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	if old := newView("/agents", asked, append(slices.Clone(listParameters), oldParameters...)...); len(old.values) > 0 {
		http.Redirect(w, r, address("/agents", old.values), http.StatusFound) //nolint:gosec // a path of ours
		return
	}
	found := u.search(fleetsearch.Request{
		Limit: -1, Top: overviewTop, Facets: []fleetsearch.Side{
			{Facet: fleetquery.FacetLiveness},
			{Facet: fleetquery.FacetVersion},
			{Facet: fleetquery.FacetFinding},
			{Facet: fleetquery.FacetHost},
			{Facet: fleetquery.FacetDrift},
		},
	})
	u.render(w, r, http.StatusOK, "overview.html", page{
		Title: "Overview", Here: "/",
		Events: events(found.Position, opampwire.InstanceUID{}, found.Unread), Unread: found.Unread,
		Body: u.newOverviewPage(found),
	})
}

// search answers a question that can't be wrong, for it is ours.
func (u *UI) search(r fleetsearch.Request) fleetsearch.Result {
	r.Now = u.now()
	found, err := u.index.Search(r)
	if err != nil {
		panic("fleetui: " + err.Error())
	}
	return found
}

func (u *UI) newOverviewPage(found fleetsearch.Result) overviewPage {
	out := overviewPage{Known: found.Known, Endpoint: u.settings.OpAMPEndpoint}
	out.Query.Action = "/agents"
	if found.Known == 0 {
		return out
	}
	facet := func(i int) fleetsearch.FacetCounts { return found.Facets[i] }
	out.Tiles, out.Segments = tiles(view{path: "/agents"}, fleetquery.Query{}, found.Conditions)
	out.Tiles[0].Active = false
	out.Units = max(out.Tiles[0].Count, 1)
	u.addProblems(&out)
	u.addFailing(&out)
	u.addChanged(&out)
	u.addGone(&out, facet(0))
	u.addFlapping(&out)
	u.addAreas(&out)
	u.addVersions(&out, facet(1))
	out.Findings = ranks("finding", facet(2), found.Known)
	out.Hosts = u.newHostsPart(facet(3))
	u.addConfigs(&out, facet(4))
	return out
}

// ranks lists values with those who have them; more terms narrow that down as the counts were.
func ranks(id string, f fleetsearch.FacetCounts, whole int, more ...fleetquery.Term) (out []rank) {
	for _, v := range f.Values {
		word := valueWord(f.Side, v)
		out = append(out, rank{
			ID: id + "-" + termID(v.Value), Word: word.Word, Look: word.Look, Count: v.Count, Width: meter(v.Count, whole),
			URL: agentsWhere(append([]fleetquery.Term{termOf(f.Side, v.Value)}, more...)...), Help: ruleHelp(f.Side.Facet, v.Value),
		})
	}
	return out
}

// unhealthy is who fails now: what those that are gone said last is past.
var unhealthy = is(fleetquery.FacetStatus, string(fleet.ConditionUnhealthy))

func (u *UI) addFailing(out *overviewPage) {
	found := u.search(fleetsearch.Request{
		Query: fleetquery.Query{Terms: []fleetquery.Term{unhealthy}}, Limit: -1, Top: overviewTop,
		Facets: []fleetsearch.Side{{Facet: fleetquery.FacetFailing}},
	})
	out.Failing = ranks("failing", found.Facets[0], found.Total, unhealthy)
}

func (u *UI) addProblems(out *overviewPage) {
	found := u.index.Problems(fleetsearch.ProblemsRequest{Limit: overviewTop, Now: u.now()})
	for _, p := range found.Problems {
		out.Problems = append(out.Problems, problemLine{
			ID: "problem-" + p.ID, Component: problemComponent(p.Key), Error: clean(short(oneLine(p.Key.Error), 200)),
			State: statusBadge(false, p.Status), Agents: p.Agents, Since: lasts(p.First, u.now()),
			URL: agentsWhere(is(fleetquery.FacetProblem, p.ID), unhealthy),
		})
	}
	out.MoreProblems = found.Distinct - len(found.Problems)
}

func (u *UI) addChanged(out *overviewPage) {
	q, err := fleetquery.Parse(changedTerm)
	if err != nil {
		panic("fleetui: " + err.Error())
	}
	found := u.search(fleetsearch.Request{Query: q, Sort: fleetsearch.SortSince, Limit: overviewLong})
	out.ChangedCount = found.Total
	out.ChangedURL = address("/agents", url.Values{"q": {changedTerm}, "sort": {string(fleetsearch.SortSince)}})
	for _, a := range found.Agents {
		out.Changed = append(out.Changed, newAgentLine("changed", a, u.now()))
	}
}

func newAgentLine(id string, a *fleet.Agent, now time.Time) agentLine {
	out := agentLine{
		ID: id + "-" + a.UID.String(), Name: agentName(a), Host: clean(short(a.HostName(), 120)), URL: agentURL(a),
		State: agentBadge(a), When: ago(a.Since(), now),
	}
	if len(a.Problems) > 0 && a.Present() {
		out.What = componentName(a.Problems[0])
	}
	return out
}

// addGone tells the ways of being gone apart, for each means something else.
func (u *UI) addGone(out *overviewPage, f fleetsearch.FacetCounts) {
	for _, l := range fleet.Livenesses() {
		if l == fleet.LivenessConnected {
			continue
		}
		group := goneGroup{State: livenessBadges[l], URL: agentsWhere(is(fleetquery.FacetLiveness, string(l)))}
		for _, v := range f.Values {
			if v.Value == string(l) {
				group.Count = v.Count
			}
		}
		if group.Count > 0 {
			found := u.search(fleetsearch.Request{
				Query: fleetquery.Query{Terms: []fleetquery.Term{is(fleetquery.FacetLiveness, string(l))}},
				Sort:  fleetsearch.SortSince, Limit: overviewShort,
			})
			for _, a := range found.Agents {
				group.Agents = append(group.Agents, newAgentLine("gone", a, u.now()))
			}
		}
		out.Gone = append(out.Gone, group)
	}
}

// addAreas takes the first of areas by which the fleet falls into parts.
func (u *UI) addAreas(out *overviewPage) {
	for i, side := range areas {
		found := u.search(fleetsearch.Request{Limit: -1, Top: overviewTop, GroupBy: &side})
		if found.Groups.Distinct < 2 && i < len(areas)-1 {
			continue
		}
		groups := newGroupsPart(view{path: "/agents"}, fleetquery.Query{}, found)
		part := &areasPart{
			Title: lowerFirst(groups.Title), Units: groups.Units, More: groups.Distinct - len(groups.Rows),
			URL: address("/agents", url.Values{"group_by": {side.Name()}}),
		}
		for j, g := range groups.Rows {
			group := found.Groups.Groups[j]
			part.Rows = append(part.Rows, areaRow{
				ID: "area-" + termID(group.Value), Word: g.Word, URL: g.URL, Count: g.Count, Segments: g.Segments,
				Unhealthy: group.Conditions[fleet.ConditionUnhealthy], UnhealthyURL: agentsWhere(termOf(side, group.Value), unhealthy),
			})
		}
		out.Areas = part
		return
	}
}

// addVersions lists the versions that most run, the newest first.
func (u *UI) addVersions(out *overviewPage, f fleetsearch.FacetCounts) {
	out.Versions = ranks("version", f, out.Known)
	slices.SortStableFunc(out.Versions, func(a, b rank) int { return fleetquery.CompareVersions(b.Word, a.Word) })
	out.MoreVersions = f.Distinct - len(f.Values)
	if len(out.Versions) < 2 {
		return
	}
	newest := f.Values[0].Value
	for _, v := range f.Values {
		if fleetquery.CompareVersions(v.Value, newest) > 0 {
			newest = v.Value
		}
	}
	older := is(fleetquery.FacetVersion, newest)
	older.Values[0].Op = "<"
	q, err := fleetquery.Parse(older.String())
	if err != nil {
		return // what nobody can compare with is no version
	}
	if n := u.search(fleetsearch.Request{Query: q, Limit: -1}).Total; n > 0 {
		out.Behind = &rank{Word: clean(short(newest, 60)), Count: n, URL: agentsWhere(older)}
	}
}

func (u *UI) addConfigs(out *overviewPage, drift fleetsearch.FacetCounts) {
	found := u.index.Configs(fleetsearch.ConfigsRequest{Limit: overviewTop, Now: u.now()})
	out.Untold = found.None
	out.MoreFamilies = found.Distinct - len(found.Families)
	for _, f := range found.Families {
		line := familyLine{
			ID: "family-" + f.ID, Label: clean(short(f.Label, 120)), URL: "/configs#f-" + f.ID,
			Agents: f.Agents, Different: len(f.Variants) + f.Omitted, Drifted: f.Drifted, Width: meter(f.Agents, out.Known),
		}
		if f.Drifted > 0 {
			line.DriftURL = driftURL(f.ID)
		}
		out.Families = append(out.Families, line)
	}
	for _, v := range drift.Values {
		if v.Value == "true" && v.Count > 0 {
			out.Drifted = &rank{Count: v.Count, URL: agentsWhere(is(fleetquery.FacetDrift, "true"))}
		}
	}
}

func driftURL(family string) string {
	return agentsWhere(is(fleetquery.FacetConfig, family), is(fleetquery.FacetDrift, "true"))
}

func (u *UI) newHostsPart(f fleetsearch.FacetCounts) hostsPart {
	out := hostsPart{
		Distinct: f.Distinct, None: f.None, URL: address("/agents", url.Values{"group_by": {string(fleetquery.FacetHost)}}),
		Duplicates: u.fleet.Stats().Duplicates,
	}
	query := func(text string) fleetquery.Query {
		q, err := fleetquery.Parse(text)
		if err != nil {
			panic("fleetui: " + err.Error())
		}
		return q
	}
	out.Restarted = u.search(fleetsearch.Request{Query: query("runs:>1"), Limit: -1}).Total
	held := u.search(fleetsearch.Request{Query: query("liveness:connected,unknown"), Limit: -1, Top: 1, Facets: []fleetsearch.Side{f.Side}})
	out.Uncovered = f.Distinct - held.Facets[0].Distinct
	out.RestartedURL = address("/agents", url.Values{"q": {"runs:>1"}, "sort": {string(fleetsearch.SortRuns)}})
	out.UncoveredURL = address("/agents", url.Values{"q": {"-liveness:connected"}, "group_by": {string(fleetquery.FacetHost)}})
	everybody := is(fleetquery.FacetHost, "*")
	everybody.Not = true
	everybody.Values = []fleetquery.Value{{Text: "*"}}
	out.NoneURL = agentsWhere(everybody)
	for _, r := range ranks("host", f, f.Distinct) {
		if r.Count > 1 {
			out.Shared = append(out.Shared, r)
		}
	}
	return out
}
