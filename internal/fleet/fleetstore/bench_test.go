// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// manyReport is a first report of one of many agents, with 20 components, one of which may fail.
func manyReport(i int) *protobufs.AgentToServer {
	msg := fullReport(fmt.Sprint("agent-", i), 0)
	msg.AgentDescription.IdentifyingAttributes[0].Value = text(fmt.Sprint("otelcol-", i%7))
	msg.AgentDescription.IdentifyingAttributes[1].Value = text(fmt.Sprintf("0.%d.0", 100+i%12))
	for k, n := range map[string]int{"k8s.cluster.name": 9, "team": 40, "cloud.region": 5} {
		msg.AgentDescription.NonIdentifyingAttributes = append(msg.AgentDescription.NonIdentifyingAttributes,
			&protobufs.KeyValue{Key: k, Value: text(fmt.Sprint(k, "-", i%n))})
	}
	msg.EffectiveConfig = configOf(fmt.Sprint("receivers: {otlp: {n: ", i%300, "}}"))
	types := []string{"receiver:otlp", "receiver:hostmetrics", "receiver:filelog", "processor:batch", "exporter:otlp", "exporter:kafka", "exporter:loki"}
	msg.Health = &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
	for k := range 20 {
		pipeline := fmt.Sprint("pipeline:traces/", k/5)
		if msg.Health.ComponentHealthMap[pipeline] == nil {
			msg.Health.ComponentHealthMap[pipeline] = &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
		}
		h := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK"}
		if (i+k)%200 == 0 {
			h = &protobufs.ComponentHealth{Status: "StatusRecoverableError", LastError: fmt.Sprintf("dial tcp 10.0.%d.%d:4317: refused", i%256, k)}
		}
		msg.Health.ComponentHealthMap[pipeline].ComponentHealthMap[fmt.Sprint(types[(i+k)%len(types)], "/", k)] = h
	}
	return msg
}

// writeMany keeps n agents, and returns them.
func writeMany(tb testing.TB, s Store, n int) (*fleet.Fleet, []*fleet.Agent) {
	tb.Helper()
	f := fleet.New(fleet.Settings{MaxAgents: n, MaxAgentsPerConnection: n, MaxMemory: 64 << 30})
	for i := range n {
		f.Report(connOf(1), manyReport(i), testNow.Add(time.Duration(i)*time.Millisecond))
	}
	agents, _ := f.Agents()
	for part := range slices.Chunk(agents, batchRows) {
		b := Batch{}
		for _, a := range part {
			b.Agents = append(b.Agents, changeOf(Kept{}, a))
		}
		require.NoError(tb, s.Write(ctx, b))
	}
	return f, agents
}

// BenchmarkStore prints what it costs to keep agents with 20 components each: the first time, after a change of one
// component's health, when they were heard, and to read them all again.
func BenchmarkStore(b *testing.B) {
	const n = manyAgents / 10
	path := pathIn(b)
	s := openFile(b, path)
	defer s.Close()
	start := time.Now()
	f, agents := writeMany(b, s, n)
	b.Logf("%d agents: %v an agent the first time, %d bytes each on disk", n, time.Since(start)/n, s.Stats().Bytes/n)

	b.Run("a change of health, 1000 at a time", func(b *testing.B) {
		for range b.N {
			batch := Batch{}
			for i, a := range agents[:min(batchRows, n)] {
				msg := manyReport(i)
				msg.SequenceNum = a.Seq + 1
				msg.Health.ComponentHealthMap["pipeline:traces/0"].ComponentHealthMap["exporter:otlp/0"] = &protobufs.ComponentHealth{Status: "StatusRecoverableError", LastError: fmt.Sprint("error ", a.Seq)}
				f.Report(connOf(1), msg, testNow.Add(time.Hour))
				is, _ := f.Agent(a.UID)
				batch.Agents = append(batch.Agents, changeOf(keptOf(a), is))
				agents[i] = is
			}
			require.NoError(b, s.Write(ctx, batch))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*min(batchRows, n)), "µs/agent")
	})
	b.Run("events, 1000 at a time", func(b *testing.B) {
		id := uint64(0)
		for range b.N {
			events := history(batchRows)
			for i := range events {
				id++
				events[i].ID = id
			}
			require.NoError(b, s.Write(ctx, Batch{Events: events}))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batchRows), "µs/event")
	})
	b.Run("when all were heard", func(b *testing.B) {
		list := make([]fleet.Heard, 0, n)
		for _, a := range agents {
			list = append(list, a.Heard())
		}
		for range b.N {
			require.NoError(b, s.WriteHeard(ctx, list))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/agent")
	})
	b.Run("read all", func(b *testing.B) {
		for range b.N {
			loaded, err := s.Load(ctx)
			require.NoError(b, err)
			require.Len(b, loaded.Agents, n)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/agent")
	})
}

// BenchmarkChurn has new agents come and the last ones leave, at a pace, in a fleet that is full: each takes the place of
// one that is long gone. It prints how much of what happened was written while it did, and how much never was.
func BenchmarkChurn(b *testing.B) {
	const n, perSecond = manyAgents / 5, 2000
	for range b.N {
		f := fleet.New(fleet.Settings{MaxAgents: n / 4, MaxAgentsPerConnection: 1, MaxMemory: 64 << 30})
		k := NewKeeper(f, Settings{Open: opener(pathIn(b))})
		require.NoError(b, k.Start(ctx))
		start := time.Now()
		for i := range n {
			if i%20 == 0 {
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / perSecond)))
			}
			f.Report(connOf(i+1), manyReport(i), time.Now())
			f.Disconnected(connOf(i), time.Now())
		}
		took, before := time.Since(start), k.Stats()
		happened := f.LastEvent()
		require.NoError(b, k.Stop(ctx))
		after := k.Stats()
		b.ReportMetric(n/took.Seconds(), "agents/s")
		b.ReportMetric(float64(happened)/took.Seconds(), "events/s")
		b.ReportMetric(100*float64(before.Events)/float64(happened), "%events-at-once")
		b.ReportMetric(100*float64(after.Lost)/float64(happened), "%events-lost")
		b.ReportMetric(100*float64(before.Agents)/n, "%agents-at-once")
	}
}

