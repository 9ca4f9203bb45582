// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// rolloutPage is the body of the page that shows how far a version or a config has come.
type rolloutPage struct {
	Bar     queryBar
	OfWord  string // "Version", "Config"
	Value   string
	Label   string
	Config  string // the page of the config
	JSON    string
	CSV     string
	Spans   []spanChoice
	Others  []rank // other values that may be looked at
	None    bool   // nobody is to get it
	Cut     bool
	Done    int
	All     int
	Percent int
	Look    string
	Before  int

	Chart   *rolloutChart
	Steps   []rolloutStep
	Values  []string // heads of the columns of Steps
	Missing rolloutList
	Failed  rolloutList
}

// spanChoice is a span of time that may be looked at.
type spanChoice struct {
	Word, URL string
	Active    bool
}

// rolloutChart is the drawing: who had it, of who was there.
type rolloutChart struct {
	Width, Height int
	Total, Have   string // paths of areas
	Line          string // the upper edge of Have
	Ticks         []chartTick
	Most          int
	Summary       string
}

type chartTick struct {
	X    int
	Word string
}

// rolloutStep is a row of the table that says the same.
type rolloutStep struct {
	When    moment
	Have    int
	Total   int
	Percent int
	Counts  []int
}

type rolloutList struct {
	Count  int
	More   int
	URL    string
	Agents []rolloutAgent
}

type rolloutAgent struct {
	agentLine
	Value string
	Got   moment
}

// rolloutSpans are the spans that may be looked at; the first is the default.
var rolloutSpans = []struct {
	key, word string
	span      time.Duration
}{
	{"", "24 hours", fleethistory.DefaultSpan},
	{"1h", "1 hour", time.Hour},
	{"6h", "6 hours", 6 * time.Hour},
	{"7d", "7 days", 7 * 24 * time.Hour},
	{"30d", "30 days", 30 * 24 * time.Hour},
}

const (
	rolloutAgents = 20
	maxOthers     = 8
)

func (u *UI) rollout(w http.ResponseWriter, r *http.Request) {
	v := newView("/rollout", r.URL.Query(), "of", "value", "q", "for")
	q, err := fleetapi.ParseRollout(v.without("for").values)
	span, known := rolloutSpan(v.values.Get("for"))
	if err == nil && !known {
		err = errBadSpan
	}
	if err == nil {
		q.Now, q.Limit = u.now(), rolloutAgents
		q.Until = q.Now
		q.From = q.Until.Add(-span)
		var found fleethistory.Rollout
		if found, err = u.reader.Rollout(r.Context(), q); err == nil {
			u.render(w, r, http.StatusOK, "rollout.html", page{
				Title: "Roll-out", Here: hereOf(found.Of), Events: events(found.Position, opampwire.InstanceUID{}, found.Unread), Unread: found.Unread,
				Body: u.newRolloutPage(v, found),
			})
			return
		}
	}
	if errors.Is(err, fleethistory.ErrNoValue) {
		u.unknownConfig(w, r, q.Value)
		return
	}
	if !errors.Is(err, errBadSpan) && !errors.Is(err, fleethistory.ErrBadOf) && q.Now != (time.Time{}) {
		u.unreadable(w, r, "Roll-out", err)
		return
	}
	u.misunderstood(w, r, "rollout.html", "Roll-out", v, err, func(bar queryBar) any { return rolloutPage{Bar: bar} })
}

var errBadSpan = errors.New("for: not a span of this page")

func rolloutSpan(key string) (time.Duration, bool) {
	for _, s := range rolloutSpans {
		if s.key == key {
			return s.span, true
		}
	}
	return 0, false
}

// hereOf is the entry of the navigation that a roll-out belongs to.
func hereOf(of fleethistory.Of) string {
	if of == fleethistory.OfConfig {
		return "/configs"
	}
	return "/agents"
}

// rolloutURL is the page of one value.
func rolloutURL(of fleethistory.Of, value string) string {
	v := url.Values{}
	if of != fleethistory.OfVersion {
		v.Set("of", string(of))
	}
	if value != "" {
		v.Set("value", value)
	}
	return address("/rollout", v)
}

