// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// listPage is the body of the list.
type listPage struct {
	// Known is how many collectors there are at all; Total how many were found.
	Known, Total, Shown int

	Bar       queryBar
	Tiles     []tile
	Segments  []segment
	Units     int // the width of all segments, at least 1
	Facets    []facetPart
	Filters   int // values of facets that are asked for
	Clear     string
	Sorts     []option
	Groupings []option
	Choices   []choice
	Columns   []column
	Rows      []row
	Groups    *groupsPart

	First     string // address of the first page, if this is another
	Next      string
	JSON, CSV string
	Endpoint  string // for who has no collector yet
}

// tile counts the collectors of one condition, and filters by it.
type tile struct {
	Word, Look, Help string
	Count            int
	URL              string
	Active           bool
}

// segment is a part of the bar that shows how the fleet is made up. The unit is one collector.
type segment struct {
	Look     string
	X, Width int
	Word     string
	URL      string
}

type option struct {
	Value, Word string
	Selected    bool
}

// choice is a column that may be shown.
type choice struct {
	Word, URL string
	Shown     bool
}

// column is a head of the table.
type column struct {
	Key, Word, URL string
	Order          string // "ascending", "descending", or "" where the list is sorted otherwise
}

// row is one collector.
type row struct {
	ID, URL string
	UID     string
	Name    string
	State   badge
	Since   moment
	Gone    bool
	Problem *rowProblem
	More    int
	Cells   []cell
}

// cell is what a row says in a column. "fails" is told by the row's Problem.
type cell struct {
	Key, Label string
	Text       string
	When       moment
}

type rowProblem struct {
	Component, Pipeline, Error string
	State                      badge
	Since                      moment
}

// listParameters are what the address of the list may hold. Those in oldParameters become terms of the query.
var (
	listParameters = []string{"q", "sort", "limit", "cursor", "group_by", "cols"}
	oldParameters  = []string{"condition", "liveness", "healthy"}
)

func (u *UI) list(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	if moved, err := renewed(asked); err != nil {
		u.cannot(w, r, "Not a list", "This address asks for something that the list can't do", err)
		return
	} else if moved != "" {
		http.Redirect(w, r, moved, http.StatusFound) //nolint:gosec // a path of ours
		return
	}
	v := newView("/agents", asked, listParameters...)
	list, err := fleetapi.ParseList(v.without("cols").values)
	if err == nil {
		list.Now, list.Facets, list.Top = u.now(), sidesOfFacets(), facetTop
		if list.GroupBy != nil {
			list.Limit, list.Top = -1, maxGroups
		}
		var found fleetsearch.Result
		if found, err = u.index.Search(list.Request); err == nil {
			u.render(w, r, http.StatusOK, "list.html", page{
				Title: "Collectors", Here: "/agents",
				Events: events(found.Position, opampwire.InstanceUID{}, found.Unread), Unread: found.Unread,
				Body: u.newListPage(v, list, found),
			})
			return
		}
	}
	u.misunderstood(w, r, "list.html", "Collectors", v, err, func(bar queryBar) any {
		return listPage{Bar: bar, Known: -1}
	})
}

// misunderstood shows a page whose query was not understood, so that it can be mended where it stands.
func (u *UI) misunderstood(w http.ResponseWriter, r *http.Request, template, title string, v view, err error, body func(queryBar) any) {
	var wrong *fleetquery.Error
	if !errors.As(err, &wrong) {
		u.cannot(w, r, title, "This address asks for something that the page can't do", err)
		return
	}
	u.render(w, r, http.StatusBadRequest, template, page{
		Title: title, Here: v.path,
		Body: body(queryBar{
			Action: v.path, Text: clean(v.values.Get("q")), Error: clean(wrong.Error()), Hidden: v.hidden("q", "sort", "group_by"),
		}),
	})
}

func (u *UI) cannot(w http.ResponseWriter, r *http.Request, title, heading string, err error) {
	u.render(w, r, http.StatusBadRequest, "missing.html", page{
		Title: title, Body: missing{Heading: heading, Text: clean(err.Error())},
	})
}

