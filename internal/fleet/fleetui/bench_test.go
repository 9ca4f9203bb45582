// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"testing"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

const crowd = 20_000

// BenchmarkPages measures what it costs to make each page that looks at all of a crowd of collectors.
func BenchmarkPages(b *testing.B) {
	f := fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter, MaxAgents: 2 * crowd, MaxMemory: 1 << 31})
	plantedfleet.Play(f, uiNow)
	plantedfleet.Crowd(f, uiNow, crowd-plantedfleet.Agents)
	u := New(f, Settings{})
	get(u, "/agents") // takes all of them into the index
	if known, _ := f.Agents(); len(known) != crowd {
		b.Fatal(len(known), " collectors")
	}
	for _, page := range []struct{ name, path string }{
		{"overview", "/"},
		{"collectors", "/agents"},
		{"found", "/agents?q=status%3Afailing+error%3Arefused"},
		{"grouped", "/agents?group_by=host"},
		{"problems", "/problems"},
		{"configs", "/configs"},
		{"collector", "/agents/" + plantedfleet.UID(5).String()},
		{"complete", "/complete?q=version%3A&at=8"},
	} {
		b.Run(page.name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				w := get(u, page.path)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body.String())
				}
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}
