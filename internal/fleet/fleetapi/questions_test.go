// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// A scripted fleet of 200 collectors with trouble planted in it:
//
//	0-159    agents on nodes, 100 in cluster prod-eu, 60 in prod-us; one config, but for host names
//	160-179  gateways, of another config
//	180-191  agents of an old version, with an exporter that later versions don't have
//	192-199  agents that tell no config
//
//	10-23    can't reach their backend, each at another address; 10-15 for three hours, the others for ten minutes
//	160-162  a gateway's queue is full
//	30-34    drifted: somebody added a debug exporter
//	40, 41   don't verify certificates; 42 has a key in its config
//	50-53    said goodbye; 54-56 lost their connection; 57, 58 went silent
//	60       fails and recovers every minute
//	61       two of them use one instance UID
//	62, 63   run on one host
const scripted = 200

var scriptNow = apiNow.Add(time.Hour)

func scriptUID(i int) opampwire.InstanceUID {
	return opampwire.InstanceUID{0x01, 0x9b, 14: byte(i >> 8), 15: byte(i)}
}

func scriptConn(i int) fleet.Conn {
	return fleet.Conn{ID: uint64(i) + 1, Transport: fleet.TransportWebSocket, RemoteAddr: fmt.Sprintf("10.8.0.%d:4000", i)}
}

const nodeConfig = `exporters:
  otlphttp:
    endpoint: https://backend.example.com
processors:
  memory_limiter:
    limit_percentage: 75
receivers:
  filelog:
    include: [/var/log/pods/*/*/*.log]
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:4317
service:
  pipelines:
    logs:
      exporters: [otlphttp]
      processors: [memory_limiter]
      receivers: [filelog]
    traces:
      exporters: [otlphttp]
      processors: [memory_limiter]
      receivers: [otlp]
  telemetry:
    resource:
      host.name: HOST
`

func scriptConfig(i int) string {
	config := strings.ReplaceAll(nodeConfig, "HOST", fmt.Sprintf("node-%d", i))
	switch {
	case i >= 192:
		return ""
	case i >= 180:
		return strings.ReplaceAll(config, "otlphttp", "logzio")
	case i >= 160:
		return strings.ReplaceAll(config, "filelog", "kafka")
	case i >= 30 && i <= 34:
		return strings.Replace(config, "exporters: [otlphttp]", "exporters: [otlphttp, debug]", 1)
	case i == 40 || i == 41:
		return strings.Replace(config, ".com\n", ".com\n    tls:\n      insecure_skip_verify: true\n", 1)
	case i == 42:
		return strings.Replace(config, ".com\n", ".com\n    api_key: hunter2hunter2\n", 1)
	}
	return config
}

func scriptReport(i int) *protobufs.AgentToServer {
	uid := scriptUID(i)
	name, version, cluster, host := "otelcol-k8s", "0.155.0", "prod-eu", fmt.Sprintf("node-%d", i)
	switch {
	case i >= 180 && i < 192:
		version = "0.144.0"
	case i >= 160 && i < 180:
		name = "otelcol-gateway"
	case i >= 100 && i < 160:
		cluster = "prod-us"
	}
	if i == 63 {
		host = "node-62"
	}
	exporter := "exporter:otlphttp"
	if version == "0.144.0" {
		exporter = "exporter:logzio"
	}
	msg := &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), Capabilities: 1 | 4 | 0x800 | 0x2000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes:    []*protobufs.KeyValue{kv("service.name", text(name)), kv("service.version", text(version))},
			NonIdentifyingAttributes: []*protobufs.KeyValue{kv("host.name", text(host)), kv("k8s.cluster.name", text(cluster))},
		},
		Health: scriptHealth(exporter, "", 0),
	}
	if c := scriptConfig(i); c != "" {
		msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(c), ContentType: "text/yaml"}},
		}}
	}
	switch {
	case i >= 10 && i <= 15:
		msg.Health = scriptHealth(exporter, fmt.Sprintf("dial tcp 10.9.0.%d:443: connect: connection refused", i), 3*time.Hour)
	case i >= 16 && i <= 23:
		msg.Health = scriptHealth(exporter, fmt.Sprintf("dial tcp 10.9.0.%d:443: connect: connection refused", i), 10*time.Minute)
	case i >= 160 && i <= 162:
		msg.Health = scriptHealth(exporter, fmt.Sprintf("sending queue is full (%d of 5000)", 4990+i), time.Minute)
	}
	return msg
}

