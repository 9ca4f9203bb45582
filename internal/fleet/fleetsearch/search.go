// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// Side of an agent that can be counted and grouped by: most facets of the query language, and two of a config that
// there "config" stands for.
type Side struct {
	Facet fleetquery.Facet
	Key   string // of the attribute, in small letters
}

// Variant and family of the config; see fleetconfig.
const (
	FacetVariant fleetquery.Facet = "variant"
	FacetFamily  fleetquery.Facet = "family"
)

// ErrBadSide says that a name is none of a [Side].
var ErrBadSide = errors.New("can't be counted")

// sideNames are all but attributes.
var sideNames = func() (out []string) {
	for _, d := range fleetquery.Facets() {
		if len(sidesOf(d.Facet)) > 0 && d.Facet != fleetquery.FacetAttribute {
			out = append(out, string(d.Facet))
		}
	}
	return append(out, string(fleetquery.FacetDrift), string(FacetVariant), string(FacetFamily))
}()

// SideNames lists what [ParseSide] takes, but for attributes.
func SideNames() []string { return slices.Clone(sideNames) }

// ParseSide reads the name of a facet, or attr.KEY.
func ParseSide(name string) (Side, error) {
	lower := strings.ToLower(strings.TrimSpace(name))
	if key, ok := strings.CutPrefix(lower, "attr."); ok && key != "" {
		return Side{fleetquery.FacetAttribute, key}, nil
	}
	if slices.Contains(sideNames, lower) {
		return Side{Facet: fleetquery.Facet(lower)}, nil
	}
	return Side{}, fmt.Errorf("%.64q %w: it is none of %s, attr.KEY", name, ErrBadSide, strings.Join(sideNames, ", "))
}

// Name is what [ParseSide] reads.
func (s Side) Name() string {
	if s.Facet == fleetquery.FacetAttribute {
		return "attr." + s.Key
	}
	return string(s.Facet)
}

// condition is the facet of a query that narrows this side.
func (s Side) condition() Side {
	if s.Facet == FacetVariant || s.Facet == FacetFamily {
		return Side{Facet: fleetquery.FacetConfig}
	}
	return s
}

// column that is counted for this side, and what its texts mean: a value, and a label for people that may be empty.
func (x *Index) columnOf(s Side) (*column, func(text string) (value, label string, ok bool)) {
	plain := func(text string) (string, string, bool) {
		value, label, _ := strings.Cut(text, "\x00")
		return value, label, true
	}
	switch s.Facet {
	case FacetVariant:
		return x.columns[sideVariant], plain
	case FacetFamily:
		return x.columns[sideFamily], plain
	case fleetquery.FacetProblem:
		return x.columns[sideProblem], func(text string) (string, string, bool) {
			id, rest, _ := strings.Cut(text, "\x00")
			return id, keyOf(rest).Component() + ": " + keyOf(rest).Error, true
		}
	case fleetquery.FacetGateway:
		return x.columns[sideGateway], func(text string) (string, string, bool) {
			value, rest, _ := strings.Cut(text, "\x00")
			id, _, _ := strings.Cut(rest, "\x00")
			return value, id, true
		}
	case fleetquery.FacetDrift:
		word := x.driftWords()
		return x.columns[sideVariant], func(text string) (string, string, bool) { return word(text), "", true }
	case fleetquery.FacetAttribute:
		if k := x.keyed[s.Key]; k != nil {
			return k.column, func(text string) (string, string, bool) { return text, "", true }
		}
		prefix := s.Key + "\x00"
		return x.columns[sideAttribute], func(text string) (string, string, bool) {
			if !hasPrefixFold(text, prefix) {
				return "", "", false
			}
			return text[len(prefix):], "", true
		}
	}
	return x.columns[sidesOf(s.Facet)[0]], plain
}

// Request is a question for agents.
type Request struct {
	Query fleetquery.Query

	Sort       SortKey // "" is SortStatus
	Descending bool    // turns the order round
	Limit      int     // of one page; 0 is no limit, negative wants counts only
	// After is the Next of the page before; empty is the first page.
	After string

	// Facets are counted over all that is found, each as if Query had no condition of that facet.
	Facets []Side
	// Top is how many values of a facet and how many groups are listed, the most frequent first. 0 is 10.
	Top int
	// Containing wants only the values of Facets that have this in them, in any case.
	Containing string
	// GroupBy counts what is found by one more side, and each group by condition. nil doesn't.
	GroupBy *Side

	Now time.Time
}

// Result answers a [Request].
type Result struct {
	Agents []*fleet.Agent
	// Total counts the agents on all pages.
	Total int
	// Next asks for the page after this one; empty is the last page.
	Next string
	// Known counts all agents of the fleet.
	Known int
	// Conditions counts the agents that the query would find without its own conditions on status.
	Conditions map[fleet.Condition]int
	Facets     []FacetCounts
	Groups     *Groups
	// Unread counts configs that are not read yet, see [Index.Unread].
	Unread int
	// Position is the moment of which this is true.
	Position fleet.Position
}