// renewed is the address of the list that an address of before means: one whose filters are parameters.
func renewed(asked url.Values) (string, error) {
	if !slices.ContainsFunc(oldParameters, func(name string) bool { return asked.Get(name) != "" }) {
		return "", nil
	}
	v := newView("/agents", asked, append(slices.Clone(listParameters), oldParameters...)...)
	list, err := fleetapi.ParseList(v.without("cols").values)
	if err != nil {
		return "", err
	}
	return v.without(oldParameters...).with("q", list.Query.String()), nil
}

func (u *UI) newListPage(v view, list fleetapi.List, found fleetsearch.Result) listPage {
	api := v.without("cols", "group_by")
	out := listPage{
		Known: found.Known, Total: found.Total, Shown: len(found.Agents),
		Bar:       queryBar{Action: "/agents", Text: clean(list.Text), Hidden: v.hidden("q", "sort", "group_by")},
		Clear:     v.with("q", ""),
		Sorts:     sortOptions(list.Request),
		Groupings: u.groupings(list.GroupBy),
		JSON:      address("/api/v1/agents", api.values),
		CSV:       view{"/api/v1/agents", api.without("cursor", "limit").values}.with("format", "csv"),
		Endpoint:  u.settings.OpAMPEndpoint,
	}
	out.Tiles, out.Segments = tiles(v, list.Query, found.Conditions)
	out.Units = max(out.Tiles[0].Count, 1)
	out.Facets = newFacets(v, list.Query, found.Facets)
	for _, f := range out.Facets {
		for _, value := range f.Values {
			if value.Active {
				out.Filters++
			}
		}
	}
	if found.Groups != nil {
		out.Groups = newGroupsPart(v, list.Query, found)
		return out
	}
	shown := u.shownColumns(v)
	out.Columns, out.Choices = heads(v, list.Request, shown), u.choices(v, shown)
	for _, a := range found.Agents {
		out.Rows = append(out.Rows, u.newRow(a, shown))
	}
	if list.After != "" {
		out.First = v.with("cursor", "")
	}
	if found.Next != "" {
		out.Next = v.with("cursor", found.Next)
	}
	return out
}

// tiles shows every condition that somebody is in or that is filtered by, and the two that matter most always.
func tiles(v view, q fleetquery.Query, counts map[fleet.Condition]int) (out []tile, bar []segment) {
	all := 0
	for _, n := range counts {
		all += n
	}
	rest := q.Without(fleetquery.FacetStatus, "")
	out = append(out, tile{
		Word: "All", Look: "all", Help: "Whatever their state", Count: all,
		URL: v.with("q", rest.String()), Active: len(rest.Terms) == len(q.Terms),
	})
	x := 0
	for _, c := range fleet.Conditions() {
		term := is(fleetquery.FacetStatus, string(c))
		_, active := toggle(q, term)
		n := counts[c]
		if n == 0 && !active && c != fleet.ConditionHealthy && c != fleet.ConditionUnhealthy {
			continue
		}
		b := conditionBadges[c]
		t := tile{
			Word: b.Word, Look: b.Look, Help: b.Help, Count: n, Active: active,
			URL: v.with("q", fleetquery.Query{Terms: append(slices.Clone(rest.Terms), term)}.String()),
		}
		out = append(out, t)
		if n > 0 {
			bar = append(bar, segment{Look: b.Look, X: x, Width: n, Word: b.Word, URL: t.URL})
			x += n
		}
	}
	return out, bar
}

var sortWords = map[fleetsearch.SortKey]string{
	fleetsearch.SortStatus:   "Needs attention",
	fleetsearch.SortName:     "Name",
	fleetsearch.SortVersion:  "Version",
	fleetsearch.SortHost:     "Host",
	fleetsearch.SortSince:    "Latest change",
	fleetsearch.SortLastSeen: "Last heard",
	fleetsearch.SortFlaps:    "Comes and goes",
	fleetsearch.SortRuns:     "Starts",
}

func sortOptions(q fleetsearch.Request) (out []option) {
	for _, k := range fleetsearch.SortKeys() {
		value := string(k)
		selected := q.Sort == k || (q.Sort == "" && k == fleetsearch.SortStatus)
		if selected && q.Descending {
			value = "-" + value // the form must not turn the order round by itself
		}
		if k == fleetsearch.SortStatus && value == string(k) {
			value = "" // the default has no need to be in the address
		}
		out = append(out, option{Value: value, Word: sortWords[k], Selected: selected})
	}
	return out
}