// scriptHealth is of a collector whose exporter of traces fails with err, if there is one.
func scriptHealth(exporter, err string, age time.Duration) *protobufs.ComponentHealth {
	at := uint64(apiNow.Add(-age).UnixNano())
	ok := func() *protobufs.ComponentHealth {
		return &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", StatusTimeUnixNano: at}
	}
	bad := ok()
	if err != "" {
		bad.Healthy, bad.Status, bad.LastError = false, "StatusRecoverableError", err
	}
	root := ok()
	root.ComponentHealthMap = map[string]*protobufs.ComponentHealth{"pipeline:logs": ok(), "pipeline:traces": ok()}
	root.ComponentHealthMap["pipeline:logs"].ComponentHealthMap = map[string]*protobufs.ComponentHealth{
		"receiver:filelog": ok(), exporter: ok(),
	}
	root.ComponentHealthMap["pipeline:traces"].ComponentHealthMap = map[string]*protobufs.ComponentHealth{
		"receiver:otlp": ok(), exporter: bad,
	}
	return root
}

// scriptedFleet plays the script.
func scriptedFleet(t *testing.T) *API {
	f := fleet.New(fleet.Settings{SilentAfter: 30 * time.Minute})
	seq := map[int]uint64{}
	report := func(i int, conn fleet.Conn, msg *protobufs.AgentToServer, at time.Time) {
		uid := scriptUID(i)
		msg.InstanceUid, msg.SequenceNum, msg.Capabilities = uid.Bytes(), seq[i], 1|4|0x800|0x2000
		seq[i]++
		require.Nil(t, f.Report(conn, msg, at).GetErrorResponse())
	}
	for i := range scripted {
		report(i, scriptConn(i), scriptReport(i), apiNow)
	}
	for minute := range 20 { // 60 flaps
		err := ""
		if minute%2 == 0 {
			err = "connection reset by peer"
		}
		report(60, scriptConn(60), &protobufs.AgentToServer{Health: scriptHealth("exporter:otlphttp", err, 0)},
			apiNow.Add(time.Duration(minute)*time.Minute))
	}
	for turn := range 6 { // 61 is two
		report(61, scriptConn(61+turn%2*1000), &protobufs.AgentToServer{}, apiNow.Add(time.Duration(turn)*time.Minute))
	}
	for i := range scripted { // all but the silent ones are heard again
		if i != 57 && i != 58 {
			report(i, scriptConn(i), &protobufs.AgentToServer{}, scriptNow.Add(-time.Minute))
		}
	}
	f.Tick(scriptNow)
	for i := 50; i <= 53; i++ {
		report(i, scriptConn(i), &protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}}, scriptNow)
	}
	for i := 54; i <= 56; i++ {
		f.Disconnected(scriptConn(i), scriptNow)
	}
	a := New(f, Settings{})
	a.now = func() time.Time { return scriptNow }
	t.Cleanup(a.Close)
	return a
}

// ask gets an answer by one call.
func ask(t *testing.T, a *API, path string, parameters ...string) map[string]any {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		values.Set(parameters[i], parameters[i+1])
	}
	w := get(a, path+"?"+values.Encode())
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return decode(t, w)
}

// at walks down an answer: names of fields, and numbers of items.
func at(t *testing.T, v any, keys ...any) any {
	t.Helper()
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, ok := v.(map[string]any)
			require.True(t, ok, "%v is no object", v)
			v = m[k]
		case int:
			list, ok := v.([]any)
			require.True(t, ok && len(list) > k, "%v has no item %d", v, k)
			v = list[k]
		}
	}
	return v
}

// counts reads values with their counts.
func counts(t *testing.T, v any) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, e := range v.([]any) {
		out[at(t, e, "value").(string)] = int(at(t, e, "count").(float64))
	}
	return out
}

func hostsOf(t *testing.T, answer map[string]any) string {
	t.Helper()
	var out []string
	for _, e := range answer["agents"].([]any) {
		out = append(out, at(t, e, "host_name").(string))
	}
	return strings.Join(out, " ")
}

