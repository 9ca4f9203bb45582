// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"slices"
	"strings"
	"time"
)

// Change says that one agent went from one value (a version, a config) to another. An agent that came has no From,
// one that went no To.
type Change struct {
	At       time.Time
	From, To string
}

// Timeline is how many agents had each value, at moments that are equally far from each other: a roll-out as it goes.
type Timeline struct {
	At     []time.Time
	Series []Series
}

// Series is one value over time.
type Series struct {
	Value  string // empty for the rest together
	Counts []int  // at each moment
}

const (
	maxTimelineSteps = 1_000
	maxSeries        = 12
)

// Rollout undoes changes, from what is true at the end of a span of time back to its beginning. At most twelve values
// are told apart, those that most agents ever had; the rest is one series. Changes outside the span are not looked at,
// and their order doesn't matter.
func Rollout(atEnd map[string]int, changes []Change, from, until time.Time, steps int) Timeline {
	steps = min(max(steps, 2), maxTimelineSteps)
	out := Timeline{At: make([]time.Time, steps)}
	for i := range out.At {
		out.At[i] = from.Add(until.Sub(from) * time.Duration(i) / time.Duration(steps-1))
	}
	latest := slices.Clone(changes)
	slices.SortStableFunc(latest, func(a, b Change) int { return b.At.Compare(a.At) })
	for len(latest) > 0 && latest[0].At.After(until) {
		latest = latest[1:]
	}
	counts := map[string]int{}
	for v, n := range atEnd {
		counts[v] = n
	}
	series := map[string][]int{}
	for i := steps - 1; i >= 0; i-- {
		for len(latest) > 0 && latest[0].At.After(out.At[i]) {
			undo(counts, latest[0])
			latest = latest[1:]
		}
		for v, n := range counts {
			if n <= 0 {
				continue // more went than is known to have come: a part of the log is missing
			}
			if series[v] == nil {
				series[v] = make([]int, steps)
			}
			series[v][i] = n
		}
	}
	out.Series = topSeries(series, steps)
	return out
}

func undo(counts map[string]int, c Change) {
	if c.To != "" {
		counts[c.To]--
	}
	if c.From != "" {
		counts[c.From]++
	}
}

// topSeries keeps the values that most agents ever had, in the order of their names.
func topSeries(series map[string][]int, steps int) []Series {
	best := newBest(maxSeries, func(a, b Series) int {
		if d := slices.Max(b.Counts) - slices.Max(a.Counts); d != 0 {
			return d
		}
		return strings.Compare(a.Value, b.Value)
	})
	for v, counts := range series {
		best.offer(Series{Value: v, Counts: counts})
	}
	out := best.sorted()
	rest := Series{Counts: make([]int, steps)}
	for v, counts := range series {
		if !slices.ContainsFunc(out, func(s Series) bool { return s.Value == v }) {
			for i, n := range counts {
				rest.Counts[i] += n
			}
		}
	}
	slices.SortFunc(out, func(a, b Series) int { return strings.Compare(a.Value, b.Value) })
	if slices.Max(rest.Counts) > 0 {
		out = append(out, rest)
	}
	return out
}
