// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetstore"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// keptFleet is a fleet with a database behind it, which may be stopped and started. Time is the bubble's.
type keptFleet struct {
	path   string
	fleet  *fleet.Fleet
	keeper *fleetstore.Keeper
	api    *API
	seq    map[int]uint64
}

func (k *keptFleet) start(t *testing.T) {
	t.Helper()
	rules, err := redact.New(redact.Options{})
	require.NoError(t, err)
	k.fleet = fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter, Redact: rules})
	k.keeper = fleetstore.NewKeeper(k.fleet, fleetstore.Settings{Open: func(ctx context.Context) (fleetstore.Store, error) {
		return fleetstore.OpenSQLite(ctx, fleetstore.SQLiteSettings{Path: k.path})
	}, Name: k.path})
	require.NoError(t, k.keeper.Start(t.Context()))
	k.api = New(k.fleet, Settings{History: k.keeper})
}

func (k *keptFleet) stop(t *testing.T) {
	t.Helper()
	k.fleet.Leave(time.Now())
	k.api.Close()
	require.NoError(t, k.keeper.Stop(context.WithoutCancel(t.Context())))
}

// written waits until all that happened is in the database.
func (k *keptFleet) written() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// live lets time pass, in which the collectors with these numbers are heard.
func (k *keptFleet) live(d time.Duration, numbers []int) {
	const beat = 5 * time.Second
	for ; d > 0; d -= beat {
		for _, n := range numbers {
			k.seq[n]++
			k.fleet.Report(connOfKept(n), &protobufs.AgentToServer{InstanceUid: uidBytes(n), SequenceNum: k.seq[n]}, time.Now())
		}
		k.fleet.Tick(time.Now())
		time.Sleep(beat)
	}
	k.written()
}

func connOfKept(n int) fleet.Conn {
	return fleet.Conn{ID: uint64(20_000 + n), Transport: fleet.TransportWebSocket, RemoteAddr: "10.4.0.1:50000"}
}

// there are the collectors that are not planted to be gone, from the first to the last of these numbers.
func there(first, last int) (out []int) {
	for n := first; n <= last; n++ {
		lost, silent, goodbye := n-31, n-41, n-51
		if (lost < 0 || lost >= plantedfleet.Lost) && (silent < 0 || silent >= plantedfleet.Silent) &&
			(goodbye < 0 || goodbye >= plantedfleet.Goodbyes) {
			out = append(out, n)
		}
	}
	return out
}

// Each question about what was is answered by one call, from the database.
func TestTheQuestionsOfAnOperatorAboutWhatWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	synctest.Test(t, func(t *testing.T) { askAboutWhatWas(t, &keptFleet{path: path, seq: map[int]uint64{}}) })
	for _, name := range []string{path, path + "-wal"} {
		raw, err := os.ReadFile(name)
		if err == nil {
			assert.NotContains(t, string(raw), plantedfleet.Secret, name)
		}
	}
}