// Each question that an operator has is answered by one call.
func TestTheQuestionsOfAnOperator(t *testing.T) {
	a := scriptedFleet(t)

	t.Run("which collectors are unhealthy now, and how many, by cluster and version", func(t *testing.T) {
		got := ask(t, a, "/api/v1/agents", "q", "status:failing", "group_by", "attr.k8s.cluster.name", "facets", "version,name")
		assert.InDelta(t, 17, got["total"], 0)
		assert.InDelta(t, scripted, got["known"], 0)
		assert.Equal(t, map[string]int{"prod-eu": 17}, counts(t, at(t, got, "groups", "groups")))
		assert.Equal(t, map[string]int{"0.155.0": 17}, counts(t, at(t, got, "facets", 0, "values")))
		assert.Equal(t, map[string]int{"otelcol-k8s": 14, "otelcol-gateway": 3}, counts(t, at(t, got, "facets", 1, "values")))
	})
	t.Run("which component, in which pipeline, with which error", func(t *testing.T) {
		got := ask(t, a, "/api/v1/problems")
		assert.InDelta(t, 2, got["distinct"], 0)
		first := at(t, got, "problems", 0)
		assert.Equal(t, "exporter:otlphttp", at(t, first, "component"))
		assert.Equal(t, "dial tcp <addr>: connect: connection refused", at(t, first, "normalized_error"))
		assert.Contains(t, at(t, first, "error"), "dial tcp 10.9.0.")
		assert.Equal(t, map[string]int{"traces": 14}, counts(t, at(t, first, "pipelines")))
		assert.InDelta(t, 14, at(t, first, "agents"), 0)
		assert.Equal(t, "sending queue is full (<n> of <n>)", at(t, got, "problems", 1, "normalized_error"))
	})
	t.Run("since when", func(t *testing.T) {
		first := at(t, ask(t, a, "/api/v1/problems"), "problems", 0)
		assert.Equal(t, apiNow.Add(-3*time.Hour).Format(time.RFC3339), at(t, first, "first_since"))
		assert.Equal(t, apiNow.Add(-10*time.Minute).Format(time.RFC3339), at(t, first, "last_since"))
		long := ask(t, a, "/api/v1/agents", "q", "status:failing since:>2h", "sort", "since")
		assert.InDelta(t, 6, long["total"], 0)
	})
	t.Run("who else has it", func(t *testing.T) {
		first := at(t, ask(t, a, "/api/v1/problems"), "problems", 0)
		assert.Equal(t, "0.155.0", at(t, first, "versions", 0, "value"))
		assert.InDelta(t, 14, at(t, first, "versions", 0, "count"), 0)
		assert.InDelta(t, 188, at(t, first, "versions", 0, "of"), 0, "of all that run this version")
		assert.Len(t, at(t, first, "sample"), 5)
		all := ask(t, a, "/api/v1/agents", "q", at(t, first, "term").(string))
		assert.InDelta(t, 14, all["total"], 0)
	})
	t.Run("which versions run, who lags, who has an exporter that is gone from later ones", func(t *testing.T) {
		got := ask(t, a, "/api/v1/facets", "facets", "version,name")
		assert.Equal(t, map[string]int{"0.155.0": 188, "0.144.0": 12}, counts(t, at(t, got, "facets", 0, "values")))
		lag := ask(t, a, "/api/v1/agents", "q", "version:<0.155 component:exporter:logzio", "sort", "version")
		assert.InDelta(t, 12, lag["total"], 0)
		components := ask(t, a, "/api/v1/components")
		assert.Equal(t, "otlphttp", at(t, components, "components", 2, "type"))
		assert.InDelta(t, 188, at(t, components, "components", 2, "running"), 0)
		assert.InDelta(t, 17, at(t, components, "components", 2, "failing"), 0)
	})
	t.Run("which configs run, and who drifted", func(t *testing.T) {
		got := ask(t, a, "/api/v1/configs")
		assert.InDelta(t, 3, got["distinct"], 0)
		assert.InDelta(t, 192, got["configs"], 0, "each has its host name in it")
		assert.InDelta(t, 8, got["none"], 0)
		family := at(t, got, "families", 0)
		assert.InDelta(t, 160, at(t, family, "agents"), 0)
		assert.Equal(t, "filelog, otlp → otlphttp (logs, traces)", at(t, family, "label"))
		assert.InDelta(t, 8, at(t, family, "drifted"), 0, "debug exporter, unverified certificates, key")
		assert.InDelta(t, 152, at(t, family, "variants", 0, "agents"), 0)
		drifted := ask(t, a, "/api/v1/agents", "q", "drift:true", "sort", "host", "facets", "variant")
		assert.Equal(t, "node-30 node-31 node-32 node-33 node-34 node-40 node-41 node-42", hostsOf(t, drifted))

		hash := at(t, family, "variants", 1, "hash").(string)
		diff := ask(t, a, "/api/v1/configs/"+hash+"/diff/majority", "ignore_volatile", "true")
		assert.InDelta(t, 1, diff["added"], 0)
		assert.InDelta(t, 1, diff["removed"], 0)
		assert.Contains(t, diff["unified"], "-      exporters: [otlphttp, debug]\n+      exporters: [otlphttp]\n")
	})
	t.Run("who disappeared, and how", func(t *testing.T) {
		got := ask(t, a, "/api/v1/agents", "q", "-liveness:connected", "group_by", "liveness", "sort", "host")
		assert.Equal(t, map[string]int{"goodbye": 4, "lost": 3, "silent": 2}, counts(t, at(t, got, "groups", "groups")))
		assert.Equal(t, "node-50 node-51 node-52 node-53 node-54 node-55 node-56 node-57 node-58", hostsOf(t, got))
	})
	t.Run("which hosts have two collectors", func(t *testing.T) {
		got := ask(t, a, "/api/v1/facets", "facets", "host", "top", "1")
		assert.Equal(t, map[string]int{"node-62": 2}, counts(t, at(t, got, "facets", 0, "values")))
	})
	t.Run("what is risky", func(t *testing.T) {
		got := ask(t, a, "/api/v1/facets", "facets", "finding")
		assert.Equal(t, map[string]int{"debug-exporter": 5, "tls-skip-verify": 2, "secret": 1}, counts(t, at(t, got, "facets", 0, "values")))
		assert.Equal(t, "node-42", hostsOf(t, ask(t, a, "/api/v1/agents", "q", "finding:secret")))
		w := get(a, "/api/v1/configs")
		assert.Contains(t, w.Body.String(), `"place":"exporters::otlphttp::api_key"`)
		assert.NotContains(t, w.Body.String(), "hunter2", "a finding names the place, not the value")
	})
}

