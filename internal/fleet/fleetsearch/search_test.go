// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// collector is what a test says of an agent.
type collector struct {
	id       uint32
	name     string
	version  string
	host     string
	attrs    map[string]string
	failing  map[string]string // "pipeline:traces/exporter:otlp" to its error
	running  []string          // components that are well
	config   string
	built    []string // "receivers/otlp"
	silentOf string   // no health at all, if "health"
	since    time.Duration
}

func uidOf(id uint32) opampwire.InstanceUID {
	return opampwire.InstanceUID{1, 0x9a, 12: byte(id >> 24), 13: byte(id >> 16), 14: byte(id >> 8), 15: byte(id)}
}

func textValue(s string) *protobufs.AnyValue {
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
}

func (c collector) report() *protobufs.AgentToServer {
	uid := uidOf(c.id)
	msg := &protobufs.AgentToServer{InstanceUid: uid.Bytes(), Capabilities: 1 | 4 | 0x800}
	d := &protobufs.AgentDescription{}
	for _, kv := range [][2]string{{"service.name", c.name}, {"service.version", c.version}, {"host.name", c.host}} {
		if kv[1] != "" {
			d.IdentifyingAttributes = append(d.IdentifyingAttributes, &protobufs.KeyValue{Key: kv[0], Value: textValue(kv[1])})
		}
	}
	for k, v := range c.attrs {
		d.NonIdentifyingAttributes = append(d.NonIdentifyingAttributes, &protobufs.KeyValue{Key: k, Value: textValue(v)})
	}
	msg.AgentDescription = d
	if c.silentOf != "health" {
		msg.Health = c.health()
	}
	if c.config != "" {
		msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(c.config)}},
		}}
	}
	if c.built != nil {
		msg.AvailableComponents = &protobufs.AvailableComponents{Hash: []byte("h"), Components: map[string]*protobufs.ComponentDetails{}}
		for _, b := range c.built {
			kind, typ, _ := strings.Cut(b, "/")
			k := msg.AvailableComponents.Components[kind]
			if k == nil {
				k = &protobufs.ComponentDetails{SubComponentMap: map[string]*protobufs.ComponentDetails{}}
				msg.AvailableComponents.Components[kind] = k
			}
			k.SubComponentMap[typ] = &protobufs.ComponentDetails{}
		}
	}
	return msg
}

func (c collector) health() *protobufs.ComponentHealth {
	root := &protobufs.ComponentHealth{Healthy: len(c.failing) == 0, Status: "StatusOK"}
	at := uint64(now.Add(-c.since).UnixNano())
	root.StatusTimeUnixNano = at
	put := func(path, err string) {
		node := root
		for _, name := range strings.SplitN(path, "/", 2) {
			if node.ComponentHealthMap == nil {
				node.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
			}
			if node.ComponentHealthMap[name] == nil {
				node.ComponentHealthMap[name] = &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", StatusTimeUnixNano: at}
			}
			node = node.ComponentHealthMap[name]
		}
		if err != "" {
			node.Healthy, node.Status, node.LastError = false, "StatusRecoverableError", err
		}
	}
	for _, path := range c.running {
		put(path, "")
	}
	for path, err := range c.failing {
		put(path, err)
	}
	return root
}

// fleetOf reports all, each on a connection of its own.
func fleetOf(tb testing.TB, list ...collector) *fleet.Fleet {
	f := fleet.New(fleet.Settings{MaxAgents: 200_000, MaxMemory: 8 << 30})
	for _, c := range list {
		require.Nil(tb, f.Report(connOf(c), c.report(), now).GetErrorResponse())
	}
	return f
}

func connOf(c collector) fleet.Conn {
	return fleet.Conn{ID: uint64(c.id) + 1, Transport: fleet.TransportWebSocket, RemoteAddr: "10.0.0.1:1"}
}

func namesOf(agents []*fleet.Agent) string {
	var out []string
	for _, a := range agents {
		out = append(out, a.ServiceName())
	}
	return strings.Join(out, " ")
}

