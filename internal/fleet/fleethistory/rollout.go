// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleethistory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// Of is what is rolled out.
type Of string

const (
	OfVersion Of = "version" // service.version
	OfConfig  Of = "config"  // a variant of an effective config
)

// Ofs lists what can be rolled out.
func Ofs() []Of { return []Of{OfVersion, OfConfig} }

var (
	// ErrBadOf says that [RolloutRequest.Of] is none.
	ErrBadOf = errors.New("is neither version nor config")
	// ErrBadSpan says that a roll-out ends before it begins.
	ErrBadSpan = errors.New("is not after the beginning")
	// ErrNoValue says that no agent tells what is asked for, nor did.
	ErrNoValue = errors.New("is known of no agent")
)

// RolloutRequest asks how far a version or a config has come. A zero field takes its default.
type RolloutRequest struct {
	// Of is what is rolled out. Default [OfVersion].
	Of Of
	// Value is a version; or the beginning of the hash of a config, of a variant or of a family, which stand for the
	// variant. Default is the newest version, or the variant that most agents of all run.
	Value string
	// Query says who is to get it. Default is, of a version, everybody who tells one; of a config, everybody of its
	// family and of the families that it replaced.
	Query fleetquery.Query
	// From and Until are the span. Default is the last 24 hours.
	From, Until time.Time
	// Steps is how many moments are told, at least 2. Default 25.
	Steps int
	// Limit is how many agents a list has at most. Default 50.
	Limit int
	Now   time.Time
}

// Defaults of a [RolloutRequest], and the most that it may ask for.
const (
	DefaultSpan  = 24 * time.Hour
	DefaultSteps = 25
	MaxSteps     = 500
	defaultLimit = 50
)

// Rollout is how far something has come.
type Rollout struct {
	Of          Of
	Value       string // a version, or a variant
	Label       string // what a config does, in a few words
	Hash        string // of a config of the variant, empty if none is known
	Query       fleetquery.Query
	From, Until time.Time

	// At are the moments. Of Total[i] agents that were there, Have[i] had it.
	At          []time.Time
	Have, Total []int
	// Series are all values, at the same moments: those that most agents ever had, and one for the rest.
	Series []fleetsearch.Series

	// Selected counts who is to get it, Done who has it at the end. Before counts who had it before the span.
	Selected, Done, Before int
	// Missing are those that don't have it yet, MissingQuery finds them as they are now.
	Missing      []Straggler
	MissingCount int
	MissingQuery fleetquery.Query
	// Failed are those that have it, and fell ill or disappeared since they got it; the first of them first.
	Failed      []Failure
	FailedCount int
	// Cut says that more happened than is read: what was before is not told right.
	Cut bool
	// Unread counts configs that are not read yet (see [fleetsearch.Index.Unread]). Who runs one has no part in the
	// roll-out of a config.
	Unread   int
	Position fleet.Position
}

// Straggler is an agent that has something else.
type Straggler struct {
	Agent *fleet.Agent
	Value string
}

// Failure is an agent that went wrong after it got what is rolled out.
type Failure struct {
	Agent     *fleet.Agent
	Got, Went time.Time
}

const (
	// maxRolloutEvents bounds what is read for one answer.
	maxRolloutEvents = 50_000
	// maxPastConfigs bounds how many configs that nobody runs any more are looked into for one answer.
	maxPastConfigs = 2_000
)

// Rollout answers a [RolloutRequest].
func (r *Reader) Rollout(ctx context.Context, q RolloutRequest) (Rollout, error) {
	t, err := r.newRoll(ctx, q)
	if err != nil {
		return Rollout{}, err
	}
	events, cut, err := r.changes(ctx, t.kind(), t.q.From)
	if err != nil {
		return Rollout{}, err
	}
	t.out.Cut = cut
	t.choose(ctx, events)
	for i := range events {
		t.undo(ctx, &events[i])
	}
	t.conclude()
	return t.out, nil
}

// changes are the events of a kind since a moment, the last first.
func (r *Reader) changes(ctx context.Context, kind fleet.EventKind, from time.Time) (out []fleet.Event, cut bool, err error) {
	q := fleet.EventQuery{Kinds: []fleet.EventKind{kind}, From: from, Limit: fleet.MaxEvents}
	for {
		page, err := r.log.Events(ctx, q)
		if err != nil {
			return nil, false, err
		}
		out = append(out, page.Events...)
		if page.Next == 0 {
			return out, false, nil
		}
		if len(out) >= maxRolloutEvents {
			return out, true, nil
		}
		q.Before = page.Next
	}
}

// roll is one answer as it is made.
type roll struct {
	reader *Reader
	q      RolloutRequest
	out    Rollout
	family string // of the config
	budget int    // past configs that may yet be looked into

	rows  []*rollRow
	byUID map[[16]byte]*rollRow
	byKin map[string]*rollRow // who had other instances, by logical identity

	atEnd   map[string]int
	changes []fleetsearch.Change
}

// rollRow is one agent, gone back in time.
type rollRow struct {
	agent *fleet.Agent
	value string // at the moment that the events were undone to
	end   string // at the end of the span
	ended bool   // end is known
	got   time.Time
}

