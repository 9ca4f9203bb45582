// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var (
	apiNow  = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	apiConn = fleet.Conn{ID: 1, Transport: fleet.TransportWebSocket, RemoteAddr: "192.0.2.7:4000"}
)

func apiUID(n byte) opampwire.InstanceUID { return opampwire.InstanceUID{0x01, 0x9a, 15: n} }

func text(s string) *protobufs.AnyValue {
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
}

func kv(k string, v *protobufs.AnyValue) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: k, Value: v}
}

// fullReport is a collector with one failing exporter, which tells all that there is to tell.
func fullReport(n byte, name string) *protobufs.AgentToServer {
	uid := apiUID(n)
	return &protobufs.AgentToServer{
		InstanceUid:  uid.Bytes(),
		Capabilities: 1 | 4 | 0x800 | 0x4000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes: []*protobufs.KeyValue{
				kv("service.name", text(name)), kv("service.version", text("1.2.3")),
			},
			NonIdentifyingAttributes: []*protobufs.KeyValue{
				kv("host.name", text("node-1")),
				kv("process.pid", &protobufs.AnyValue{Value: &protobufs.AnyValue_IntValue{IntValue: 42}}),
				kv("nan", &protobufs.AnyValue{Value: &protobufs.AnyValue_DoubleValue{DoubleValue: math.NaN()}}),
				kv("bytes", &protobufs.AnyValue{Value: &protobufs.AnyValue_BytesValue{BytesValue: []byte{255}}}),
				kv("array", &protobufs.AnyValue{Value: &protobufs.AnyValue_ArrayValue{
					ArrayValue: &protobufs.ArrayValue{Values: []*protobufs.AnyValue{text("a")}},
				}}),
			},
		},
		Health: &protobufs.ComponentHealth{
			Status: "StatusPermanentError", StartTimeUnixNano: uint64(apiNow.Add(-time.Hour).UnixNano()),
			ComponentHealthMap: map[string]*protobufs.ComponentHealth{
				"pipeline:traces": {Status: "StatusPermanentError", ComponentHealthMap: map[string]*protobufs.ComponentHealth{
					"exporter:otlp/2": {Status: "StatusPermanentError", LastError: "bad <certificate>"},
					"receiver:otlp":   {Healthy: true, Status: "StatusOK"},
				}},
			},
		},
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte("a: 1\n"), ContentType: "text/yaml"}},
		}},
		AvailableComponents: &protobufs.AvailableComponents{
			Hash: []byte{0xab},
			Components: map[string]*protobufs.ComponentDetails{"receivers": {
				SubComponentMap: map[string]*protobufs.ComponentDetails{"otlp": {
					Metadata: []*protobufs.KeyValue{kv("code.namespace", text("example.com/otlp v1"))},
				}},
			}},
		},
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"com.example.b", "com.example.a"}},
	}
}

func newTestAPI(t *testing.T, reports ...*protobufs.AgentToServer) (*fleet.Fleet, *API) {
	f := fleet.New(fleet.Settings{})
	for _, r := range reports {
		require.Nil(t, f.Report(apiConn, r, apiNow).GetErrorResponse())
	}
	a := New(f, Settings{Sender: fleetsend.New(f, wire{})})
	t.Cleanup(a.Close)
	return f, a
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target)
}