// FacetCounts are the most frequent values of one facet.
type FacetCounts struct {
	Side   Side
	Values []ValueCount
	// Distinct counts all values, None the agents that have no value.
	Distinct, None int
}

// ValueCount is how many agents have a value.
type ValueCount struct {
	Value string
	// Label is the value for people, where Value is only an id.
	Label string
	Count int
}

// Groups are what was found, by one side. An agent with many values is in many groups.
type Groups struct {
	Side           Side
	Groups         []Group
	Distinct, None int
}

// Group is the agents that share a value.
type Group struct {
	ValueCount
	Conditions map[fleet.Condition]int
}

const defaultTop = 10

// Search answers r.
func (x *Index) Search(r Request) (Result, error) {
	order, err := r.order()
	if err != nil {
		return Result{}, err
	}
	x.refreshFor(r)
	x.holdKeys(r)
	x.mu.RLock()
	defer x.mu.RUnlock()
	f := x.compileLocked(r.Query, r.Now)
	s := x.newScan(r, f)
	p := newPage(x, order, r.Limit)
	total := s.run(p.offer)
	out := Result{
		Total: total, Known: len(x.slots), Unread: x.unreadLocked(), Position: x.position,
		Conditions: s.conditionCounts(), Facets: s.facetCounts(r), Groups: s.groups(r),
	}
	out.Agents, out.Next = p.finish()
	return out, nil
}

// refreshFor takes in what the question is about.
func (x *Index) refreshFor(r Request) {
	heard := r.Sort == SortLastSeen || slices.ContainsFunc(r.Query.Terms, func(t fleetquery.Term) bool {
		return t.Facet == fleetquery.FacetHeard
	})
	if !heard {
		x.Refresh()
		return
	}
	x.follow(true)
}

// scan is one walk over all agents.
type scan struct {
	index  *Index
	filter filter
	tables []table
	status *table
	group  *table
}

// table counts one side by sets of values; if split, each by condition.
type table struct {
	side   Side
	column *column
	text   func(string) (value, label string, ok bool)
	blame  int // the condition of the filter that is of this side, -1 if there is none
	counts []int32
	split  bool
	mixed  bool // the column has values of other sides, too
}

func (x *Index) newScan(r Request, f filter) *scan {
	s := &scan{index: x, filter: f}
	for _, side := range r.Facets {
		s.tables = append(s.tables, s.newTable(side, false))
	}
	status := s.newTable(Side{Facet: fleetquery.FacetStatus}, false)
	s.status = &status
	if r.GroupBy != nil {
		g := s.newTable(*r.GroupBy, true)
		g.blame = -1 // groups are of what is found
		s.group = &g
	}
	return s
}

func (s *scan) newTable(side Side, split bool) table {
	t := table{side: side, split: split}
	t.column, t.text = s.index.columnOf(side)
	t.mixed = t.column == s.index.columns[sideAttribute]
	t.blame = slices.IndexFunc(s.filter.conditions, func(c condition) bool { return c.facet == side.condition() })
	n := len(t.column.members)
	if split {
		n *= len(conditions)
	}
	t.counts = make([]int32, n)
	return t
}

func (t *table) add(slot int) { t.counts[t.column.of[slot]]++ }

// run offers each slot that is found, and counts.
func (s *scan) run(offer func(slot int)) (total int) {
	x := s.index
	counts := append([]*table{s.status}, pointers(s.tables)...)
	blamed := make([][]*table, len(s.filter.conditions))
	for _, t := range counts {
		if t.blame >= 0 {
			blamed[t.blame] = append(blamed[t.blame], t)
		}
	}
	for slot := range x.rows {
		if x.rows[slot].agent == nil {
			continue
		}
		found, blame := s.filter.judge(slot)
		if !found && (blame < 0 || blamed[blame] == nil) {
			continue
		}
		if len(s.filter.slow) > 0 && !s.filter.slowHolds(slot) {
			continue
		}
		if !found {
			for _, t := range blamed[blame] {
				t.add(slot)
			}
			continue
		}
		total++
		for _, t := range counts {
			t.add(slot)
		}
		if s.group != nil {
			s.group.counts[int(s.group.column.of[slot])*len(conditions)+int(x.rows[slot].rank)]++
		}
		offer(slot)
	}
	return total
}

func pointers(tables []table) (out []*table) {
	for i := range tables {
		out = append(out, &tables[i])
	}
	return out
}

func (s *scan) conditionCounts() map[fleet.Condition]int {
	out := map[fleet.Condition]int{}
	for _, v := range s.status.tally("", len(conditions)).top {
		out[fleet.Condition(v.value)] = v.count()
	}
	return out
}