// columnKind is a column that the list can have.
type columnKind struct {
	key, word string
	sort      fleetsearch.SortKey // "" if nothing is sorted by it
	of        func(*fleet.Agent, time.Time) (string, moment)
}

const attributeColumn = "attr."

var columnKinds = []columnKind{
	{"fails", "What fails", "", nil},
	{"version", "Version", fleetsearch.SortVersion, func(a *fleet.Agent, _ time.Time) (string, moment) {
		return clean(short(a.ServiceVersion(), 60)), moment{}
	}},
	{"host", "Host", fleetsearch.SortHost, func(a *fleet.Agent, _ time.Time) (string, moment) {
		return clean(short(a.HostName(), 120)), moment{}
	}},
	{"presence", "Presence", fleetsearch.SortLastSeen, func(a *fleet.Agent, now time.Time) (string, moment) {
		if !a.Present() {
			return "Last heard", ago(a.LastSeen, now)
		}
		return livenessBadges[a.Liveness].Word, lasts(a.LivenessSince, now)
	}},
	{"started", "Started", "", func(a *fleet.Agent, now time.Time) (string, moment) {
		if a.Health == nil {
			return "", moment{}
		}
		return "", ago(a.Health.StartedAt, now)
	}},
	{"seen", "First seen", "", func(a *fleet.Agent, now time.Time) (string, moment) { return "", ago(a.FirstSeen, now) }},
	{"flaps", "Flaps in an hour", fleetsearch.SortFlaps, func(a *fleet.Agent, now time.Time) (string, moment) {
		return strconv.Itoa(a.Flaps(now)), moment{}
	}},
	{"runs", "Instances", fleetsearch.SortRuns, func(a *fleet.Agent, _ time.Time) (string, moment) { return strconv.Itoa(a.Runs), moment{} }},
	{"identity", "Identity", "", func(a *fleet.Agent, _ time.Time) (string, moment) { return clean(short(a.Logical, 160)), moment{} }},
	{"config", "Config", "", func(a *fleet.Agent, _ time.Time) (string, moment) {
		if a.Config == nil {
			return "", moment{}
		}
		return a.Config.Hash()[:12], moment{}
	}},
	{"transport", "Transport", "", func(a *fleet.Agent, _ time.Time) (string, moment) { return transportWord(a.Transport), moment{} }},
	{"address", "Address", "", func(a *fleet.Agent, _ time.Time) (string, moment) { return clean(short(a.RemoteAddr, 60)), moment{} }},
}

// defaultColumns are shown where the address names none.
var defaultColumns = []string{"fails", "version", "host", "presence"}

// maxColumns bounds what an address may ask for.
const maxColumns = 12

// shownColumns are those that the address names, in its order.
func (u *UI) shownColumns(v view) (out []columnKind) {
	for _, key := range columnKeys(v) {
		if i := slices.IndexFunc(columnKinds, func(c columnKind) bool { return c.key == key }); i >= 0 {
			out = append(out, columnKinds[i])
		} else if name, ok := strings.CutPrefix(key, attributeColumn); ok && name != "" {
			out = append(out, columnKind{key: key, word: clean(short(name, 60)), of: func(a *fleet.Agent, _ time.Time) (string, moment) {
				return attributeOf(a, name), moment{}
			}})
		}
	}
	return out
}

func columnKeys(v view) []string {
	if !v.values.Has("cols") {
		return defaultColumns
	}
	keys := strings.Split(strings.Join(v.values["cols"], ","), ",")
	keys = keys[:min(len(keys), maxColumns)]
	return slices.DeleteFunc(slices.Compact(keys), func(k string) bool { return k == "" })
}

// attributeOf is an attribute that the agent told, whatever the case of its name.
func attributeOf(a *fleet.Agent, name string) string {
	if a.Description == nil {
		return ""
	}
	for _, list := range [][]fleet.Attribute{a.Description.Identifying, a.Description.NonIdentifying} {
		for _, attr := range list {
			if strings.EqualFold(attr.Key, name) {
				return clean(short(oneLine(attributeText(attr.Value)), 120))
			}
		}
	}
	return ""
}