func do(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func decode(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var out map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
	return out
}

func TestShowAgent(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	w := get(a, "/api/v1/agents/"+apiUID(1).String())
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{
		"instance_uid": "019a0000-0000-0000-0000-000000000001",
		"service_name": "gateway", "service_version": "1.2.3", "host_name": "node-1",
		"condition": "unhealthy", "condition_since": "2026-03-04T05:06:07Z",
		"liveness": "connected", "liveness_since": "2026-03-04T05:06:07Z",
		"healthy": false, "status": "StatusPermanentError", "status_since": "2026-03-04T05:06:07Z",
		"last_error": "bad <certificate>",
		"problems_count": 1,
		"first_problem": {
			"path": ["pipeline:traces", "exporter:otlp/2"], "pipeline": "traces", "kind": "exporter", "id": "otlp/2",
			"status": "StatusPermanentError", "error": "bad <certificate>", "since": "2026-03-04T05:06:07Z"
		},
		"transport": "websocket", "remote_address": "192.0.2.7:4000",
		"first_seen": "2026-03-04T05:06:07Z", "last_seen": "2026-03-04T05:06:07Z",
		"logical": "host.name=node-1,service.name=gateway", "runs": 1, "known_since": "2026-03-04T05:06:07Z", "flaps": 0,
		"version": 1, "sequence_num": 0,
		"capabilities": ["ReportsStatus", "ReportsEffectiveConfig", "ReportsHealth", "ReportsAvailableComponents"],
		"custom_capabilities": ["com.example.a", "com.example.b"],
		"description": {
			"identifying": {"service.name": "gateway", "service.version": "1.2.3"},
			"non_identifying": {
				"host.name": "node-1", "process.pid": 42, "nan": "NaN", "bytes": {"bytes": "/w=="}, "array": ["a"]
			},
			"omitted": 0
		},
		"health": {
			"name": "", "healthy": false, "status": "StatusPermanentError", "last_error": "",
			"since": "2026-03-04T05:06:07Z", "started_at": "2026-03-04T04:06:07Z", "attributes": {}, "omitted": 0,
			"components": [{
				"name": "pipeline:traces", "healthy": false, "status": "StatusPermanentError", "last_error": "",
				"since": "2026-03-04T05:06:07Z", "started_at": null, "attributes": {}, "omitted": 0,
				"components": [{
					"name": "exporter:otlp/2", "healthy": false, "status": "StatusPermanentError",
					"last_error": "bad <certificate>", "since": "2026-03-04T05:06:07Z", "started_at": null,
					"attributes": {}, "components": [], "omitted": 0
				}, {
					"name": "receiver:otlp", "healthy": true, "status": "StatusOK", "last_error": "",
					"since": "2026-03-04T05:06:07Z", "started_at": null,
					"attributes": {}, "components": [], "omitted": 0
				}]
			}]
		},
		"problems": [{
			"path": ["pipeline:traces", "exporter:otlp/2"], "pipeline": "traces", "kind": "exporter", "id": "otlp/2",
			"status": "StatusPermanentError", "error": "bad <certificate>", "since": "2026-03-04T05:06:07Z"
		}],
		"effective_config": {
			"hash": "23d87a30809eae97d9d95c24208e3e74464b2a2ffe5511ab76ac7218067ff0b3",
			"files": {"": {"content_type": "text/yaml", "role": "", "body": "a: 1\n", "size": 5, "truncated": false}},
			"masked": 0, "omitted": 0
		},
		"available_components": {
			"hash": "ab", "listed": true, "omitted": 0,
			"components": [{"name": "receivers", "metadata": {}, "components": [
				{"name": "otlp", "metadata": {"code.namespace": "example.com/otlp v1"}, "components": []}
			]}]
		},
		"custom_messages": {
			"capabilities": [
				{"capability": "com.example.a", "announced": true, "received": 0, "sent": 0, "last": []},
				{"capability": "com.example.b", "announced": true, "received": 0, "sent": 0, "last": []}
			],
			"waiting": []
		},
		"ingests": [],
		"gateways": [],
		"behind": [],
		"dropped": []
	}`, w.Body.String())
	assert.NotContains(t, w.Body.String(), "<certificate>", "JSON that is looked at as HTML must be harmless")
}

func TestAnAgentThatSaidLittle(t *testing.T) {
	uid := apiUID(1)
	_, a := newTestAPI(t, &protobufs.AgentToServer{InstanceUid: uid.Bytes()})
	got := decode(t, get(a, "/api/v1/agents/"+uid.String()))
	for _, part := range []string{
		"healthy", "status_since", "description", "health", "effective_config",
		"available_components", "first_problem",
	} {
		v, ok := got[part]
		assert.True(t, ok, part)
		assert.Nil(t, v, part)
	}
	assert.Equal(t, []any{}, got["problems"])
	assert.Equal(t, "unknown", got["condition"])
}

func TestListAgents(t *testing.T) {
	gone := fullReport(3, "charlie")
	gone.AgentDisconnect = &protobufs.AgentDisconnect{}
	healthy := fullReport(2, "bravo")
	healthy.Health = &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK"}
	_, a := newTestAPI(t, fullReport(1, "alpha"), healthy, fullReport(3, "charlie"), gone)

	for query, want := range map[string]string{
		"":                                    "alpha charlie bravo",
		"sort=name":                           "alpha bravo charlie",
		"sort=-name":                          "charlie bravo alpha",
		"q=brav":                              "bravo",
		"q=certificate":                       "alpha charlie",
		"condition=gone":                      "charlie",
		"condition=gone,healthy&sort=name":    "bravo charlie",
		"condition=gone&condition=healthy":    "charlie bravo",
		"liveness=goodbye":                    "charlie",
		"healthy=true":                        "bravo",
		"healthy=&liveness=&condition=&sort=": "alpha charlie bravo",
		"limit=2&sort=name":                   "alpha bravo",
	} {
		w := get(a, "/api/v1/agents?"+query)
		require.Equal(t, http.StatusOK, w.Code, query)
		assert.Equal(t, want, strings.Join(namesOf(decode(t, w)), " "), query)
	}

	first := decode(t, get(a, "/api/v1/agents?limit=2&sort=name"))
	assert.InDelta(t, 3, first["total"], 0)
	assert.InDelta(t, 3, first["known"], 0)
	assert.Equal(t, map[string]any{"unhealthy": 1.0, "gone": 1.0, "healthy": 1.0}, first["conditions"])
	next := url.Values{"cursor": {first["next_cursor"].(string)}, "limit": {"2"}, "sort": {"name"}}
	second := decode(t, get(a, "/api/v1/agents?"+next.Encode()))
	assert.Equal(t, []string{"charlie"}, namesOf(second))
	assert.NotContains(t, second, "next_cursor")
}

func namesOf(list map[string]any) (out []string) {
	for _, a := range list["agents"].([]any) {
		out = append(out, a.(map[string]any)["service_name"].(string))
	}
	return out
}

func TestBadRequests(t *testing.T) {
	_, a := newTestAPI(t)
	for target, want := range map[string]struct {
		status int
		code   string
		says   string
	}{
		"/api/v1/agents?sort=colour":                 {400, "bad_request", "sort: "},
		"/api/v1/agents?limit=0":                     {400, "bad_request", "limit: "},
		"/api/v1/agents?limit=1001":                  {400, "bad_request", "limit: "},
		"/api/v1/agents?limit=1&limit=2":             {400, "bad_request", "limit: is there more than once"},
		"/api/v1/agents?%zz":                         {400, "bad_request", "query: "},
		"/api/v1/events?%zz":                         {400, "bad_request", "query: "},
		"/api/v1/events?view=version&view=summary":   {400, "bad_request", "view: is there more than once"},
		"/api/v1/agents?limit=x":                     {400, "bad_request", "limit: "},
		"/api/v1/agents?healthy=maybe":               {400, "bad_request", "healthy: "},
		"/api/v1/agents?liveness=dead":               {400, "bad_request", "liveness: "},
		"/api/v1/agents?condition=fine":              {400, "bad_request", "condition: "},
		"/api/v1/agents?cursor=x":                    {400, "bad_request", "cursor: "},
		"/api/v1/agents?health=true":                 {400, "bad_request", "health: unknown parameter"},
		"/api/v1/agents/nobody":                      {400, "bad_request", "instance_uid: "},
		"/api/v1/agents/" + apiUID(9).String():       {404, "not_found", apiUID(9).String()},
		"/api/v1/agents/a/b":                         {404, "not_found", "openapi"},
		"/api/v1/agents/":                            {404, "not_found", "openapi"},
		"/api/v1/":                                   {404, "not_found", "openapi"},
		"/api/":                                      {404, "not_found", "openapi"},
		"/api/v1/events?view=all":                    {400, "bad_request", "view: "},
		"/api/v1/events?since=yesterday":             {400, "bad_request", "since: "},
		"/api/v1/events?instance_uid=x":              {400, "bad_request", "instance_uid: "},
		"/api/v1/events?x=y":                         {400, "bad_request", "x: unknown parameter"},
		"/api/v1/agents?" + strings.Repeat("x", 999): {400, "bad_request", "unknown parameter"},
	} {
		w := get(a, target)
		assert.Equal(t, want.status, w.Code, target)
		e := decode(t, w)["error"].(map[string]any)
		assert.Equal(t, want.code, e["code"], target)
		assert.Contains(t, e["message"], want.says, target)
		assert.Less(t, len(e["message"].(string)), 300, target)
	}
}

func TestItOnlyReads(t *testing.T) {
	_, a := newTestAPI(t)
	for _, path := range []string{"/api/v1/agents", "/api/v1/agents/x", "/api/v1/events", "/api/v1/openapi.yaml"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			w := do(a, method, path)
			assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method+path)
			assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
			assert.Equal(t, "method_not_allowed", decode(t, w)["error"].(map[string]any)["code"])
		}
		assert.NotEqual(t, http.StatusMethodNotAllowed, do(a, http.MethodHead, path).Code, path)
	}
}

// What a server had no memory for must not look like what an agent never told.
func TestPartsThatWereNotKeptAreNamed(t *testing.T) {
	f := fleet.New(fleet.Settings{MaxMemory: 1})
	full := fullReport(1, "gateway")
	full.Health.LastError = strings.Repeat("e", 4000)
	full.AgentDescription.NonIdentifyingAttributes = append(full.AgentDescription.NonIdentifyingAttributes,
		kv("long", text(strings.Repeat("x", 1000))))
	require.Nil(t, f.Report(apiConn, full, apiNow).GetErrorResponse())
	a := New(f, Settings{})
	t.Cleanup(a.Close)
	d := loadDocument(t)
	got := decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()))
	d.check(d.answerSchema("get", "/api/v1/agents/{uid}", "200"), got, "agent")
	assert.Equal(t, []any{"description", "health", "effective_config", "available_components", "custom_capabilities"}, got["dropped"])
	assert.Nil(t, got["effective_config"])
	assert.Nil(t, got["available_components"])
	assert.Equal(t, "gateway", got["service_name"])
	assert.Equal(t, "unhealthy", got["condition"])
	assert.InDelta(t, 1, got["problems_count"], 0)
}