func TestTheGraphOfAScriptedCollector(t *testing.T) {
	a := scriptedFleet(t)
	g := ask(t, a, "/api/v1/agents/"+scriptUID(10).String()+"/graph")
	assert.Len(t, g["pipelines"], 2)
	assert.Len(t, g["nodes"], 6)
	failing := ""
	for _, n := range g["nodes"].([]any) {
		if at(t, n, "state") == "failing" {
			failing += at(t, n, "kind").(string) + ":" + at(t, n, "name").(string)
		}
	}
	assert.Equal(t, "exporter:otlphttp", failing)
}

func TestCSV(t *testing.T) {
	evil := fullReport(2, "=HYPERLINK(\"http://evil\")")
	_, a := newTestAPI(t, fullReport(1, "gate,way"), evil)
	w := get(a, "/api/v1/agents?format=csv&sort=-name")
	assert.Equal(t, "text/csv; charset=utf-8; header=present", w.Header().Get("Content-Type"))
	assert.Equal(t, `attachment; filename="agents.csv"`, w.Header().Get("Content-Disposition"))
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 3)
	assert.Equal(t, "instance_uid,service_name,service_version,host_name,condition,condition_since,liveness,liveness_since,"+
		"problems,first_problem,error,config_hash,transport,remote_address,first_seen,last_seen,logical,runs,flaps", lines[0])
	assert.Contains(t, lines[1], `,"gate,way",1.2.3,node-1,unhealthy,2026-03-04T05:06:07Z,`)
	assert.Contains(t, lines[2], `,"'=HYPERLINK(""http://evil"")",`)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/problems", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/csv, application/json;q=0.5")
	rec := newRecorder(a, r)
	assert.Contains(t, rec.Body.String(), "exporter:otlp,bad <certificate>,StatusPermanentError,2,2,")
	assert.Contains(t, get(a, "/api/v1/components?format=csv").Body.String(), "exporter,otlp,2,2,0")
	assert.Equal(t, http.StatusBadRequest, get(a, "/api/v1/agents?format=xml").Code)
}

func TestCellsAreNoFormulas(t *testing.T) {
	for text, want := range map[string]string{
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx", " =1": "' =1", `"=1`: `'"=1`, "＝1": "'＝1",
		"a;=1": "a;'=1", ";;=1;+2": ";;'=1;'+2", "a\t-1": "a\t'-1", "a\n=1": "a\n'=1", "a\r\n@b": "a\r\n'@b", `a; "=1"`: `a;' "=1"`, "\t=1": "'\t'=1",
		"a\x00;\x00": "a\uFFFD;\uFFFD",
		// What is honest stays as it is.
		"": "", "a=1": "a=1", "a, -1; b": "a, -1; b", "dial tcp 10.0.0.1:4317: connect: refused; retry=3s": "dial tcp 10.0.0.1:4317: connect: refused; retry=3s",
		"line\n  next\n": "line\n  next\n", "München – Zürich": "München – Zürich",
	} {
		assert.Equal(t, want, cell(text), "%q", text)
	}
}

