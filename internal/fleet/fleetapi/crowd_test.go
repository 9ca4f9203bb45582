// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// crowd is more than any page may have, and no multiple of one.
const crowd = 5_321

// What is counted is counted over all, whatever a page has room for; and page by page everybody comes once.
func TestTotalsAreExactBeyondAnyPage(t *testing.T) {
	f := fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter})
	plantedfleet.Play(f, apiNow)
	plantedfleet.Crowd(f, apiNow, crowd-plantedfleet.Agents)
	a := New(f, Settings{})
	t.Cleanup(a.Close)
	conditions := map[string]float64{}
	for c, n := range f.Stats().Conditions {
		if n > 0 {
			conditions[string(c)] = float64(n)
		}
	}

	seen := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		w := get(a, fmt.Sprintf("/api/v1/agents?limit=%d&facets=liveness,version&cursor=%s", maxPage, url.QueryEscape(cursor)))
		require.Equal(t, http.StatusOK, w.Code)
		got := decode(t, w)
		assert.InDelta(t, crowd, got["total"], 0)
		assert.InDelta(t, crowd, got["known"], 0)
		assert.Equal(t, conditions, floats(got["conditions"]))
		for _, facet := range got["facets"].([]any) {
			assert.InDelta(t, crowd, sumOf(facet), 0, "of a facet that has few values")
		}
		for _, agent := range got["agents"].([]any) {
			uid := agent.(map[string]any)["instance_uid"].(string)
			assert.False(t, seen[uid], "nobody comes twice")
			seen[uid] = true
		}
		if cursor, _ = got["next_cursor"].(string); cursor == "" {
			assert.Equal(t, crowd/maxPage, pages)
			break
		}
	}
	assert.Len(t, seen, crowd)
	assert.InDelta(t, crowd, decode(t, get(a, "/api/v1/facets"))["total"], 0)
}

func floats(v any) map[string]float64 {
	out := map[string]float64{}
	for k, n := range v.(map[string]any) {
		out[k] = n.(float64)
	}
	return out
}

// sumOf is how many agents a facet tells of.
func sumOf(facet any) float64 {
	f := facet.(map[string]any)
	sum := f["none"].(float64)
	for _, v := range f["values"].([]any) {
		sum += v.(map[string]any)["count"].(float64)
	}
	return sum
}

// What asks whether the server is there is answered though it answers no question about agents.
func TestAProbeWaitsForNoQuestion(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "alpha"))
	for range cap(a.work.slots) {
		a.work.slots <- struct{}{}
	}
	a.work.waiting.Store(a.work.most)
	assert.Equal(t, http.StatusServiceUnavailable, get(a, "/api/v1/agents").Code)
	assert.Equal(t, http.StatusOK, do(a, http.MethodHead, "/api/v1/openapi.yaml").Code)
}
