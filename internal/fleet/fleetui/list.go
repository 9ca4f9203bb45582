// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"net/url"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// listPage is the body of the list.
type listPage struct {
	// Known is how many collectors there are at all; Total how many were found.
	Known, Total, Shown int

	Query    string
	Filtered bool
	Tiles    []tile
	Segments []segment
	Units    int // the width of all segments, at least 1
	Presence []option
	Sorts    []option
	Hidden   []hidden // what the form must carry along
	Columns  []column
	Rows     []row
	First    string // address of the first page, if this is another
	Next     string
	JSON     string

	Endpoint string // for who has no collector yet
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
}

type option struct {
	Value, Word string
	Selected    bool
}

type hidden struct{ Name, Value string }

// column is a head of the table.
type column struct {
	Word, URL string
	Order     string // "ascending", "descending", or "" where the list is sorted otherwise
}

// row is one collector.
type row struct {
	ID, URL             string
	UID                 string
	Name, Version, Host string
	State               badge
	Since               moment
	Gone                bool
	Problem             *rowProblem
	More                int
	Presence            badge
	PresenceSince       moment
}

type rowProblem struct {
	Component, Pipeline, Error string
	State                      badge
	Since                      moment
}

func (u *UI) list(w http.ResponseWriter, r *http.Request) {
	values := known(r.URL.Query())
	q, err := fleetapi.ParseList(values)
	q.Now = u.now()
	if err == nil {
		var p fleetsearch.Result
		if p, err = u.index.Search(q.Request); err == nil {
			u.render(w, http.StatusOK, "list.html", page{
				Title:  "Collectors",
				Events: events(p.Position, opampwire.InstanceUID{}),
				Body:   u.newListPage(values, q, p),
			})
			return
		}
	}
	u.render(w, http.StatusBadRequest, "missing.html", page{
		Title: "Not a list",
		Body:  missing{Heading: "This address asks for something that the list can't do", Text: clean(err.Error())},
	})
}

// parameters of the list that its address may hold.
var parameters = []string{"q", "condition", "liveness", "healthy", "sort", "limit", "cursor"}

// known drops what others add to an address, and what says nothing.
func known(values url.Values) url.Values {
	out := url.Values{}
	for _, name := range parameters {
		if v := values.Get(name); v != "" {
			out[name] = values[name]
		}
	}
	return out
}

// with is the address of the first page of the list with one parameter changed; an empty value drops it.
func with(values url.Values, name, value string) string {
	out := url.Values{}
	for k, v := range values {
		if k != "cursor" {
			out[k] = v
		}
	}
	out.Del(name)
	if value != "" {
		out.Set(name, value)
	}
	return address("/", out)
}