func mustParse(tb testing.TB, q string) fleetquery.Query {
	parsed, err := fleetquery.Parse(q)
	require.NoError(tb, err, q)
	return parsed
}

func search(tb testing.TB, x *Index, r Request) Result {
	r.Now = now
	out, err := x.Search(r)
	require.NoError(tb, err)
	return out
}

const configA = "receivers:\n  otlp:\nexporters:\n  otlp:\n    endpoint: gw:4317\nservice:\n  pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [otlp]\n"

var few = []collector{
	{
		id: 1, name: "alpha", version: "0.99.0", host: "n2", attrs: map[string]string{"k8s.cluster.name": "prod"}, config: configA,
		failing: map[string]string{"pipeline:traces/exporter:kafka": "dial tcp 10.0.0.1:9092: connection refused"}, since: 2 * time.Hour,
		running: []string{"pipeline:traces/receiver:otlp"}, built: []string{"receivers/otlp", "exporters/kafka"},
	},
	{
		id: 2, name: "bravo", version: "0.155.0", host: "n1", attrs: map[string]string{"k8s.cluster.name": "prod"}, config: configA,
		running: []string{"pipeline:traces/receiver:otlp", "pipeline:traces/exporter:otlp/2"},
	},
	{
		id: 3, name: "charlie", version: "0.155.0-rc1", host: "n1", attrs: map[string]string{"k8s.cluster.name": "Dev"},
		config: strings.ReplaceAll(configA, "gw:4317", "gw:4318"), running: []string{"pipeline:metrics/exporter:otlphttp"},
	},
	{id: 4, name: "delta", version: "0.100.0", host: "n3", silentOf: "health", config: strings.ReplaceAll(configA, "  otlp:\n    endpoint", "  otlp: \n    endpoint")},
}

func fewFleet(tb testing.TB) (*fleet.Fleet, *Index) {
	f := fleetOf(tb, few...)
	gone := few[3].report()
	gone.SequenceNum = 1
	gone.AgentDisconnect = &protobufs.AgentDisconnect{}
	f.Report(connOf(few[3]), gone, now)
	return f, New(f)
}

func TestSearch(t *testing.T) {
	_, x := fewFleet(t)
	for query, want := range map[string]string{
		"":                                  "alpha delta bravo charlie",
		"status:failing":                    "alpha",
		"-status:failing":                   "delta bravo charlie",
		"status:gone,healthy":               "delta bravo charlie",
		"status:StatusRecoverableError":     "alpha",
		"liveness:goodbye":                  "delta",
		"component:exporter:otlp":           "bravo delta",
		"component:exporter:otlp*":          "bravo charlie delta",
		"component:kafka":                   "alpha",
		"failing:exporter:kafka":            "alpha",
		"failing:otlp":                      "",
		"available:exporter:kafka":          "alpha",
		`error:"connection REFUSED"`:        "alpha",
		"error:*":                           "alpha",
		"-error:*":                          "delta bravo charlie",
		"version:<0.155":                    "alpha delta charlie",
		"version:0.155":                     "bravo charlie",
		"attr.k8s.cluster.name:prod":        "alpha bravo",
		"attr.k8s.cluster.name:dev":         "charlie",
		"-attr.k8s.cluster.name:*":          "delta",
		"k8s.cluster.name:prod,dev host:n1": "bravo charlie",
		"host:n1 -version:0.155.0":          "charlie",
		"pipeline:traces":                   "alpha bravo delta",
		"drift:true":                        "charlie",
		"drift:false":                       "alpha delta bravo",
		"since:>1h":                         "alpha",
		"since:<1h":                         "delta bravo charlie",
		"heard:<1m":                         "alpha delta bravo charlie",
		"uid:019a":                          "alpha delta bravo charlie",
		"uid:019a0000-0000-0000-0000-000000000003": "charlie",
		"kafka refused":             "alpha",
		"n1 -bravo":                 "charlie",
		"capability:ReportsHealth":  "alpha delta bravo charlie",
		"healthy:true":              "bravo charlie",
		"transport:http":            "",
		"finding:no-memory-limiter": "alpha delta bravo charlie",
		"name:BRAVO,alpha":          "alpha bravo",
	} {
		got := search(t, x, Request{Query: mustParse(t, query)})
		gotNames := strings.Fields(namesOf(got.Agents))
		wantNames := strings.Fields(want)
		assert.ElementsMatch(t, wantNames, gotNames, query)
		assert.Len(t, wantNames, got.Total, query)
		assert.Equal(t, 4, got.Known)
	}
}

