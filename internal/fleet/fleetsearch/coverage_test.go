// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// coveredFleet has a pod that was started anew twice, two on one host, one that is gone, and one that tells nothing.
func coveredFleet() *Index {
	f := fleet.New(fleet.Settings{})
	put := func(c collector, at time.Time) { f.Report(connOf(c), c.report(), at) }
	for i := range 3 {
		pod := collector{id: uint32(10 + i), name: "pod", host: "n1"}
		if i > 0 {
			f.Disconnected(connOf(collector{id: uint32(9 + i)}), now.Add(time.Duration(i)*time.Minute))
		}
		put(pod, now.Add(time.Duration(i)*time.Minute))
	}
	put(collector{id: 20, name: "twin", host: "n2"}, now)
	put(collector{id: 21, name: "twin", host: "n2"}, now)
	put(collector{id: 30, name: "gone", host: "n3"}, now)
	put(collector{id: 40}, now)
	uid := uidOf(30)
	f.Report(connOf(collector{id: 30}), &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: 1, AgentDisconnect: &protobufs.AgentDisconnect{}}, now.Add(time.Hour))
	return New(f)
}

func TestCoverage(t *testing.T) {
	x := coveredFleet()
	got := x.Coverage(CoverageRequest{Now: now})
	assert.Equal(t, 5, got.Agents)
	assert.Equal(t, map[Cover]int{CoverNone: 1, CoverShared: 1, CoverUnsure: 0, CoverOne: 1}, got.Identities.Counts)
	assert.Equal(t, 1, got.Identities.None)
	assert.Equal(t, got.Identities.Counts, got.Hosts.Counts)
	require.Len(t, got.Hosts.Spots, 3)
	for i, want := range []Spot{{Value: "n3", Cover: CoverNone, Known: 1}, {Value: "n2", Cover: CoverShared, Known: 2, Present: 2}, {Value: "n1", Cover: CoverOne, Known: 1, Present: 1}} {
		spot := got.Hosts.Spots[i]
		assert.NotNil(t, spot.Last)
		spot.Last = nil
		assert.Equal(t, want, spot)
	}
	assert.Equal(t, 1, got.Successions)
	assert.Equal(t, 3, got.Instances)
	require.Len(t, got.Restarted, 1)
	assert.Equal(t, uidOf(12), got.Restarted[0].UID)
	assert.Len(t, x.Coverage(CoverageRequest{Limit: 1, Now: now}).Hosts.Spots, 1)
	q, err := fleetquery.Parse("host:n2")
	require.NoError(t, err)
	assert.Equal(t, 2, x.Coverage(CoverageRequest{Query: q, Now: now}).Agents)
}

func TestIdentityAndNumbersAreAskedFor(t *testing.T) {
	x := coveredFleet()
	at := now.Add(3 * time.Minute)
	find := func(query string) (names []string) {
		q, err := fleetquery.Parse(query)
		require.NoError(t, err)
		for _, a := range search(t, x, Request{Query: q, Now: at, Sort: SortRuns}).Agents {
			names = append(names, a.ServiceName())
		}
		return names
	}
	assert.Equal(t, []string{"twin", "twin"}, find("identity:*n2*"))
	assert.Equal(t, []string{""}, find("-identity:*"))
	assert.Equal(t, []string{"pod"}, find("runs:>1"))
	assert.Equal(t, []string{"pod"}, find("flaps:2,>3"))
	assert.Len(t, find("flaps:0"), 4)
	assert.Len(t, find("-flaps:>1"), 4)
	assert.Equal(t, "pod", find("")[0], "who was started anew most often comes first")
	got := search(t, x, Request{Now: at, Sort: SortFlaps, Limit: 1, Facets: []Side{{Facet: fleetquery.FacetIdentity}}})
	assert.Equal(t, "pod", got.Agents[0].ServiceName())
	assert.Equal(t, ValueCount{Value: "host.name=n2,service.name=twin", Count: 2}, got.Facets[0].Values[0])
	assert.Equal(t, 1, got.Facets[0].None)
	next := search(t, x, Request{Now: at, Sort: SortFlaps, Limit: 10, After: got.Next})
	assert.Len(t, next.Agents, 4)
	suggested := x.Complete("identity:n3", 11, at)
	require.Len(t, suggested, 1)
	assert.Equal(t, `"host.name=n3,service.name=gone"`, suggested[0].Text)
	f, ok := x.Facts("none")
	assert.False(t, ok)
	assert.Empty(t, f.Hash)
}
