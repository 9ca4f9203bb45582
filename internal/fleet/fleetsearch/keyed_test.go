// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// manyKeys is a collector that tells more keys than have columns, one of them twice in another case.
func manyKeys(id uint32) collector {
	c := collector{id: id, name: "c", attrs: map[string]string{"KEY.0": "other"}}
	for k := range 2 * maxKeyed {
		c.attrs[fmt.Sprint("key.", k)] = fmt.Sprint((int(id) + k) % 3)
	}
	return c
}

func TestKeysHaveColumnsAsLongAsTheyAreAskedFor(t *testing.T) {
	x := New(fleetOf(t, manyKeys(1), manyKeys(2), manyKeys(3), collector{id: 4}))
	side := func(k int) Side { return Side{Facet: fleetquery.FacetAttribute, Key: fmt.Sprint("key.", k)} }
	for k := range 2 * maxKeyed {
		search(t, x, Request{Facets: []Side{side(0), side(k)}})
		assert.LessOrEqual(t, len(x.keyed), maxKeyed)
	}
	assert.Contains(t, x.keyed, "key.0", "it was asked for all the time")
	assert.NotContains(t, x.keyed, "key.1", "it was asked for the longest ago")

	var all []Side
	for k := range 2 * maxKeyed {
		all = append(all, side(k))
	}
	found := search(t, x, Request{Facets: all, Query: mustParse(t, "-attr.key.1:0")})
	require.Len(t, x.keyed, maxKeyed)
	for k, f := range found.Facets {
		want := map[string]int{}
		for _, id := range []int{1, 3, 2} {
			if value := fmt.Sprint((id + k) % 3); k == 1 || id != 2 {
				want[value]++
			}
		}
		if k == 0 {
			want["other"] = 2
		}
		got := map[string]int{}
		for _, v := range f.Values {
			got[v.Value] = v.Count
		}
		assert.Equal(t, want, got, "%s, whether it has a column or not", f.Side.Name())
		assert.Equal(t, 1, f.None)
	}
	assert.Equal(t, 3, search(t, x, Request{Query: mustParse(t, "attr.key.47:*")}).Total)
	assert.Len(t, x.keys, 2*maxKeyed+2, "as they are told, and the name of the service")
}

func TestWhoFlaps(t *testing.T) {
	f := fleet.New(fleet.Settings{})
	for id := range uint32(5) {
		c := collector{id: id, name: "c"}
		for range id + 1 {
			f.Report(connOf(c), c.report(), now)
			f.Disconnected(connOf(c), now)
		}
	}
	x := New(f)
	agents, total := x.Flapping(2, 2, now)
	assert.Equal(t, 3, total)
	require.Len(t, agents, 2)
	assert.Equal(t, []int{4, 3}, []int{agents[0].Flaps(now), agents[1].Flaps(now)})
	_, total = x.Flapping(2, 2, now.Add(2*fleet.FlapWindow))
	assert.Zero(t, total)
}

func TestWhichConfigsRun(t *testing.T) {
	f, x := fewFleet(t)
	a, ok := f.Agent(uidOf(1))
	require.True(t, ok)
	runs := func(hash string) bool {
		_, ok := x.Facts(hash)
		return ok
	}
	assert.True(t, runs(a.Config.Hash()))
	assert.False(t, runs(a.Config.Hash()[:8]), "a part of a hash is none")
	assert.False(t, runs(""))
}