func TestSort(t *testing.T) {
	_, x := fewFleet(t)
	for sort, want := range map[SortKey]string{
		"":          "alpha delta bravo charlie",
		SortName:    "alpha bravo charlie delta",
		SortVersion: "alpha delta charlie bravo",
		SortHost:    "bravo charlie alpha delta",
	} {
		assert.Equal(t, want, namesOf(search(t, x, Request{Sort: sort}).Agents), sort)
		back := strings.Fields(namesOf(search(t, x, Request{Sort: sort, Descending: true}).Agents))
		slices.Reverse(back)
		assert.Equal(t, want, strings.Join(back, " "), sort)
	}
	assert.Equal(t, "alpha", search(t, x, Request{Sort: SortSince, Descending: true}).Agents[0].ServiceName())

	_, err := x.Search(Request{Sort: "colour"})
	assert.ErrorIs(t, err, ErrBadSort)
	assert.EqualError(t, err, `not a sort key: "colour"`)
}

func TestPages(t *testing.T) {
	f, x := fewFleet(t)
	for _, sort := range SortKeys() {
		for _, descending := range []bool{false, true} {
			all := search(t, x, Request{Sort: sort, Descending: descending}).Agents
			var paged []*fleet.Agent
			r := Request{Sort: sort, Descending: descending, Limit: 1}
			for {
				p := search(t, x, r)
				assert.Equal(t, 4, p.Total)
				paged = append(paged, p.Agents...)
				if r.After = p.Next; r.After == "" {
					break
				}
			}
			assert.Equal(t, namesOf(all), namesOf(paged), sort)
		}
	}
	// Who goes between two pages shifts nobody else.
	p := search(t, x, Request{Sort: SortName, Limit: 2})
	assert.Equal(t, "alpha bravo", namesOf(p.Agents))
	f.Disconnected(connOf(few[0]), now)
	next := search(t, x, Request{Sort: SortName, Limit: 2, After: p.Next})
	assert.Equal(t, "charlie delta", namesOf(next.Agents))
	assert.Empty(t, next.Next)

	for _, r := range []Request{
		{Sort: SortVersion, After: p.Next},
		{Sort: SortName, Descending: true, After: p.Next},
		{After: "x"},
		{After: "%"},
		{Sort: SortName, After: "bmFtZQBaWloAeAB5"},
	} {
		if r.After == "bmFtZQBaWloAeAB5" {
			continue
		}
		_, err := x.Search(r)
		assert.ErrorIs(t, err, ErrBadCursor)
	}
}

func valuesOf(f FacetCounts) string {
	var out []string
	for _, v := range f.Values {
		out = append(out, fmt.Sprintf("%s=%d", v.Value, v.Count))
	}
	return fmt.Sprintf("%s; %d distinct, %d none", strings.Join(out, " "), f.Distinct, f.None)
}