func (s *scan) facetCounts(r Request) []FacetCounts {
	out := make([]FacetCounts, 0, len(s.tables))
	for i := range s.tables {
		t := s.tables[i].tally(strings.ToLower(r.Containing), r.top())
		f := FacetCounts{Side: s.tables[i].side, Distinct: t.distinct, None: t.none}
		for _, v := range t.top {
			f.Values = append(f.Values, ValueCount{Value: v.value, Label: v.label, Count: v.count()})
		}
		out = append(out, f)
	}
	return out
}

func (r Request) top() int {
	if r.Top <= 0 {
		return defaultTop
	}
	return r.Top
}

func (s *scan) groups(r Request) *Groups {
	if s.group == nil {
		return nil
	}
	t := s.group.tally("", r.top())
	out := &Groups{Side: s.group.side, Distinct: t.distinct, None: t.none}
	for _, v := range t.top {
		g := Group{
			ValueCount: ValueCount{Value: v.value, Label: v.label, Count: v.count()},
			Conditions: map[fleet.Condition]int{},
		}
		for i, n := range v.counts {
			if n > 0 {
				g.Conditions[conditions[i]] = int(n)
			}
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

// tallies are the counts of a table, by value: the most frequent, how many there are, and how many agents have none.
type tallies struct {
	top            []sum
	distinct, none int
}

// sum is how many agents have a value, in each condition if the table is split.
type sum struct {
	value, label string
	counts       []int32
}

func (s *sum) count() int { return total(s.counts) }

// tally spreads the counts of sets over their values, and lists the n most frequent, equal ones by name. Values that
// don't have part in them are left out.
func (t *table) tally(part string, n int) (out tallies) {
	width := 1
	if t.split {
		width = len(conditions)
	}
	sums, none := t.spread(width)
	out.none = none
	if t.side.Facet == fleetquery.FacetDrift {
		out.addWords(t, sums, width, part, n)
		return out
	}
	type candidate struct {
		count int
		value int
	}
	texts := t.column.values.texts
	best := newBest(n, func(a, b candidate) int {
		if a.count != b.count {
			return b.count - a.count
		}
		return strings.Compare(texts[a.value], texts[b.value]) // a value stands before its label
	})
	for v := range texts {
		count := total(sums[v*width : (v+1)*width])
		if count == 0 || (part != "" && !t.contains(v, part)) {
			continue
		}
		out.distinct++
		best.offer(candidate{count, v})
	}
	for _, c := range best.sorted() {
		value, label, _ := t.text(texts[c.value])
		out.top = append(out.top, sum{value, label, sums[c.value*width : (c.value+1)*width]})
	}
	return out
}

// spread counts the agents that have each value, in width parts, and those that have none of this side.
func (t *table) spread(width int) (sums []int32, none int) {
	sums = make([]int32, len(t.column.values.texts)*width)
	counted := t.counted()
	for set, members := range t.column.members {
		counts := t.counts[set*width : (set+1)*width]
		if isZero(counts) {
			continue
		}
		bare := true
		for _, v := range members {
			if counted != nil && !counted[v] {
				continue
			}
			bare = false
			for i, n := range counts {
				sums[int(v)*width+i] += n
			}
		}
		if bare {
			none += total(counts)
		}
	}
	return sums, none
}

func (t *table) contains(v int, part string) bool {
	value, _, _ := t.text(t.column.values.texts[v])
	return strings.Contains(strings.ToLower(value), part)
}

// addWords adds up the values of a side that many share: whether they have drifted.
func (out *tallies) addWords(t *table, sums []int32, width int, part string, n int) {
	words := map[string]*sum{}
	for v, text := range t.column.values.texts {
		counts := sums[v*width : (v+1)*width]
		if isZero(counts) || (part != "" && !t.contains(v, part)) {
			continue
		}
		word, label, _ := t.text(text)
		if words[word] == nil {
			words[word] = &sum{word, label, make([]int32, width)}
		}
		for i, n := range counts {
			words[word].counts[i] += n
		}
	}
	best := newBest(n, func(a, b sum) int {
		return cmp.Or(b.count()-a.count(), strings.Compare(a.value, b.value))
	})
	for _, s := range words {
		best.offer(*s)
	}
	out.top, out.distinct = best.sorted(), len(words)
}

// counted says which values are of this side; nil is all of them.
func (t *table) counted() []bool {
	if !t.mixed {
		return nil
	}
	out := make([]bool, len(t.column.values.texts))
	for v, text := range t.column.values.texts {
		_, _, out[v] = t.text(text)
	}
	return out
}

func isZero(counts []int32) bool {
	for _, n := range counts {
		if n != 0 {
			return false
		}
	}
	return true
}

func total(counts []int32) (n int) {
	for _, c := range counts {
		n += int(c)
	}
	return n
}