func (u *UI) newRolloutPage(v view, r fleethistory.Rollout) rolloutPage {
	api := v.without("for")
	api.values = cloneValues(api.values)
	api.values.Set("from", r.From.UTC().Format(time.RFC3339))
	out := rolloutPage{
		Bar: queryBar{Action: v.path, Text: clean(v.values.Get("q")), Hidden: v.hidden("q")}, OfWord: "Version", Value: clean(short(r.Value, 60)),
		Label: clean(short(r.Label, 200)), JSON: address("/api/v1/rollout", api.values), CSV: view{"/api/v1/rollout", api.values}.with("format", "csv"),
		None: r.Selected == 0, Cut: r.Cut, Done: r.Done, All: r.Selected, Before: r.Before, Look: "busy",
	}
	if r.Of == fleethistory.OfConfig {
		out.OfWord, out.Value = "Config", short(r.Value, 8)
		if r.Hash != "" {
			out.Config = configURL(r.Hash)
		}
	}
	for _, s := range rolloutSpans {
		out.Spans = append(out.Spans, spanChoice{Word: s.word, URL: v.with("for", s.key), Active: v.values.Get("for") == s.key})
	}
	out.addOthers(v, r)
	if out.None {
		return out
	}
	out.Percent = percentOf(r.Done, r.Selected)
	if r.Done == r.Selected {
		out.Look = "ok"
	}
	out.Chart = newRolloutChart(r)
	out.addSteps(r, u.now())
	u.addStragglers(&out, r)
	return out
}

func cloneValues(v url.Values) url.Values {
	out := url.Values{}
	for k, vs := range v {
		out[k] = vs
	}
	return out
}

// percentOf rounds down, so that 100 is all.
func percentOf(part, whole int) int {
	if whole <= 0 {
		return 0
	}
	return 100 * part / whole
}

// seriesWord is a value for people.
func seriesWord(of fleethistory.Of, value string) string {
	switch {
	case value == "":
		return "others"
	case of == fleethistory.OfConfig && len(value) > 8:
		return value[:8]
	}
	return clean(short(value, 40))
}

// addOthers links the other values that somebody had.
func (p *rolloutPage) addOthers(v view, r fleethistory.Rollout) {
	for _, s := range r.Series {
		last := 0
		if n := len(s.Counts); n > 0 {
			last = s.Counts[n-1]
		}
		if s.Value == "" || s.Value == "?" || s.Value == r.Value || len(p.Others) == maxOthers {
			continue
		}
		p.Others = append(p.Others, rank{
			ID: "other-" + termID(s.Value), Word: seriesWord(r.Of, s.Value), Count: last, Width: meter(last, r.Selected), URL: v.with("value", s.Value),
		})
	}
}

func (p *rolloutPage) addSteps(r fleethistory.Rollout, now time.Time) {
	for _, s := range r.Series {
		p.Values = append(p.Values, seriesWord(r.Of, s.Value))
	}
	for i := len(r.At) - 1; i >= 0; i-- { // the last first, as everywhere
		step := rolloutStep{When: ago(r.At[i], now), Have: r.Have[i], Total: r.Total[i], Percent: percentOf(r.Have[i], r.Total[i])}
		for _, s := range r.Series {
			step.Counts = append(step.Counts, s.Counts[i])
		}
		p.Steps = append(p.Steps, step)
	}
}

func (u *UI) addStragglers(p *rolloutPage, r fleethistory.Rollout) {
	now := u.now()
	p.Missing = rolloutList{
		Count: r.MissingCount, More: r.MissingCount - len(r.Missing), URL: address("/agents", url.Values{"q": {r.MissingQuery.String()}}),
	}
	for _, m := range r.Missing {
		p.Missing.Agents = append(p.Missing.Agents, rolloutAgent{agentLine: newAgentLine("missing", m.Agent, now), Value: seriesWord(r.Of, m.Value)})
	}
	p.Failed = rolloutList{Count: r.FailedCount, More: r.FailedCount - len(r.Failed)}
	for _, f := range r.Failed {
		line := rolloutAgent{agentLine: newAgentLine("failed", f.Agent, now), Got: ago(f.Got, now)}
		line.When = ago(f.Went, now)
		p.Failed.Agents = append(p.Failed.Agents, line)
	}
	if r.FailedCount > len(r.Failed) {
		q := r.Query
		facet := fleetquery.FacetVersion
		if r.Of == fleethistory.OfConfig {
			facet = fleetquery.FacetConfig
		}
		q.Terms = append(append([]fleetquery.Term{}, q.Terms...), fleetquery.Is(facet, "", r.Value), unhealthy)
		p.Failed.URL = address("/agents", url.Values{"q": {q.String()}})
	}
}