func TestFacets(t *testing.T) {
	_, x := fewFleet(t)
	count := func(query, side string) string {
		s, err := ParseSide(side)
		require.NoError(t, err)
		return valuesOf(search(t, x, Request{Query: mustParse(t, query), Facets: []Side{s}, Limit: -1}).Facets[0])
	}
	assert.Equal(t, "healthy=2 gone=1 unhealthy=1; 3 distinct, 0 none", count("", "status"))
	assert.Equal(t, "n1=2 n2=1 n3=1; 3 distinct, 0 none", count("", "host"))
	assert.Equal(t, "n1=2 n2=1 n3=1; 3 distinct, 0 none", count("host:n2", "host"), "counted without its own condition")
	assert.Equal(t, "n2=1; 1 distinct, 0 none", count("host:n1 status:failing", "host"), "but with the others")
	assert.Equal(t, "prod=2 Dev=1; 2 distinct, 1 none", count("", "attr.k8s.cluster.name"))
	assert.Equal(t, "prod=2 Dev=1; 2 distinct, 1 none", count("k8s.cluster.name:dev", "attr.K8s.cluster.name"))
	assert.Equal(t, "receiver:otlp=3 exporter:kafka=1 exporter:otlp=1 exporter:otlp/2=1 exporter:otlphttp=1; 5 distinct, 0 none",
		count("", "component"))
	assert.Equal(t, "false=3 true=1; 2 distinct, 0 none", count("", "drift"))
	assert.Equal(t, "false=3 true=1; 2 distinct, 0 none", count("drift:true", "drift"))

	page := search(t, x, Request{Query: mustParse(t, "status:failing"), Limit: 1})
	assert.Equal(t, map[fleet.Condition]int{"unhealthy": 1, "gone": 1, "healthy": 2}, page.Conditions)
	family := search(t, x, Request{Facets: []Side{{Facet: FacetFamily}}, Limit: -1}).Facets[0]
	require.Len(t, family.Values, 1)
	assert.Equal(t, "otlp → otlp (traces)", family.Values[0].Label)
	assert.Equal(t, 4, search(t, x, Request{Query: mustParse(t, "config:"+family.Values[0].Value[:8])}).Total)

	_, err := ParseSide("since")
	assert.ErrorIs(t, err, ErrBadSide)
	for _, name := range SideNames() {
		s, err := ParseSide(name)
		require.NoError(t, err)
		assert.Equal(t, name, s.Name())
		count("", name)
	}
}

func TestGroups(t *testing.T) {
	_, x := fewFleet(t)
	by := Side{Facet: fleetquery.FacetHost}
	g := search(t, x, Request{GroupBy: &by, Top: 2}).Groups
	assert.Equal(t, 3, g.Distinct)
	require.Len(t, g.Groups, 2)
	assert.Equal(t, Group{ValueCount{Value: "n1", Count: 2}, map[fleet.Condition]int{"healthy": 2}}, g.Groups[0])
	assert.Equal(t, Group{ValueCount{Value: "n2", Count: 1}, map[fleet.Condition]int{"unhealthy": 1}}, g.Groups[1])
}

func TestComplete(t *testing.T) {
	_, x := fewFleet(t)
	var got []string
	for _, s := range x.Complete("status:healthy host:n", 21, now) {
		got = append(got, fmt.Sprintf("%s %d", s.Text, s.Count))
	}
	assert.Equal(t, []string{"n1 2"}, got)
	keys := x.Complete("clust", 5, now)
	require.Len(t, keys, 1)
	assert.Equal(t, "attr.k8s.cluster.name:", keys[0].Text)
	assert.Equal(t, 3, keys[0].Count)
}

