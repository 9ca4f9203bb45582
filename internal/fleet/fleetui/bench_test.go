// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opamptest/bigfleet"
)

// BenchmarkPages prints what it costs to make each page that looks at all of 100,000 collectors, if nobody else has just
// asked for it.
func BenchmarkPages(b *testing.B) {
	f := bigfleet.New(uiNow)
	bigfleet.Change(f, "config", 1, 500, uiNow) // so that the last events are of configs that changed
	u := New(f, Settings{})
	readAll(u) // takes all of them into the index
	one, ok := f.Agent(bigfleet.UID(3))
	require.True(b, ok)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds = 21
	for b.Loop() {
		b.Logf("%s %9s  page", bigfleet.Heads, "bytes")
		var all bigfleet.Costs
		for _, page := range []string{
			"/",
			"/agents",
			"/agents?cursor=" + u.search(fleetsearch.Request{Limit: 100}).Next,
			"/agents?q=status%3Afailing+error%3Arefused",
			"/agents?q=component%3Aexporter%3Aotlp*&sort=version",
			"/agents?q=node-012",
			"/agents?sort=last_seen&cols=attr.k8s.cluster.name",
			"/agents?group_by=version",
			"/agents?group_by=host",
			"/agents?group_by=attr.k8s.pod.name",
			"/problems",
			"/problems?q=version%3A%3C0.150",
			"/configs",
			"/configs?q=status%3Afailing",
			"/configs/" + one.Config.Hash(),
			"/configs/" + one.Config.Hash() + "/diff?to=majority",
			"/events",
			"/events?kind=config",
			"/topology",
			"/server",
			"/agents/" + bigfleet.UID(3).String(),
			"/complete?q=version%3A&at=8",
			"/complete?q=host%3A12&at=7",
			"/complete?q=attr.&at=5",
		} {
			size := 0
			c := bigfleet.Cost(rounds, func() {
				r := httptest.NewRequest(http.MethodGet, page, http.NoBody)
				r.Header.Set("Accept-Encoding", "gzip")
				w := httptest.NewRecorder()
				u.ServeHTTP(w, r)
				require.Equal(b, http.StatusOK, w.Code, w.Body.String())
				size = w.Body.Len()
			})
			all = all.And(c)
			b.Logf("%s %9d  %s", c, size, page)
		}
		b.ReportMetric(all.Core(50).Seconds()*1000, "core-p50-ms")
		b.ReportMetric(all.Core(95).Seconds()*1000, "core-p95-ms")
	}
}
