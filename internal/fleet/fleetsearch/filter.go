// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// term is a term of a query, ready to be held against slots.
type term struct {
	not bool

	// One of these says whether the term holds, without not.
	looks []look              // in one of these columns
	check func(slot int) bool // slower
}

// look is a verdict on each set of a column.
type look struct {
	of   []uint32
	sets []bool
}

func (t term) holds(slot int) bool {
	if t.check != nil {
		return t.check(slot) != t.not
	}
	for _, l := range t.looks {
		if l.sets[l.of[slot]] {
			return !t.not
		}
	}
	return t.not
}

// condition is all that a query asks of one facet.
type condition struct {
	facet Side
	terms []term
}

func (c condition) holds(slot int) bool {
	for _, t := range c.terms {
		if !t.holds(slot) {
			return false
		}
	}
	return true
}

// filter is a compiled query.
type filter struct {
	conditions []condition
	slow       []term // looked at last, and of no facet that can be counted
}

// compileLocked makes a filter. It is good as long as the lock is held.
func (x *Index) compileLocked(q fleetquery.Query, now time.Time) filter {
	var f filter
	for _, t := range q.Terms {
		compiled, slow := x.compileTermLocked(t, now)
		if slow {
			f.slow = append(f.slow, compiled)
			continue
		}
		facet := Side{Facet: t.Facet, Key: strings.ToLower(t.Key)}
		i := slices.IndexFunc(f.conditions, func(c condition) bool { return c.facet == facet })
		if i < 0 {
			i = len(f.conditions)
			f.conditions = append(f.conditions, condition{facet: facet})
		}
		f.conditions[i].terms = append(f.conditions[i].terms, compiled)
	}
	return f
}

func (x *Index) compileTermLocked(t fleetquery.Term, now time.Time) (out term, slow bool) {
	out.not = t.Not
	switch t.Facet {
	case fleetquery.FacetWord:
		word := strings.ToLower(t.Values[0].Text)
		out.check = func(slot int) bool { return x.rows[slot].agent.Mentions(word) }
		return out, true
	case fleetquery.FacetSince:
		match := t.MatchTime(now)
		out.check = func(slot int) bool { return match(x.rows[slot].since) }
		return out, true
	case fleetquery.FacetHeard:
		match := t.MatchTime(now)
		out.check = func(slot int) bool { return match(x.rows[slot].agent.LastSeen.UnixNano()) }
		return out, true
	case fleetquery.FacetFlaps:
		match := t.MatchNumber()
		out.check = func(slot int) bool { return match(x.rows[slot].agent.Flaps(now)) }
		return out, true
	case fleetquery.FacetRuns:
		match := t.MatchNumber()
		out.check = func(slot int) bool { return match(x.rows[slot].agent.Runs) }
		return out, true
	case fleetquery.FacetUID:
		out.check = x.uidCheck(t)
		return out, true
	case fleetquery.FacetDrift:
		match, c := t.Match(), x.columns[sideVariant]
		word := x.driftWords()
		out.looks = []look{{of: c.of, sets: c.verdicts(func(variant string) bool { return match(word(variant)) })}}
		return out, false
	case fleetquery.FacetGateway:
		match, c := t.Match(), x.columns[sideGateway]
		out.looks = []look{{of: c.of, sets: c.verdicts(func(text string) bool { return matchesGateway(text, match) })}}
		return out, false
	case fleetquery.FacetAttribute:
		match, key := t.Match(), strings.ToLower(t.Key)
		if k := x.keyed[key]; k != nil {
			out.looks = []look{{of: k.column.of, sets: k.column.verdicts(match)}}
			return out, false
		}
		c, prefix := x.columns[sideAttribute], key+"\x00"
		out.looks = []look{{of: c.of, sets: c.verdicts(func(text string) bool {
			return hasPrefixFold(text, prefix) && match(text[len(prefix):])
		})}}
		return out, false
	}
	match := t.Match()
	for _, s := range sidesOf(t.Facet) {
		c := x.columns[s]
		out.looks = append(out.looks, look{of: c.of, sets: c.verdicts(match)})
	}
	return out, false
}

// hasPrefixFold is for prefixes that end with a zero byte. It looks there first, for most texts have none there.
func hasPrefixFold(s, prefix string) bool {
	last := len(prefix) - 1
	return len(s) > last && s[last] == 0 && strings.EqualFold(s[:last], prefix[:last])
}

// uidCheck compares the first digits of an instance UID.
func (x *Index) uidCheck(t fleetquery.Term) func(int) bool {
	var prefixes []string
	for _, v := range t.Values {
		prefixes = append(prefixes, strings.ReplaceAll(strings.TrimSuffix(strings.ToLower(v.Text), "*"), "-", ""))
	}
	return func(slot int) bool {
		var digits [32]byte
		hex.Encode(digits[:], x.rows[slot].agent.UID[:])
		for _, p := range prefixes {
			if len(p) <= len(digits) && string(digits[:len(p)]) == p {
				return true
			}
		}
		return false
	}
}

// judge says whether a slot is found, and if not, whether one condition alone is to blame.
func (f *filter) judge(slot int) (found bool, blame int) {
	blame = -1
	for i := range f.conditions {
		if f.conditions[i].holds(slot) {
			continue
		}
		if blame >= 0 {
			return false, -1
		}
		blame = i
	}
	return blame < 0, blame
}

func (f *filter) slowHolds(slot int) bool {
	for _, t := range f.slow {
		if !t.holds(slot) {
			return false
		}
	}
	return true
}