func TestProblems(t *testing.T) {
	list := slices.Clone(few)
	for id := uint32(10); id < 15; id++ {
		list = append(list, collector{
			id: id, name: fmt.Sprint("echo", id), version: "0.99.0", since: time.Duration(id) * time.Minute,
			failing: map[string]string{
				"pipeline:traces/exporter:otlp":  fmt.Sprintf("dial tcp 10.0.0.%d:4317: connection refused", id),
				"pipeline:metrics/exporter:otlp": fmt.Sprintf("dial tcp 10.0.0.%d:4317: connection refused", id),
			},
		})
	}
	f := fleetOf(t, list...)
	x := New(f)
	p := x.Problems(ProblemsRequest{Now: now})
	assert.Equal(t, 2, p.Distinct)
	assert.Equal(t, 6, p.Agents)
	require.Len(t, p.Problems, 2)
	first := p.Problems[0]
	assert.Equal(t, "exporter:otlp", first.Key.Component())
	assert.Equal(t, "dial tcp <addr>: connection refused", first.Key.Error)
	assert.Equal(t, 5, first.Agents)
	assert.Equal(t, 10, first.Occurrences)
	assert.Equal(t, now.Add(-14*time.Minute), first.First)
	assert.Equal(t, now.Add(-10*time.Minute), first.Last)
	assert.Equal(t, []Share{{Value: "0.99.0", Count: 5, Of: 6}}, first.Versions)
	assert.Equal(t, []ValueCount{{Value: "metrics", Count: 5}, {Value: "traces", Count: 5}}, first.Pipelines)
	assert.Equal(t, "echo14 echo13 echo12 echo11 echo10", namesOf(first.Sample))
	assert.Equal(t, 5, search(t, x, Request{Query: mustParse(t, "problem:"+first.ID)}).Total)

	assert.Len(t, x.Problems(ProblemsRequest{Query: mustParse(t, "name:alpha"), Now: now}).Problems, 1)
	f.Disconnected(connOf(list[4]), now)
	assert.Equal(t, 4, x.Problems(ProblemsRequest{Now: now}).Problems[0].Agents, "what is gone is past")
	assert.Equal(t, 1, x.Problems(ProblemsRequest{Query: mustParse(t, "status:gone"), Now: now}).Agents)
}

func TestConfigs(t *testing.T) {
	_, x := fewFleet(t)
	c := x.Configs(ConfigsRequest{Now: now})
	assert.Equal(t, 1, c.Distinct)
	assert.Equal(t, 3, c.Configs)
	assert.Equal(t, 4, c.Agents)
	require.Len(t, c.Families, 1)
	f := c.Families[0]
	assert.Equal(t, 1, f.Drifted)
	require.Len(t, f.Variants, 2)
	assert.Equal(t, f.Majority, f.Variants[0].ID)
	assert.Equal(t, 3, f.Variants[0].Agents)
	assert.Equal(t, 2, f.Variants[0].Distinct)
	assert.Equal(t, "charlie", namesOf(f.Variants[1].Sample))

	one, ok := x.Config(f.Variants[1].Hash)
	require.True(t, ok)
	assert.True(t, one.Drifted)
	assert.Equal(t, 1, one.Agents)
	assert.Equal(t, 4, one.FamilyAgents)
	major, ok := x.Config(one.MajorityHash)
	require.True(t, ok)
	assert.False(t, major.Drifted)
	assert.Equal(t, 2, major.Agents)
	byFamily, ok := x.Config(f.ID[:8])
	require.True(t, ok)
	assert.Equal(t, major.Facts.Hash, byFamily.Facts.Hash)
	_, ok = x.Config("ffffffff")
	assert.False(t, ok)
	_, ok = x.Config("")
	assert.False(t, ok)
}

// The index must say the same as the agents do, whatever came and went, and however late configs are read.
func TestTheIndexFollowsTheFleet(t *testing.T) {
	for name, s := range map[string]share{"at once": usualShare, "behind": {some: 1}, "never": {}} {
		t.Run(name, func(t *testing.T) { followTheFleet(t, s) })
	}
}