func (r *Reader) newRoll(ctx context.Context, q RolloutRequest) (*roll, error) {
	q.Of = cmp.Or(q.Of, OfVersion)
	if !slices.Contains(Ofs(), q.Of) {
		return nil, fmt.Errorf("of: %.64q %w", q.Of, ErrBadOf)
	}
	if q.Until.IsZero() {
		q.Until = q.Now
	}
	if q.From.IsZero() {
		q.From = q.Until.Add(-DefaultSpan)
	}
	if !q.Until.After(q.From) {
		return nil, fmt.Errorf("until: %w", ErrBadSpan)
	}
	q.Steps, q.Limit = cmp.Or(q.Steps, DefaultSteps), cmp.Or(q.Limit, defaultLimit)
	t := &roll{
		reader: r, q: q, budget: maxPastConfigs, byUID: map[[16]byte]*rollRow{}, byKin: map[string]*rollRow{}, atEnd: map[string]int{},
		out: Rollout{Of: q.Of, From: q.From, Until: q.Until},
	}
	t.out.Unread = r.index.Unread()
	var err error
	if q.Of == OfVersion {
		t.out.Value = q.Value
		err = t.newest()
	} else {
		err = t.config(ctx)
	}
	return t, err
}

// newest takes the newest version that somebody runs, where the request names none.
func (t *roll) newest() error {
	if t.q.Value != "" {
		return nil
	}
	found, err := t.reader.index.Search(fleetsearch.Request{
		Query: t.q.Query, Limit: -1, Top: 1000, Facets: []fleetsearch.Side{{Facet: fleetquery.FacetVersion}}, Now: t.q.Now,
	})
	if err != nil {
		return err
	}
	for _, v := range found.Facets[0].Values {
		if t.out.Value == "" || fleetquery.CompareVersions(v.Value, t.out.Value) > 0 {
			t.out.Value = v.Value
		}
	}
	return nil
}

// config finds the variant that the request means.
func (t *roll) config(ctx context.Context) error {
	value := t.q.Value
	if value == "" {
		found, err := t.reader.index.Search(fleetsearch.Request{
			Query: t.q.Query, Limit: -1, Top: 1, Facets: []fleetsearch.Side{{Facet: fleetsearch.FacetVariant}}, Now: t.q.Now,
		})
		if err != nil || len(found.Facets[0].Values) == 0 {
			return err
		}
		value = found.Facets[0].Values[0].Value
	}
	c, err := t.reader.Config(ctx, value)
	switch {
	case errors.Is(err, ErrNoConfig):
		return fmt.Errorf("value: %.80q %w", value, ErrNoValue)
	case err != nil:
		return err
	}
	t.out.Value, t.out.Label, t.out.Hash, t.family = c.Facts.Variant, c.Facts.Label, c.Facts.Hash, c.Facts.Family
	return nil
}

func (t *roll) kind() fleet.EventKind {
	if t.q.Of == OfConfig {
		return fleet.EventConfig
	}
	return fleet.EventVersion
}

// valueOf is what an agent has now.
func (t *roll) valueOf(a *fleet.Agent) string {
	if t.q.Of == OfVersion {
		return a.ServiceVersion()
	}
	if a.Config == nil {
		return ""
	}
	return t.variant(context.Background(), a.Config.Hash()).variant
}

func (t *roll) variant(ctx context.Context, hash string) kind {
	return t.reader.kindOf(ctx, hash, &t.budget)
}

// past is a value that an event names.
func (t *roll) past(ctx context.Context, value string) string {
	if t.q.Of == OfVersion {
		return value
	}
	return cmp.Or(t.variant(ctx, value).variant, unknownConfig)
}

// unknownConfig is one that is not kept any more, or was not looked into.
const unknownConfig = "?"

// choose finds who is to get it.
func (t *roll) choose(ctx context.Context, events []fleet.Event) {
	t.out.Query = t.q.Query
	if len(t.q.Query.Terms) == 0 {
		t.out.Query = t.everybody(ctx, events)
	}
	found := t.reader.index.Agents(t.out.Query, t.q.Now)
	t.out.Position, t.out.Unread = found.Position, max(t.out.Unread, found.Unread)
	for _, a := range found.Agents {
		value := t.valueOf(a)
		if value == "" || a.KnownSince.After(t.q.Until) {
			continue
		}
		row := &rollRow{agent: a, value: value}
		t.rows = append(t.rows, row)
		t.byUID[a.UID] = row
		if a.Runs > 1 {
			t.byKin[a.Logical] = row
		}
	}
}

// everybody is the query of who is to get it, where nobody says.
func (t *roll) everybody(ctx context.Context, events []fleet.Event) fleetquery.Query {
	if t.q.Of == OfVersion || t.family == "" {
		return fleetquery.Query{}
	}
	families := []string{t.family}
	for i := range events {
		if t.past(ctx, events[i].To) != t.out.Value {
			continue
		}
		if f := t.variant(ctx, events[i].From).family; f != "" && !slices.Contains(families, f) && len(families) < fleetquery.MaxValues {
			families = append(families, f)
		}
	}
	slices.Sort(families[1:])
	term := fleetquery.Is(fleetquery.FacetConfig, "", families[0])
	for _, f := range families[1:] {
		term.Values = append(term.Values, fleetquery.Is(fleetquery.FacetConfig, "", f).Values...)
	}
	return fleetquery.Query{Terms: []fleetquery.Term{term}}
}