func address(path string, values url.Values) string {
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

func (u *UI) newListPage(values url.Values, q fleetapi.List, p fleetsearch.Result) listPage {
	out := listPage{
		Known: p.Known, Total: p.Total, Shown: len(p.Agents),
		Query:    clean(q.Text),
		Filtered: q.Text != "" || len(q.Conditions)+len(q.Liveness) > 0 || q.Healthy != nil,
		Presence: presenceOptions(values),
		Sorts:    sortOptions(q),
		Columns:  columns(values, q),
		JSON:     address("/api/v1/agents", values),
		Endpoint: u.settings.OpAMPEndpoint,
	}
	out.Tiles, out.Segments = tiles(values, q, p)
	out.Units = max(out.Tiles[0].Count, 1)
	for _, name := range []string{"condition", "healthy", "limit"} {
		for _, v := range values[name] {
			out.Hidden = append(out.Hidden, hidden{Name: name, Value: v})
		}
	}
	for _, a := range p.Agents {
		out.Rows = append(out.Rows, u.newRow(a))
	}
	if q.After != "" {
		out.First = with(values, "cursor", "")
	}
	if p.Next != "" {
		out.Next = with(values, "cursor", p.Next)
	}
	return out
}

// tiles shows every condition that somebody is in or that is filtered by, and the two that matter most always.
func tiles(values url.Values, q fleetapi.List, p fleetsearch.Result) (out []tile, bar []segment) {
	all := 0
	for _, n := range p.Conditions {
		all += n
	}
	out = append(out, tile{
		Word: "All", Look: "all", Help: "Whatever their state", Count: all,
		URL: with(values, "condition", ""), Active: len(q.Conditions) == 0,
	})
	x := 0
	for _, c := range fleet.Conditions() {
		n, active := p.Conditions[c], isOnly(q.Conditions, c)
		if n == 0 && !active && c != fleet.ConditionHealthy && c != fleet.ConditionUnhealthy {
			continue
		}
		b := conditionBadges[c]
		out = append(out, tile{
			Word: b.Word, Look: b.Look, Help: b.Help, Count: n,
			URL: with(values, "condition", string(c)), Active: active,
		})
		if n > 0 {
			bar = append(bar, segment{Look: b.Look, X: x, Width: n})
			x += n
		}
	}
	return out, bar
}

func isOnly(list []fleet.Condition, c fleet.Condition) bool { return len(list) == 1 && list[0] == c }

func presenceOptions(values url.Values) []option {
	chosen := values.Get("liveness")
	out := []option{{Value: "", Word: "Any presence", Selected: chosen == ""}}
	for _, l := range fleet.Livenesses() {
		if l == fleet.LivenessUnknown && chosen != string(l) {
			continue
		}
		out = append(out, option{Value: string(l), Word: livenessBadges[l].Word, Selected: chosen == string(l)})
	}
	return out
}

var sortWords = map[fleetsearch.SortKey]string{
	fleetsearch.SortStatus:   "Needs attention",
	fleetsearch.SortName:     "Name",
	fleetsearch.SortVersion:  "Version",
	fleetsearch.SortHost:     "Host",
	fleetsearch.SortSince:    "Latest change",
	fleetsearch.SortLastSeen: "Last heard",
}

func sortOptions(q fleetapi.List) (out []option) {
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

// columns sort by themselves, and the other way round the second time.
func columns(values url.Values, q fleetapi.List) (out []column) {
	for _, c := range []struct {
		word string
		key  fleetsearch.SortKey
	}{
		{"Collector", fleetsearch.SortName},
		{"Status", fleetsearch.SortStatus},
		{"What fails", ""},
		{"Version", fleetsearch.SortVersion},
		{"Host", fleetsearch.SortHost},
		{"Presence", fleetsearch.SortLastSeen},
	} {
		if c.key == "" {
			out = append(out, column{Word: c.word})
			continue
		}
		sorted := q.Sort == c.key || (q.Sort == "" && c.key == fleetsearch.SortStatus)
		next, order := string(c.key), ""
		switch {
		case sorted && !q.Descending:
			next, order = "-"+next, "ascending"
		case sorted:
			order = "descending"
		}
		if next == string(fleetsearch.SortStatus) {
			next = ""
		}
		out = append(out, column{Word: c.word, URL: with(values, "sort", next), Order: order})
	}
	return out
}

func (u *UI) newRow(a *fleet.Agent) row {
	now := u.now()
	out := row{
		ID:            "agent-" + a.UID.String(),
		URL:           "/agents/" + a.UID.String(),
		UID:           a.UID.String(),
		Name:          agentName(a),
		Version:       clean(short(a.ServiceVersion(), 60)),
		Host:          clean(short(a.HostName(), 120)),
		State:         agentBadge(a),
		Gone:          !a.Present(),
		Presence:      livenessBadges[a.Liveness],
		PresenceSince: lasts(a.LivenessSince, now),
	}
	out.Since = lasts(a.Since(), now)
	if out.Gone {
		out.Since = ago(a.Since(), now)
		out.PresenceSince = ago(a.LastSeen, now)
	}
	if len(a.Problems) > 0 {
		p := a.Problems[0]
		out.More = len(a.Problems) - 1
		out.Problem = &rowProblem{
			Component: componentName(p),
			Pipeline:  clean(short(p.Pipeline, 60)),
			Error:     clean(short(oneLine(p.Error), 240)),
			State:     statusBadge(false, p.Status),
		}
		if !out.Gone { // of the past nobody knows how long it lasted
			out.Problem.Since = lasts(p.Since, now)
		}
	}
	return out
}

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