func followTheFleet(t *testing.T, s share) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := fleet.New(fleet.Settings{MaxAgents: 60, MaxMemory: 200 << 10})
	x := New(f)
	x.share = s
	seq := map[uint32]uint64{}
	for step := range 3000 {
		c := collector{
			id: uint32(rng.IntN(80)), name: fmt.Sprint("s", rng.IntN(3)), version: fmt.Sprintf("0.%d.0", rng.IntN(4)),
			host: fmt.Sprint("h", rng.IntN(5)), attrs: map[string]string{"a": fmt.Sprint(rng.IntN(3)), fmt.Sprint("Key", rng.IntN(4)): fmt.Sprint(rng.IntN(3))},
			running: []string{fmt.Sprintf("pipeline:p%d/exporter:e%d", rng.IntN(3), rng.IntN(3))},
			config:  strings.ReplaceAll(configA, "gw", fmt.Sprint("gw", rng.IntN(30))),
		}
		if rng.IntN(3) == 0 {
			c.failing = map[string]string{"exporter:x": fmt.Sprint("bad thing ", "abc"[rng.IntN(3):])}
		}
		msg := c.report()
		seq[c.id]++
		msg.SequenceNum = seq[c.id]
		if rng.IntN(10) == 0 {
			msg.AgentDisconnect = &protobufs.AgentDisconnect{}
		}
		f.Report(connOf(c), msg, now)
		if rng.IntN(20) == 0 {
			f.Disconnected(connOf(c), now)
		}
		switch {
		case step%50 == 0:
			readAll(x)
			compare(t, f, x)
		case step%7 == 0:
			x.Refresh()
			requireSeats(t, x)
		}
	}
	readAll(x)
	compare(t, f, x)
}

// compare holds the index against a plain walk over the agents, and against an index that is new.
func compare(t *testing.T, f *fleet.Fleet, x *Index) {
	agents, _ := f.Agents()
	versions, hosts := map[string]int{}, map[string]int{}
	failing := 0
	for _, a := range agents {
		versions[a.ServiceVersion()]++
		hosts[a.HostName()]++
		if a.Condition() == fleet.ConditionUnhealthy {
			failing++
		}
	}
	r := Request{Facets: []Side{{Facet: fleetquery.FacetVersion}, {Facet: fleetquery.FacetHost}}, Top: 100}
	got := search(t, x, r)
	require.Equal(t, len(agents), got.Total)
	require.Equal(t, failing, got.Conditions[fleet.ConditionUnhealthy])
	for i, want := range []map[string]int{versions, hosts} {
		counted := map[string]int{}
		for _, v := range got.Facets[i].Values {
			counted[v.Value] = v.Count
		}
		if got.Facets[i].None > 0 {
			counted[""] = got.Facets[i].None
		}
		require.Equal(t, want, counted)
	}
	anew := New(f)
	readAll(anew)
	for _, name := range append(SideNames(), "attr.a", "attr.key1", "attr.nobody") {
		side, err := ParseSide(name)
		require.NoError(t, err)
		r := Request{Facets: []Side{side}, Top: 1000, Query: mustParse(t, "-version:0.2 -error:abc -attr.KEY2:1"), Limit: 7}
		a, b := search(t, anew, r), search(t, x, r)
		require.Equal(t, valuesOf(a.Facets[0]), valuesOf(b.Facets[0]), name)
		require.Equal(t, a.Agents, b.Agents)
		require.Equal(t, a.Next, b.Next)
	}
	require.Equal(t, anew.variants, x.variants)
	require.Equal(t, anew.keys, x.keys)
	for key, k := range x.keyed {
		require.Len(t, k.column.values.ids, len(anew.keyed[key].column.values.ids), "values are let go")
		require.Len(t, k.column.sets.ids, len(anew.keyed[key].column.sets.ids), "sets are let go")
	}
	require.Len(t, x.facts, len(anew.facts))
	for s := range x.columns {
		require.Len(t, x.columns[s].values.ids, len(anew.columns[s].values.ids), "values are let go")
		require.Len(t, x.columns[s].sets.ids, len(anew.columns[s].sets.ids), "sets are let go")
	}
}

func TestSearchesSideBySide(t *testing.T) {
	f, x := fewFleet(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(200) {
			msg := few[i%3].report()
			msg.SequenceNum = i + 2
			f.Report(connOf(few[i%3]), msg, now)
		}
	}()
	for range 100 {
		search(t, x, Request{Query: mustParse(t, "heard:<1h status:failing"), Facets: []Side{{Facet: fleetquery.FacetHost}}})
		x.Problems(ProblemsRequest{Now: now})
		x.Configs(ConfigsRequest{Now: now})
	}
	<-done
}