// BenchmarkTables asks the tables what is asked of memory today: 100,000 agents with 20 components each. It shows that
// the indexes serve a node that does not have the whole fleet in memory.
func BenchmarkTables(b *testing.B) {
	path := pathIn(b)
	s := openFile(b, path)
	defer s.Close()
	writeMany(b, s, manyAgents)
	b.Logf("%d MB on disk", s.Stats().Bytes>>20)
	db := s.(*sqliteStore).read
	for name, text := range map[string]string{
		"01 unhealthy, the last first":   "SELECT uid FROM agents WHERE condition = 'unhealthy' ORDER BY since DESC LIMIT 100",
		"02 conditions":                  "SELECT condition, count(*) FROM agents GROUP BY condition",
		"03 versions":                    "SELECT version, count(*) FROM agents GROUP BY version",
		"04 configs":                     "SELECT config, count(*) FROM agents GROUP BY config ORDER BY 2 DESC LIMIT 20",
		"05 one config":                  "SELECT uid FROM agents WHERE config = (SELECT config FROM agents LIMIT 1) LIMIT 100",
		"06 an exporter that fails":      "SELECT DISTINCT agent FROM components WHERE healthy = 0 AND type = 'kafka' LIMIT 100",
		"07 errors, the most common":     "SELECT type, alike, count(DISTINCT agent) FROM components WHERE healthy = 0 GROUP BY type, alike ORDER BY 3 DESC LIMIT 20",
		"08 a status, the last first":    "SELECT agent FROM components WHERE healthy = 0 AND status = 'StatusRecoverableError' ORDER BY since DESC LIMIT 100",
		"09 an attribute":                "SELECT agent FROM attributes WHERE key = 'team' AND value = 'team-7' LIMIT 100",
		"10 values of an attribute":      "SELECT value, count(*) FROM attributes WHERE key = 'k8s.cluster.name' GROUP BY value ORDER BY 2 DESC LIMIT 20",
		"11 failing in one cluster":      "SELECT DISTINCT c.agent FROM components c JOIN attributes a ON a.agent = c.agent AND a.key = 'k8s.cluster.name' AND a.value = 'k8s.cluster.name-3' WHERE c.healthy = 0 AND c.type = 'kafka' LIMIT 100",
		"12 history of an agent (empty)": "SELECT id FROM events WHERE uid = (SELECT uid FROM agents LIMIT 1) ORDER BY id DESC LIMIT 100",
	} {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			for range b.N {
				start := time.Now()
				rows, err := db.QueryContext(ctx, text)
				require.NoError(b, err)
				for rows.Next() {
					continue
				}
				require.NoError(b, rows.Err())
				require.NoError(b, rows.Close())
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}

// BenchmarkHistory reads pages of a log of 500,000 events.
func BenchmarkHistory(b *testing.B) {
	s := openFile(b, pathIn(b))
	defer s.Close()
	events := history(5 * manyAgents)
	for part := range slices.Chunk(events, 10_000) {
		require.NoError(b, s.Write(ctx, Batch{Events: part}))
	}
	end := events[len(events)-1].At
	for name, q := range map[string]fleet.EventQuery{
		"the last":          {},
		"one agent":         {UID: uidOf("1")},
		"agent and kin":     {UID: uidOf("1"), Logical: "host.name=1"},
		"one kind":          {Kinds: []fleet.EventKind{fleet.EventDuplicate}},
		"an hour long ago":  {From: testNow.Add(time.Hour), Until: testNow.Add(2 * time.Hour)},
		"nobody":            {UID: uidOf("nobody")},
		"the last minute":   {From: end.Add(-time.Minute)},
		"a page in between": {Before: 2 * manyAgents},
	} {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			for range b.N {
				start := time.Now()
				_, err := s.Events(ctx, q)
				require.NoError(b, err)
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}