// Whatever agents say, and whatever a spreadsheet takes for the end of a cell, no cell is a formula. Where its separator
// is not the comma, quotes mean nothing to the one of this test.
func TestNoSpreadsheetFindsAFormula(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab=+-@;,\t\r\n\"' ＝")
	columns := []csvColumn[[2]string]{
		{"first", func(c [2]string) string { return c[0] }}, {"second", func(c [2]string) string { return c[1] }},
	}
	for range 20_000 {
		var said [2]string
		for i := range said {
			for range random.IntN(8) {
				said[i] += string(alphabet[random.IntN(len(alphabet))])
			}
		}
		w := httptest.NewRecorder()
		writeCSV(w, "said", columns, [][2]string{said}, 0)
		file := w.Body.String()
		rows, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		require.NoError(t, err)
		cells := slices.Concat(rows...)
		for _, separator := range []string{";", "\t"} {
			cells = append(cells, strings.FieldsFunc(file, func(r rune) bool { return strings.ContainsRune(separator+"\r\n", r) })...)
		}
		for _, c := range cells {
			bare := strings.TrimLeft(c, ` "`)
			require.Equal(t, bare, strings.TrimLeft(bare, "=+-@＝"), "%q of %q", c, said)
		}
	}
}

func TestCompletion(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	got := ask(t, a, "/api/v1/query/complete", "q", "-é host:no")
	assert.Equal(t, "node-1", at(t, got, "suggestions", 0, "text"))
	assert.InDelta(t, 8, at(t, got, "suggestions", 0, "start"), 0)
	assert.InDelta(t, 10, at(t, got, "suggestions", 0, "end"), 0)
	assert.Nil(t, got["error"])

	got = ask(t, a, "/api/v1/query/complete", "q", "é statsu:x", "cursor", "0")
	assert.Equal(t, "statsu", at(t, got, "error", "word"))
	assert.InDelta(t, 2, at(t, got, "error", "start"), 0)
	assert.Contains(t, at(t, got, "error", "message"), "did you mean status?")
}

func TestBadQuestions(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	hash := configHash(t, a)
	for target, says := range map[string]string{
		"/api/v1/agents?q=statsu:x":                              "q: \"statsu\" at character 1: is no facet; did you mean status?",
		"/api/v1/agents?facets=colour":                           "facets: \"colour\" can't be counted: it is none of status,",
		"/api/v1/agents?group_by=since":                          "group_by: \"since\" can't be counted",
		"/api/v1/agents?top=0":                                   "top: \"0\" is not a number from 1 to 1000",
		"/api/v1/agents?facets=" + strings.Repeat("host,", 31):   "facets: more than 30 are asked for",
		"/api/v1/problems?limit=501":                             "limit: ",
		"/api/v1/problems?q=a&q=b":                               "q: is there more than once",
		"/api/v1/configs?q=host:":                                "q: ",
		"/api/v1/configs/" + hash + "/diff/x?context=x":          "context: ",
		"/api/v1/configs/" + hash + "/diff/x?ignore_volatile=no": "ignore_volatile: ",
		"/api/v1/components?format=pdf":                          "format: ",
		"/api/v1/agents/x/graph":                                 "instance_uid: ",
	} {
		w := get(a, target)
		assert.Equal(t, http.StatusBadRequest, w.Code, target)
		assert.Contains(t, at(t, decode(t, w), "error", "message"), says, target)
	}
	for _, target := range []string{
		"/api/v1/configs/abc", "/api/v1/configs/" + hash + "/diff/ffffffff", "/api/v1/configs/ffffffff/diff/majority",
	} {
		assert.Equal(t, http.StatusNotFound, get(a, target).Code, target)
	}
}

func TestSearchesAreBounded(t *testing.T) {
	k := newWork(1)
	r := newRequest(t, "/")
	leave, ok := k.enter(newRec(), r)
	require.True(t, ok)
	k.waiting.Store(k.most)
	w := newRec()
	_, ok = k.enter(w, r)
	assert.False(t, ok)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.Equal(t, k.most, k.waiting.Load())
	k.waiting.Store(0)
	gone := newRequest(t, "/").WithContext(canceled())
	_, ok = k.enter(newRec(), gone)
	assert.False(t, ok)
	leave()
	leave, ok = k.enter(newRec(), r)
	require.True(t, ok)
	leave()
}

func newRec() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newRequest(t *testing.T, target string) *http.Request {
	t.Helper()
	return httptest.NewRequest(http.MethodGet, target, http.NoBody).WithContext(t.Context())
}

func newRecorder(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := newRec()
	h.ServeHTTP(w, r)
	return w
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
