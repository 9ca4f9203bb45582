// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// Complete suggests how the word at the cursor (in bytes) of a query may go on, with how many agents have each value
// among those that the rest of the query finds.
func (x *Index) Complete(text string, cursor int, now time.Time) []fleetquery.Suggestion {
	return fleetquery.Complete(text, cursor, source{x, now})
}

// source knows the values that the agents have.
type source struct {
	index *Index
	now   time.Time
}

func (s source) Values(rest fleetquery.Query, f fleetquery.Facet, key, part string, n int) []fleetquery.Count {
	side := Side{Facet: f, Key: strings.ToLower(key)}
	if len(sidesOf(f)) == 0 {
		return nil
	}
	result, err := s.index.Search(Request{
		Query: rest, Limit: -1, Facets: []Side{side}, Top: n, Containing: part, Now: s.now,
	})
	if err != nil {
		return nil // no request of ours has a sort or a cursor that could be wrong
	}
	var out []fleetquery.Count
	for _, v := range result.Facets[0].Values {
		out = append(out, fleetquery.Count{Value: v.Value, Count: v.Count})
	}
	return out
}

// Keys counts the keys of attributes. An agent that tells one twice counts twice.
func (s source) Keys(part string, n int) []fleetquery.Count {
	part = strings.ToLower(part)
	s.index.Refresh()
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	best := newBest(n, compareCounts)
	for key, count := range s.index.keys {
		if strings.Contains(strings.ToLower(key), part) {
			best.offer(ValueCount{Value: key, Count: count})
		}
	}
	var out []fleetquery.Count
	for _, v := range best.sorted() {
		out = append(out, fleetquery.Count{Value: v.Value, Count: v.Count})
	}
	return out
}
