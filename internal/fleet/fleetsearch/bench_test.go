// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/opamptest/bigfleet"
)

// bigFleet is the same for all benchmarks here.
var bigFleet = sync.OnceValue(func() *fleet.Fleet { return bigfleet.New(now) })

// benchQueries are asked with the facets of a page: status, liveness, version, name, component, failing, family, and a
// cluster.
var benchQueries = []string{
	"", "status:failing", "status:failing,gone since:>1h", "component:exporter:otlp*", "failing:exporter:otlp error:refused",
	`error:"connection refused"`, "version:<0.150", "version:0.144,0.145 status:failing", "attr.k8s.cluster.name:cluster-7",
	"k8s.cluster.name:cluster-1* deployment.environment.name:prod", "-liveness:connected", "liveness:lost name:otelcol-contrib",
	"host:node-0001*", "component:receiver:kafka,receiver:jaeger -component:processor:batch", "pipeline:traces since:<10m",
	"drift:true", "finding:no-memory-limiter version:>=0.150", "node-012", "refused cluster-3 0.149",
	"status:failing component:exporter:otlp* error:refused version:<0.155 since:>1h attr.k8s.cluster.name:cluster-1* -liveness:goodbye",
}

var benchFacets = []Side{
	{Facet: fleetquery.FacetStatus},
	{Facet: fleetquery.FacetLiveness},
	{Facet: fleetquery.FacetVersion},
	{Facet: fleetquery.FacetName},
	{Facet: fleetquery.FacetComponent},
	{Facet: fleetquery.FacetFailing},
	{Facet: FacetFamily},
	{Facet: fleetquery.FacetAttribute, Key: "k8s.cluster.name"},
}

// BenchmarkQueries prints, for each of 20 queries with a page of 100 over 100,000 agents of 20 components, the median and
// the 95th percentile of its time: plain, and with 8 facets.
func BenchmarkQueries(b *testing.B) {
	f := bigFleet()
	x := New(f)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	before := bigfleet.Heap()
	taken := bigfleet.Cost(1, func() { readAll(x) })
	b.Logf("taking in %d agents: %s of one core", bigfleet.Size(), taken.Core(50))
	b.Logf("memory of the index: %d bytes an agent", (bigfleet.Heap()-before)/int64(bigfleet.Size()))
	const rounds = 21
	for _, kind := range []struct {
		name   string
		facets []Side
	}{{"plain", nil}, {"facets", benchFacets}} {
		b.Run(kind.name, func(b *testing.B) {
			var all bigfleet.Costs
			for b.Loop() {
				all = bigfleet.Costs{}
				b.Logf("%s %8s  query", bigfleet.Heads, "found")
				for _, q := range benchQueries {
					r := Request{Query: mustParse(b, q), Facets: kind.facets, Limit: 100, Now: now}
					total := 0
					c := bigfleet.Cost(rounds, func() { total = search(b, x, r).Total })
					all = all.And(c)
					b.Logf("%s %8d  %s", c, total, q)
				}
			}
			b.ReportMetric(all.Core(50).Seconds()*1000, "core-p50-ms")
			b.ReportMetric(all.Core(95).Seconds()*1000, "core-p95-ms")
			b.ReportMetric(all.Clock(95).Seconds()*1000, "clock-p95-ms")
		})
	}
}

// BenchmarkQuestions prints the time of the questions that are no list.
func BenchmarkQuestions(b *testing.B) {
	x := New(bigFleet())
	readAll(x)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	by, host := Side{Facet: fleetquery.FacetVersion}, Side{Facet: fleetquery.FacetHost}
	for b.Loop() {
		b.Logf("%s  question", bigfleet.Heads)
		for _, question := range []struct {
			name string
			ask  func()
		}{
			{"problems", func() { x.Problems(ProblemsRequest{Now: now}) }},
			{"configs", func() { x.Configs(ConfigsRequest{Now: now}) }},
			{"components", func() { x.Components(fleetquery.Query{}, now) }},
			{"group_by=version", func() { search(b, x, Request{GroupBy: &by, Limit: -1}) }},
			{"group_by=host", func() { search(b, x, Request{GroupBy: &host, Limit: -1}) }},
			{"sort=host", func() { search(b, x, Request{Sort: SortHost, Limit: 100}) }},
			{"sort=last_seen", func() { search(b, x, Request{Sort: SortLastSeen, Limit: 100}) }},
			{"everybody", func() { search(b, x, Request{}) }},
			{"completing a host", func() { x.Complete("status:failing host:node-01", 27, now) }},
			{"completing a key", func() { x.Complete("attr.", 5, now) }},
			{"a config that there is not", func() { x.Config("abcdef") }},
			{"all sides", func() { search(b, x, Request{Facets: everySide(b), Limit: -1}) }},
		} {
			b.Logf("%s  %s", bigfleet.Cost(21, question.ask), question.name)
		}
	}
}

// BenchmarkChanges prints what it costs the index to take in changes: of one component's status, and of descriptions.
func BenchmarkChanges(b *testing.B) {
	f := bigfleet.New(now)
	x := New(f)
	readAll(x)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const changes = 1_000
	for b.Loop() {
		b.Logf("%s  taking in %d changes of", bigfleet.Heads, changes)
		for _, kind := range []string{"health", "liveness", "description", "config"} {
			var c bigfleet.Costs
			for round := range 21 {
				bigfleet.Change(f, kind, round, changes, now)
				c = c.And(bigfleet.Cost(1, func() { readAll(x) }))
			}
			b.Logf("%s  %s", c, kind)
		}
	}
}

func everySide(tb testing.TB) (out []Side) {
	for _, name := range SideNames() {
		s, err := ParseSide(name)
		require.NoError(tb, err)
		out = append(out, s)
	}
	return out
}

// BenchmarkNewConfigs prints how long questions take after half of the collectors have told a config of 4 KB each, of their
// own: the first question and those that follow, what it takes to read the rest, which is what the first would take if it
// read all, and a question when all is read.
func BenchmarkNewConfigs(b *testing.B) {
	f := bigfleet.New(now)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	n := bigfleet.Size() / 2
	ask := func(x *Index) bigfleet.Costs {
		return bigfleet.Cost(1, func() { search(b, x, Request{Limit: 100, Facets: benchFacets}) })
	}
	round := 0
	for b.Loop() {
		var starts, firsts, nexts, rests, read bigfleet.Costs
		var x *Index
		for range 3 {
			x = New(f)
			starts = starts.And(ask(x))
			readAll(x)
			bigfleet.Change(f, "long config", round, n, now)
			round++
			firsts = firsts.And(ask(x))
			for range 7 {
				nexts = nexts.And(ask(x))
			}
			rests = rests.And(bigfleet.Cost(1, func() { readAll(x) }))
			read = read.And(ask(x))
		}
		b.Logf("%s  question, %d collectors of which %d tell a config", bigfleet.Heads, 2*n, n)
		b.Logf("%s  the first of all, that takes in everybody", starts)
		b.Logf("%s  the first after the new configs", firsts)
		b.Logf("%s  the next ones", nexts)
		b.Logf("%s  reading the rest", rests)
		b.Logf("%s  when all is read", read)
		b.ReportMetric(firsts.Clock(50).Seconds()*1000, "first-ms")
		b.ReportMetric(rests.Core(50).Seconds()*1000, "rest-ms")
	}
}