// choices are the columns that may be shown, each a link that shows or hides it.
func (u *UI) choices(v view, shown []columnKind) (out []choice) {
	var keys []string
	for _, c := range shown {
		keys = append(keys, c.key)
	}
	all := slices.Clone(columnKinds)
	for _, name := range u.attributeKeys() {
		all = append(all, columnKind{key: attributeColumn + name, word: name})
	}
	for _, c := range shown {
		if !slices.ContainsFunc(all, func(o columnKind) bool { return o.key == c.key }) {
			all = append(all, c)
		}
	}
	for _, c := range all {
		next, is := slices.Clone(keys), slices.Contains(keys, c.key)
		if is {
			next = slices.DeleteFunc(next, func(k string) bool { return k == c.key })
		} else {
			next = append(next, c.key)
		}
		cols := strings.Join(next, ",")
		switch {
		case cols == strings.Join(defaultColumns, ","):
			cols = ""
		case cols == "":
			cols = "name"
		}
		out = append(out, choice{Word: clean(short(c.word, 60)), URL: v.with("cols", cols), Shown: is})
	}
	return out
}

// attributeKeys are the names that most collectors have attributes under.
func (u *UI) attributeKeys() (out []string) {
	for _, s := range u.index.Complete(attributeColumn, len(attributeColumn), u.now()) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(s.Text, ":"), attributeColumn)
		if ok && !strings.ContainsAny(name, `",`) {
			out = append(out, name)
		}
	}
	return out
}

// heads sort by themselves, and the other way round the second time.
func heads(v view, q fleetsearch.Request, shown []columnKind) (out []column) {
	for _, c := range append([]columnKind{
		{key: "name", word: "Collector", sort: fleetsearch.SortName},
		{key: "state", word: "Status", sort: fleetsearch.SortStatus},
	}, shown...) {
		if c.sort == "" {
			out = append(out, column{Key: c.key, Word: c.word})
			continue
		}
		sorted := q.Sort == c.sort || (q.Sort == "" && c.sort == fleetsearch.SortStatus)
		next, order := string(c.sort), ""
		switch {
		case sorted && !q.Descending:
			next, order = "-"+next, "ascending"
		case sorted:
			order = "descending"
		}
		if next == string(fleetsearch.SortStatus) {
			next = ""
		}
		out = append(out, column{Key: c.key, Word: c.word, URL: v.with("sort", next), Order: order})
	}
	return out
}

func (u *UI) newRow(a *fleet.Agent, shown []columnKind) row {
	now := u.now()
	out := row{
		ID:    "agent-" + a.UID.String(),
		URL:   agentURL(a),
		UID:   a.UID.String(),
		Name:  agentName(a),
		State: agentBadge(a),
		Gone:  !a.Present(),
		Since: since(a, now),
	}
	if len(a.Problems) > 0 {
		out.More = len(a.Problems) - 1
		out.Problem = newRowProblem(a, now)
	}
	for _, c := range shown {
		one := cell{Key: c.key, Label: c.word}
		if c.of != nil {
			one.Text, one.When = c.of(a, now)
		}
		out.Cells = append(out.Cells, one)
	}
	return out
}

func newRowProblem(a *fleet.Agent, now time.Time) *rowProblem {
	p := a.Problems[0]
	out := &rowProblem{
		Component: componentName(p),
		Pipeline:  clean(short(p.Pipeline, 60)),
		Error:     clean(short(oneLine(p.Error), 240)),
		State:     statusBadge(false, p.Status),
	}
	if a.Present() { // of the past nobody knows how long it lasted
		out.Since = lasts(p.Since, now)
	}
	return out
}

// since is for how long a collector has been as it is, or how long ago it went.
func since(a *fleet.Agent, now time.Time) moment {
	if a.Present() {
		return lasts(a.Since(), now)
	}
	return ago(a.Since(), now)
}

func agentURL(a *fleet.Agent) string { return "/agents/" + a.UID.String() }

// agentName is never empty: who tells no name is known by its instance UID.
func agentName(a *fleet.Agent) string {
	if name := clean(short(oneLine(a.ServiceName()), 120)); name != "" {
		return name
	}
	return "Unnamed " + a.UID.String()[:8]
}

func componentName(p fleet.Problem) string {
	if len(p.Path) == 0 {
		return "The collector as a whole"
	}
	return clean(short(p.Path[len(p.Path)-1], 120))
}

func transportWord(t string) string {
	switch t {
	case fleet.TransportWebSocket:
		return "WebSocket"
	case fleet.TransportHTTP:
		return "HTTP"
	}
	return clean(t)
}
