// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// benchAgents is how many the benchmarks look at: 100,000, and with -short only so many that the benchmarks are run.
func benchAgents() int {
	if testing.Short() {
		return 2_000
	}
	return 100_000
}

// bigFleet has 100,000 agents of 20 components each: 200 configs, of which every agent has a copy of its own with its
// name in it, 12 versions, 40 clusters, 6 % that fail in one of 8 ways with an address of their own, 2 % gone.
var bigFleet = sync.OnceValue(func() *fleet.Fleet {
	f := fleet.New(fleet.Settings{MaxAgents: 2 * benchAgents(), MaxMemory: 16 << 30, MaxAgentsPerConnection: benchAgents()})
	for i := range uint32(benchAgents()) {
		c := bigCollector(i)
		conn := fleet.Conn{ID: 1 + uint64(i%50), Transport: fleet.TransportWebSocket, RemoteAddr: "10.0.0.1:1"}
		f.Report(conn, c.report(), now)
	}
	f.Disconnected(fleet.Conn{ID: 7, Transport: fleet.TransportWebSocket}, now)
	return f
})

func bigCollector(i uint32) collector {
	c := collector{
		id: i, name: []string{"otelcol", "otelcol-contrib", "otelcol-k8s"}[i%3], version: fmt.Sprintf("0.%d.0", 144+i*7%12),
		host: fmt.Sprintf("node-%05d.prod.example.com", i), since: time.Duration(i%100_000) * time.Second,
		attrs: map[string]string{
			"k8s.cluster.name": fmt.Sprintf("cluster-%d", i*13%40), "k8s.namespace.name": "observability",
			"k8s.pod.name": fmt.Sprintf("agent-%d", i), "os.type": "linux", "host.arch": []string{"amd64", "arm64"}[i%2],
			"deployment.environment.name": []string{"prod", "staging", "dev"}[i%3], "cloud.region": fmt.Sprintf("region-%d", i%9),
			"service.instance.id": fmt.Sprintf("%032x", i),
		},
		config: fmt.Sprintf("extensions:\n  opamp:\n    hostname: node-%d\n", i) +
			strings.ReplaceAll(configA, "gw:4317", fmt.Sprintf("gw-%d:4317", max(0, int(i*11%200)-150))),
	}
	for p, pipeline := range []string{"traces", "metrics", "logs"} {
		for k := range 6 {
			kind := []string{"receiver", "processor", "exporter"}[k%3]
			c.running = append(c.running, fmt.Sprintf("pipeline:%s/%s:%s", pipeline, kind, benchTypes[(int(i)*k+p+k)%len(benchTypes)]))
		}
	}
	c.running = append(c.running, "extensions/extension:health_check", "extensions/extension:opamp")
	if i%16 == 3 {
		c.failing = map[string]string{"pipeline:traces/exporter:otlp": fmt.Sprintf(benchErrors[i/16%8], i%250, i%200)}
	}
	return c
}

var benchTypes = []string{
	"otlp", "otlp/2", "prometheus", "filelog", "hostmetrics", "kafka", "batch", "memory_limiter", "k8sattributes", "resource",
	"transform", "filter", "debug", "otlphttp", "loadbalancing", "kubeletstats", "jaeger",
}

var benchErrors = []string{
	"dial tcp 10.0.%d.%d:4317: connect: connection refused", "dial tcp 10.1.%d.%d:4317: i/o timeout",
	"lookup gw-%d-%d.prod.local: no such host", "sending queue is full (%d of %d)",
	"rpc error: code = Unavailable desc = shard %d of %d", "HTTP Status Code 503 from shard %d after %d ms",
	"tls: failed to verify certificate for 10.2.%d.%d", "read tcp 10.3.%d.%d:1: connection reset by peer",
}

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

// cpu is the time that this process has had on a core. What else runs on the machine doesn't count.
func cpu(tb testing.TB) time.Duration {
	var u unix.Rusage
	require.NoError(tb, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkQueries prints, for each of 20 queries with 8 facets and a page of 100 over 100,000 agents of 20 components,
// the median and the 95th percentile of its time on one core: of the core, and by the clock.
func BenchmarkQueries(b *testing.B) {
	f := bigFleet()
	x := New(f)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	before := heap()
	began := cpu(b)
	x.Refresh()
	b.Logf("taking in %d agents: %s of one core", benchAgents(), cpu(b)-began)
	b.Logf("memory of the index: %d bytes an agent", (heap()-before)/int64(benchAgents()))
	const rounds = 21
	var all, allByClock []time.Duration
	for b.Loop() {
		all, allByClock = all[:0], allByClock[:0]
		b.Logf("%10s %10s %10s %10s %8s  query", "core p50", "core p95", "clock p50", "clock p95", "found")
		for _, q := range benchQueries {
			r := Request{Query: mustParse(b, q), Facets: benchFacets, Limit: 100, Now: now}
			var took, byClock []time.Duration
			total := 0
			for range rounds {
				began, clock := cpu(b), time.Now()
				out, err := x.Search(r)
				took, byClock = append(took, cpu(b)-began), append(byClock, time.Since(clock))
				require.NoError(b, err)
				total = out.Total
			}
			all, allByClock = append(all, took...), append(allByClock, byClock...)
			b.Logf("%10s %10s %10s %10s %8d  %s", percentile(took, 50), percentile(took, 95),
				percentile(byClock, 50), percentile(byClock, 95), total, q)
		}
	}
	b.ReportMetric(percentile(all, 50).Seconds()*1000, "core-p50-ms")
	b.ReportMetric(percentile(all, 95).Seconds()*1000, "core-p95-ms")
	b.ReportMetric(percentile(allByClock, 95).Seconds()*1000, "clock-p95-ms")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func percentile(list []time.Duration, p int) time.Duration {
	slices.Sort(list)
	return list[(len(list)-1)*p/100].Round(10 * time.Microsecond)
}

// BenchmarkQuestions prints the time of the questions that are no list.
func BenchmarkQuestions(b *testing.B) {
	x := New(bigFleet())
	x.Refresh()
	by := Side{Facet: fleetquery.FacetVersion}
	for name, ask := range map[string]func(){
		"problems":     func() { x.Problems(ProblemsRequest{Now: now}) },
		"configs":      func() { x.Configs(ConfigsRequest{Now: now}) },
		"group_by":     func() { search(b, x, Request{GroupBy: &by, Limit: -1}) },
		"sort=host":    func() { search(b, x, Request{Sort: SortHost, Limit: 100}) },
		"sort=heard":   func() { search(b, x, Request{Sort: SortLastSeen, Limit: 100}) },
		"everybody":    func() { search(b, x, Request{}) },
		"complete":     func() { x.Complete("status:failing host:node-01", 27, now) },
		"one config":   func() { x.Config("abcdef") },
		"all 21 sides": func() { search(b, x, Request{Facets: everySide(b), Limit: -1}) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				ask()
			}
		})
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