// undo goes back over one event.
func (t *roll) undo(ctx context.Context, e *fleet.Event) {
	row := t.byUID[e.UID]
	if row == nil && e.Logical != "" {
		row = t.byKin[e.Logical]
	}
	if row == nil {
		return
	}
	if !e.At.After(t.q.Until) {
		row.settle()
	}
	from := t.past(ctx, e.From)
	if from == row.value {
		return
	}
	if row.ended {
		t.changes = append(t.changes, fleetsearch.Change{At: e.At, From: from, To: row.value})
		if row.got.IsZero() && row.value == row.end {
			row.got = e.At
		}
	}
	row.value = from
}

// settle says that all after the span is undone.
func (r *rollRow) settle() {
	if !r.ended {
		r.end, r.ended = r.value, true
	}
}

func (t *roll) conclude() {
	for _, row := range t.rows {
		row.settle()
		if row.agent.KnownSince.After(t.q.From) {
			t.changes = append(t.changes, fleetsearch.Change{At: row.agent.KnownSince, To: row.value})
			if row.got.IsZero() {
				row.got = row.agent.KnownSince
			}
		}
		t.atEnd[row.end]++
	}
	t.draw()
	t.tell()
}

// draw makes the series.
func (t *roll) draw() {
	all := fleetsearch.Rollout(t.atEnd, t.changes, t.q.From, t.q.Until, t.q.Steps)
	t.out.At, t.out.Series = all.At, all.Series
	const has, rest = "has", "rest"
	word := func(v string) string {
		switch v {
		case "":
			return ""
		case t.out.Value:
			return has
		}
		return rest
	}
	atEnd, changes := map[string]int{}, make([]fleetsearch.Change, len(t.changes))
	for v, n := range t.atEnd {
		atEnd[word(v)] += n
	}
	for i, c := range t.changes {
		changes[i] = fleetsearch.Change{At: c.At, From: word(c.From), To: word(c.To)}
	}
	two := fleetsearch.Rollout(atEnd, changes, t.q.From, t.q.Until, t.q.Steps)
	t.out.Have, t.out.Total = make([]int, len(two.At)), make([]int, len(two.At))
	for _, s := range two.Series {
		for i, n := range s.Counts {
			t.out.Total[i] += n
			if s.Value == has {
				t.out.Have[i] += n
			}
		}
	}
}

// straggler is one with what it is listed by.
type straggler struct {
	Straggler
	host string
}

// tell lists who has it not, and who went wrong with it.
func (t *roll) tell() {
	t.out.Selected = len(t.rows)
	var missing []straggler
	for _, row := range t.rows {
		if row.end != t.out.Value {
			missing = append(missing, straggler{Straggler{row.agent, row.end}, row.agent.HostName()})
			continue
		}
		t.out.Done++
		if row.got.IsZero() {
			t.out.Before++
		} else if went, ok := wentWrong(row.agent, row.got); ok {
			t.out.Failed = append(t.out.Failed, Failure{row.agent, row.got, went})
		}
	}
	t.out.MissingCount, t.out.FailedCount = len(missing), len(t.out.Failed)
	slices.SortFunc(missing, func(a, b straggler) int {
		return cmp.Or(strings.Compare(a.Value, b.Value), strings.Compare(a.host, b.host), bytes.Compare(a.Agent.UID[:], b.Agent.UID[:]))
	})
	for _, m := range missing[:min(len(missing), t.q.Limit)] {
		t.out.Missing = append(t.out.Missing, m.Straggler)
	}
	slices.SortFunc(t.out.Failed, func(a, b Failure) int {
		return cmp.Or(a.Went.Compare(b.Went), bytes.Compare(a.Agent.UID[:], b.Agent.UID[:]))
	})
	t.out.Failed = t.out.Failed[:min(len(t.out.Failed), t.q.Limit)]
	facet := fleetquery.FacetVersion
	if t.q.Of == OfConfig {
		facet = fleetquery.FacetConfig
	}
	if t.out.Value == "" {
		return
	}
	not := fleetquery.Is(facet, "", t.out.Value)
	not.Not = true
	some := fleetquery.Is(facet, "", t.out.Value)
	some.Values = []fleetquery.Value{{Text: "*"}}
	t.out.MissingQuery.Terms = append(slices.Clone(t.out.Query.Terms), not, some)
}

// wentWrong says when an agent fell ill or disappeared, if that was after it got what is rolled out. To say goodbye is
// nothing wrong, and of one that is unknown only the server knows too little.
func wentWrong(a *fleet.Agent, got time.Time) (time.Time, bool) {
	wrong := a.Liveness == fleet.LivenessLost || a.Liveness == fleet.LivenessSilent || a.Condition() == fleet.ConditionUnhealthy
	return a.Since(), wrong && !a.Since().Before(got)
}