func askAboutWhatWas(t *testing.T, k *keptFleet) {
	about := func(question string, ask func(t *testing.T)) {
		t.Log(question)
		ask(t)
	}
	time.Sleep(26 * 365 * 24 * time.Hour) // the bubble begins in 2000, which no agent means that says so
	k.start(t)
	now := time.Now()
	plantedfleet.PlaySlowly(k.fleet, now, k.written)
	k.live(200*time.Second, there(1, 200))
	a := k.api

	about("since when, and what changed just before", func(t *testing.T) {
		uid := plantedfleet.UID(plantedfleet.Misconfigured).String()
		for _, component := range []string{"", "exporter:otlphttp", "otlphttp"} {
			got := ask(t, a, "/api/v1/agents/"+uid+"/transition", "component", component)
			step := at(t, got, "transition")
			assert.Equal(t, "health", at(t, step, "kind"))
			assert.Equal(t, "StatusOK", at(t, step, "from"))
			assert.Equal(t, "StatusRecoverableError", at(t, step, "to"))
			assert.Contains(t, at(t, step, "detail"), "connection refused")
			assert.WithinDuration(t, now.Add(-14*time.Minute), timeAt(t, got, "since"), time.Second)
			require.Len(t, got["changes"], 1)
			change := at(t, got, "changes", 0)
			assert.Equal(t, "config", at(t, change, "kind"))
			assert.InDelta(t, 120, at(t, change, "seconds_before"), 1)
			assert.Equal(t, false, at(t, change, "same_variant"))
			diff := ask(t, a, at(t, change, "diff").(string))
			assert.Contains(t, diff["unified"], "-    endpoint: "+plantedfleet.OldEndpoint+"\n+    endpoint: https://otlp.example.com\n")
		}
		late := ask(t, a, "/api/v1/agents/"+uid+"/transition", "within", "1m")
		assert.Empty(t, late["changes"], "two minutes before is not within one")

		rolled := ask(t, a, "/api/v1/agents/"+plantedfleet.UID(13).String()+"/transition")
		change := at(t, rolled, "changes", 0)
		assert.Equal(t, "version", at(t, change, "kind"))
		assert.Equal(t, plantedfleet.OldVersion+" "+plantedfleet.NewVersion, at(t, change, "from").(string)+" "+at(t, change, "to").(string))

		pod := ask(t, a, "/api/v1/agents/"+plantedfleet.UID(plantedfleet.Restarted).String()+"/transition", "within", "3h")
		assert.Equal(t, "instance_uid", at(t, pod, "changes", 0, "kind"))

		gone := ask(t, a, "/api/v1/agents/"+plantedfleet.UID(31).String()+"/transition")
		assert.Equal(t, "lost", at(t, gone, "transition", "kind"))
	})
	about("how far a version has come, who lacks it, and who failed since", func(t *testing.T) {
		got := ask(t, a, "/api/v1/rollout", "q", "name:edge-agent", "steps", "25",
			"from", now.Add(-4*time.Hour).Format(time.RFC3339), "limit", "500")
		assert.Equal(t, plantedfleet.NewVersion, got["value"])
		assert.InDelta(t, 140, got["selected"], 0)
		assert.InDelta(t, plantedfleet.Older, got["missing_count"], 0)
		assert.Len(t, got["missing"], plantedfleet.Older)
		assert.InDelta(t, 140-plantedfleet.Older, got["done"], 0)
		steps := got["steps"].([]any)
		require.Len(t, steps, 25)
		last, middle := steps[24], steps[len(steps)-7] // an hour before the end
		assert.InDelta(t, 140-plantedfleet.Older, at(t, last, "have"), 0)
		assert.InDelta(t, 0, at(t, steps[0], "have"), 0, "nobody was known four hours ago")
		assert.InDelta(t, plantedfleet.Rolled+1, at(t, middle, "total"), 0, "those that were")
		assert.InDelta(t, 1, at(t, middle, "have"), 0, "all but one had the old version")
		failed := map[string]string{}
		for _, f := range got["failed"].([]any) {
			failed[at(t, f, "host_name").(string)] = at(t, f, "component").(string) + " " + at(t, f, "error").(string)
		}
		for _, host := range []string{"node-012", "node-013", "node-014", "node-015"} {
			assert.Contains(t, failed[host], "exporter:otlphttp failed to make an HTTP request")
		}
		assert.NotContains(t, failed, "node-005", "it failed before it had it, as far as is known")
		missing := ask(t, a, "/api/v1/agents", "q", got["missing_query"].(string))
		assert.InDelta(t, got["missing_count"], missing["total"], 0)
		csv := get(a, "/api/v1/rollout?format=csv").Body.String()
		assert.Len(t, strings.Split(strings.TrimSpace(csv), "\n"), 26)
	})
	about("how far a config has come", func(t *testing.T) {
		got := ask(t, a, "/api/v1/rollout", "of", "config", "value", configOf(t, a, plantedfleet.Misconfigured))
		assert.InDelta(t, 140, got["selected"], 0, "the family, though each has its host name in it")
		assert.InDelta(t, plantedfleet.Drifted, got["missing_count"], 0)
		first := ""
		for _, f := range got["failed"].([]any) {
			first += at(t, f, "host_name").(string) + " "
		}
		assert.Contains(t, first, "node-004")
		old := historyOf(t, a, plantedfleet.Misconfigured, "config")[0]["from"].(string)
		back := ask(t, a, "/api/v1/rollout", "of", "config", "value", old)
		assert.InDelta(t, 0, back["done"], 0, "one that nobody runs any more")
		assert.NotEmpty(t, back["label"])
	})
	about("who flaps, who starts again and again", func(t *testing.T) {
		got := ask(t, a, "/api/v1/agents", "q", "flaps:>3", "sort", "flaps")
		assert.InDelta(t, 1, got["total"], 0)
		assert.Equal(t, "node-081", hostsOf(t, got))
		assert.InDelta(t, 5, at(t, got, "agents", 0, "flaps"), 0)
		all := ask(t, a, "/api/v1/agents", "sort", "flaps", "limit", "2")
		assert.Equal(t, "node-081", at(t, all, "agents", 0, "host_name"))
		runs := ask(t, a, "/api/v1/agents", "q", "runs:>1", "sort", "runs")
		assert.Equal(t, "node-185", hostsOf(t, runs))
		assert.InDelta(t, plantedfleet.Restarts+1, at(t, runs, "agents", 0, "runs"), 0)
	})
	about("what is not covered: restarts that are one row, shared instance UIDs, nobody in the place of who went", func(t *testing.T) {
		got := ask(t, a, "/api/v1/coverage", "limit", "500")
		gone := plantedfleet.Lost + plantedfleet.Silent + plantedfleet.Goodbyes
		assert.InDelta(t, gone, at(t, got, "identities", "counts", "none"), 0)
		assert.InDelta(t, 1, at(t, got, "identities", "counts", "shared"), 0)
		assert.InDelta(t, gone, at(t, got, "hosts", "counts", "none"), 0)
		first := at(t, got, "hosts", "spots", 0)
		assert.Equal(t, "none", at(t, first, "cover"))
		shared := at(t, got, "identities", "spots", gone)
		assert.Equal(t, "shared", at(t, shared, "cover"))
		assert.Contains(t, at(t, shared, "value"), plantedfleet.SharedHost)
		assert.InDelta(t, 2, ask(t, a, "/api/v1/agents", "q", at(t, shared, "term").(string))["total"], 0)
		assert.InDelta(t, 1, got["successions"], 0)
		assert.InDelta(t, plantedfleet.Restarts+1, got["instances"], 0)
		assert.Equal(t, "node-185", at(t, got, "restarted", 0, "host_name"))
		require.Len(t, got["collisions"], 1)
		assert.Equal(t, plantedfleet.UID(81).String(), at(t, got, "collisions", 0, "instance_uid"))
		assert.NotEmpty(t, at(t, got, "collisions", 0, "given"))
		assert.InDelta(t, 1, at(t, got, "identities", "none"), 0)
		assert.Contains(t, get(a, "/api/v1/coverage?format=csv").Body.String(), ",shared,2,2,")
		counts := counts(t, at(t, ask(t, a, "/api/v1/facets", "facets", "identity"), "facets", 0, "values"))
		assert.Contains(t, counts, at(t, shared, "value"))
	})
	about("who has a component that upstream gave up", func(t *testing.T) {
		got := ask(t, a, "/api/v1/agents", "q", "finding:removed-component,deprecated-component")
		assert.InDelta(t, 20, got["total"], 0)
		assert.Contains(t, get(a, "/api/v1/configs").Body.String(), "removed upstream; use the otlphttp exporter")
	})
	about("secrets are nowhere", func(t *testing.T) {
		hash := configOf(t, a, 71)
		assert.Contains(t, get(a, "/api/v1/configs/"+hash).Body.String(), "api_key")
		for _, path := range []string{
			"/api/v1/configs/" + hash, "/api/v1/configs", "/api/v1/agents/" + plantedfleet.UID(71).String(),
			"/api/v1/configs/" + hash + "/diff/majority", "/api/v1/history?limit=1000", "/api/v1/rollout?of=config&value=" + hash,
		} {
			assert.NotContains(t, get(a, path).Body.String(), plantedfleet.Secret, path)
		}
	})

	// The one with a secret gets another config: the old one is past, and told by its hash.
	secretive := configOf(t, a, 71)
	uid := plantedfleet.UID(71)
	k.seq[71]++
	k.fleet.Report(connOfKept(71), &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), SequenceNum: k.seq[71], EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte("exporters: {debug: {}}")}},
		}},
	}, time.Now())
	k.written()
	about("an old config is as masked as a new one", func(t *testing.T) {
		for _, path := range []string{"/api/v1/configs/" + secretive, "/api/v1/configs/" + secretive + "/diff/" + configOf(t, a, 71)} {
			body := get(a, path).Body.String()
			assert.Contains(t, body, "api_key", path)
			assert.NotContains(t, body, plantedfleet.Secret, path)
		}
	})

	// The server is started anew. Some come back at once, others don't.
	stopped := time.Now()
	k.stop(t)
	time.Sleep(30 * time.Second)
	k.start(t)
	a = k.api
	k.live(20*time.Second, there(1, 150))
	about("who disappeared, and whether it was our own outage", func(t *testing.T) {
		got := ask(t, a, "/api/v1/disappeared", "limit", "500")
		groups := map[string]any{}
		for _, g := range got["groups"].([]any) {
			groups[at(t, g, "liveness").(string)] = g
		}
		for liveness, want := range map[string]int{
			"lost": plantedfleet.Lost, "silent": plantedfleet.Silent, "goodbye": plantedfleet.Goodbyes,
		} {
			assert.InDelta(t, want, at(t, groups[liveness], "count"), 0, liveness)
			assert.InDelta(t, 0, at(t, groups[liveness], "during_outage"), 0, "%s before, as the server saw it itself", liveness)
			assert.Len(t, at(t, groups[liveness], "agents"), want)
		}
		const away = 50
		assert.InDelta(t, away, at(t, groups["unknown"], "count"), 0)
		assert.InDelta(t, away, at(t, groups["unknown"], "during_outage"), 0)
		require.Len(t, got["outages"], 1)
		assert.Equal(t, "stopped", at(t, got, "outages", 0, "why"))
		assert.InDelta(t, 30, at(t, got, "outages", 0, "seconds"), 0)
		assert.Equal(t, stopped.UTC(), timeAt(t, at(t, got, "outages", 0), "from"))
	})
	k.fleet.Disconnected(connOfKept(140), time.Now())
	back := there(1, 150)
	k.live(300*time.Second, slices.DeleteFunc(back, func(n int) bool { return n == 140 }))
	about("one goes after the outage, others never come back", func(t *testing.T) {
		got := ask(t, a, "/api/v1/disappeared", "limit", "500")
		for _, g := range got["groups"].([]any) {
			switch at(t, g, "liveness") {
			case "lost":
				assert.InDelta(t, plantedfleet.Lost+1, at(t, g, "count"), 0)
				assert.InDelta(t, 0, at(t, g, "during_outage"), 0, "its connection broke while the server was there")
			case "unknown":
				assert.InDelta(t, 0, at(t, g, "count"), 0, "who does not come back is silent in the end")
			case "silent":
				const away = 50
				assert.InDelta(t, away+plantedfleet.Silent, at(t, g, "count"), 0)
				assert.InDelta(t, away, at(t, g, "during_outage"), 0, "it was away when they went")
			}
		}
		assert.Contains(t, get(a, "/api/v1/disappeared?format=csv").Body.String(), ",during_outage\n")
	})
	k.stop(t)
}

func uidBytes(n int) []byte {
	uid := plantedfleet.UID(n)
	return uid.Bytes()
}

func timeAt(t *testing.T, v any, keys ...any) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339Nano, at(t, v, keys...).(string))
	require.NoError(t, err)
	return out
}

func configOf(t *testing.T, a *API, n int) string {
	t.Helper()
	return at(t, ask(t, a, "/api/v1/agents/"+plantedfleet.UID(n).String()), "effective_config", "hash").(string)
}

func historyOf(t *testing.T, a *API, n int, kind string) (out []map[string]any) {
	t.Helper()
	for _, e := range ask(t, a, "/api/v1/agents/"+plantedfleet.UID(n).String()+"/history", "kind", kind)["events"].([]any) {
		out = append(out, e.(map[string]any))
	}
	require.NotEmpty(t, out)
	return out
}