// Measures of the chart, in its own units.
const (
	chartWidth  = 960
	chartHeight = 200
	chartTicks  = 4
)

// newRolloutChart draws two areas.
func newRolloutChart(r fleethistory.Rollout) *rolloutChart {
	most := 1
	for _, n := range r.Total {
		most = max(most, n)
	}
	out := &rolloutChart{Width: chartWidth, Height: chartHeight, Most: most}
	out.Total, _ = area(r.Total, most)
	out.Have, out.Line = area(r.Have, most)
	last := len(r.At) - 1
	for i := range chartTicks + 1 {
		at := i * last / chartTicks
		out.Ticks = append(out.Ticks, chartTick{X: at * chartWidth / last, Word: tickWord(r.At[at], r.Until.Sub(r.From))})
	}
	out.Summary = fmt.Sprintf("At %s %d of %d had it, at %s %d of %d. The table says the same in rows.",
		tickWord(r.At[0], 0), r.Have[0], r.Total[0], tickWord(r.At[last], 0), r.Have[last], r.Total[last])
	return out
}

func tickWord(t time.Time, span time.Duration) string {
	switch {
	case span == 0:
		return t.UTC().Format("2006-01-02 15:04 UTC")
	case span > 48*time.Hour:
		return t.UTC().Format("01-02 15:04")
	}
	return t.UTC().Format("15:04")
}

// area is a path below counts, and its upper edge.
func area(counts []int, most int) (shape, edge string) {
	var b strings.Builder
	x := func(i int) int { return i * chartWidth / (len(counts) - 1) }
	y := func(n int) int { return chartHeight - n*chartHeight/most }
	fmt.Fprintf(&b, "M0 %d", y(counts[0]))
	for i := 1; i < len(counts); i++ {
		fmt.Fprintf(&b, "L%d %d", x(i), y(counts[i]))
	}
	edge = b.String()
	return edge + fmt.Sprintf("L%d %dL0 %dZ", chartWidth, chartHeight, chartHeight), edge
}

// beforePart is what changed just before a collector came to be as it is.
type beforePart struct {
	What    badge // of the step
	Part    string
	When    moment
	Changes []beforeChange
	More    int
	Within  string
}

type beforeChange struct {
	Kind   badge
	Text   string
	Before string
	Diff   string
	Same   bool // only what has to differ between instances
}

// maxBefore bounds what the page of a collector tells of what changed before.
const maxBefore = 6

// newBeforePart is nil where all is well, or where nothing is known.
func (u *UI) newBeforePart(r *http.Request, a *fleet.Agent) *beforePart {
	if a.Present() && len(a.Problems) == 0 {
		return nil
	}
	found, err := u.reader.Transition(r.Context(), fleethistory.TransitionRequest{Agent: a})
	if err != nil || found.Event == nil {
		return nil // the rest of the page is true without it
	}
	row := u.newEventRow(r.Context(), found.Event)
	out := &beforePart{What: row.Kind, Part: row.Text, When: ago(found.Event.At, u.now()), Within: amount(fleethistory.Within)}
	for _, c := range found.Changes {
		if len(out.Changes) == maxBefore {
			out.More++
			continue
		}
		one := beforeChange{Kind: eventBadges[c.Kind], Text: eventText(&c.Event), Before: beforeWords(c.Before), Same: c.Same}
		if c.Both {
			one.Diff = diffURL(c.From, c.To)
		}
		out.Changes = append(out.Changes, one)
	}
	return out
}

func beforeWords(d time.Duration) string {
	if d < time.Second {
		return "at the same moment"
	}
	return amount(d) + " before"
}
