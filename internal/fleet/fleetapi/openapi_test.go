// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// document is openapi.yaml, and what is checked against it.
type document struct {
	t    *testing.T
	root map[string]any
}

func loadDocument(t *testing.T) document {
	var d document
	d.t = t
	require.NoError(t, yaml.Unmarshal(openAPI, &d.root))
	return d
}

// at walks down the keys of the document.
func (d document) at(keys ...string) any {
	var v any = d.root
	for _, k := range keys {
		m, ok := v.(map[string]any)
		require.True(d.t, ok, "no %v in openapi.yaml", keys)
		v, ok = m[k]
		require.True(d.t, ok, "no %v in openapi.yaml", keys)
	}
	return v
}

// check holds an answer against a schema: no field that is not described, none missing, and each of its type.
func (d document) check(schema, value any, where string) {
	d.t.Helper()
	s := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		d.check(d.at("components", "schemas", name), value, where)
		return
	}
	if alternatives, ok := s["oneOf"].([]any); ok {
		if value != nil {
			d.check(alternatives[1], value, where)
		}
		return
	}
	properties, required, extra := d.fields(s)
	switch v := value.(type) {
	case map[string]any:
		for _, name := range required {
			assert.Contains(d.t, v, name, where)
		}
		for name, field := range v {
			if described, ok := properties[name]; ok {
				d.check(described, field, where+"."+name)
			} else if rest, ok := extra.(map[string]any); ok {
				d.check(rest, field, where+"[*]")
			} else {
				assert.Equal(d.t, true, extra, "%s.%s is not described", where, name)
			}
		}
	case []any:
		for _, e := range v {
			d.check(s["items"], e, where+"[]")
		}
	}
	d.checkType(s, value, where)
}

func (d document) fields(s map[string]any) (properties map[string]any, required []string, extra any) {
	properties = map[string]any{}
	parts := []any{s}
	if all, ok := s["allOf"].([]any); ok {
		parts = all
	}
	for _, p := range parts {
		m := p.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			m = d.at("components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/")).(map[string]any)
		}
		own, _ := m["properties"].(map[string]any)
		for k, v := range own {
			properties[k] = v
		}
		names, _ := m["required"].([]any)
		for _, n := range names {
			required = append(required, n.(string))
		}
		if e, ok := m["additionalProperties"]; ok {
			extra = e
		}
	}
	return properties, required, extra
}

func (d document) checkType(s map[string]any, value any, where string) {
	d.t.Helper()
	if enum, ok := s["enum"].([]any); ok {
		assert.Contains(d.t, enum, value, where)
	}
	var types []string
	switch v := s["type"].(type) {
	case string:
		types = []string{v}
	case []any:
		for _, e := range v {
			types = append(types, e.(string))
		}
	default:
		return // allOf
	}
	assert.Contains(d.t, types, jsonType(value), where)
}

func jsonType(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func (d document) answerSchema(method, path, status string) any {
	v := d.at("paths", path, method, "responses", status)
	if ref, ok := v.(map[string]any)["$ref"].(string); ok {
		v = d.at("components", "responses", strings.TrimPrefix(ref, "#/components/responses/"))
	}
	return v.(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
}

func TestAnswersAreAsDescribed(t *testing.T) {
	d := loadDocument(t)
	bare := apiUID(2)
	f, a := newTestAPI(t, fullReport(1, "gateway"), &protobufs.AgentToServer{InstanceUid: bare.Bytes()})
	converse(t, f, a)
	carry(t, f)
	for _, tc := range []struct{ path, target, status string }{
		{"/api/v1/agents", "/api/v1/agents", "200"},
		{"/api/v1/agents", "/api/v1/agents?limit=1", "200"},
		{"/api/v1/agents", "/api/v1/agents?limit=none", "400"},
		{"/api/v1/agents/{uid}", "/api/v1/agents/" + apiUID(1).String(), "200"},
		{"/api/v1/agents/{uid}", "/api/v1/agents/" + bare.String(), "200"},
		{"/api/v1/agents/{uid}", "/api/v1/agents/" + apiUID(7).String(), "404"},
		{"/api/v1/agents/{uid}", "/api/v1/agents/x", "400"},
		{"/api/v1/agents/{uid}/custom-messages", "/api/v1/agents/" + apiUID(1).String() + "/custom-messages", "200"},
		{"/api/v1/agents/{uid}/custom-messages", "/api/v1/agents/" + apiUID(7).String() + "/custom-messages", "404"},
		{"/api/v1/agents/{uid}/custom-messages", "/api/v1/agents/x/custom-messages", "400"},
		{"/api/v1/events", "/api/v1/events?view=x", "400"},
		{"/api/v1/agents", "/api/v1/agents?facets=status,component,attr.host.name,family&group_by=host", "200"},
		{"/api/v1/agents/{uid}/graph", "/api/v1/agents/" + apiUID(1).String() + "/graph", "200"},
		{"/api/v1/agents/{uid}/graph", "/api/v1/agents/" + apiUID(2).String() + "/graph", "200"},
		{"/api/v1/agents/{uid}/graph", "/api/v1/agents/" + apiUID(7).String() + "/graph", "404"},
		{"/api/v1/agents/{uid}/history", "/api/v1/agents/" + apiUID(1).String() + "/history", "200"},
		{"/api/v1/agents/{uid}/history", "/api/v1/agents/x/history", "400"},
		{"/api/v1/history", "/api/v1/history?limit=1", "200"},
		{"/api/v1/history", "/api/v1/history?kind=nonsense", "400"},
		{"/api/v1/agents/{uid}/transition", "/api/v1/agents/" + apiUID(1).String() + "/transition", "200"},
		{"/api/v1/agents/{uid}/transition", "/api/v1/agents/" + apiUID(1).String() + "/transition?component=exporter:otlp&within=1d", "200"},
		{"/api/v1/agents/{uid}/transition", "/api/v1/agents/" + bare.String() + "/transition?component=x", "200"},
		{"/api/v1/agents/{uid}/transition", "/api/v1/agents/" + apiUID(1).String() + "/transition?within=x", "400"},
		{"/api/v1/agents/{uid}/transition", "/api/v1/agents/" + apiUID(7).String() + "/transition", "404"},
		{"/api/v1/disappeared", "/api/v1/disappeared", "200"},
		{"/api/v1/disappeared", "/api/v1/disappeared?limit=0", "400"},
		{"/api/v1/coverage", "/api/v1/coverage", "200"},
		{"/api/v1/coverage", "/api/v1/coverage?q=x:y", "400"},
		{"/api/v1/rollout", "/api/v1/rollout", "200"},
		{"/api/v1/rollout", "/api/v1/rollout?of=config&steps=3", "200"},
		{"/api/v1/rollout", "/api/v1/rollout?of=config&value=ffffffff", "404"},
		{"/api/v1/rollout", "/api/v1/rollout?of=colour", "400"},
		{"/api/v1/rollout", "/api/v1/rollout?from=2026-03-04T00:00:00Z&until=2026-03-03T00:00:00Z", "400"},
		{"/api/v1/rollout", "/api/v1/rollout?steps=x", "400"},
		{"/api/v1/topology", "/api/v1/topology", "200"},
		{"/api/v1/topology", "/api/v1/topology?members=1", "200"},
		{"/api/v1/topology", "/api/v1/topology?members=0", "400"},
		{"/api/v1/facets", "/api/v1/facets", "200"},
		{"/api/v1/facets", "/api/v1/facets?facets=since", "400"},
		{"/api/v1/components", "/api/v1/components", "200"},
		{"/api/v1/query/complete", "/api/v1/query/complete?q=status:", "200"},
		{"/api/v1/query/complete", "/api/v1/query/complete?q=host:x+&cursor=1", "200"},
		{"/api/v1/query/complete", "/api/v1/query/complete?cursor=x", "400"},
		{"/api/v1/problems", "/api/v1/problems", "200"},
		{"/api/v1/problems", "/api/v1/problems?q=x:y", "400"},
		{"/api/v1/configs", "/api/v1/configs", "200"},
		{"/api/v1/configs/{hash}", "/api/v1/configs/" + configHash(t, a), "200"},
		{"/api/v1/configs/{hash}", "/api/v1/configs/ffffffff", "404"},
		{"/api/v1/configs/{hash}/diff/{other}", "/api/v1/configs/" + configHash(t, a) + "/diff/" + configHash(t, a), "200"},
		{"/api/v1/configs/{hash}/diff/{other}", "/api/v1/configs/" + configHash(t, a) + "/diff/majority?context=0", "200"},
	} {
		w := get(a, tc.target)
		require.Equal(t, tc.status, fmt.Sprint(w.Code), tc.target)
		d.check(d.answerSchema("get", tc.path, tc.status), any(decode(t, w)), tc.target)
	}
}

func TestEventsAreAsDescribed(t *testing.T) {
	d := loadDocument(t)
	f, _ := newTestAPI(t, fullReport(1, "gateway"))
	agents, _ := f.Agents()
	for name, data := range map[string]any{
		"AgentsEvent":  changed{Agents: summaries(agents, apiNow), Removed: []string{"x"}},
		"ChangedEvent": moved{Version: 3},
	} {
		raw, err := json.Marshal(data)
		require.NoError(t, err)
		var v any
		require.NoError(t, json.Unmarshal(raw, &v))
		d.check(d.at("components", "schemas", name), v, name)
	}
}

func TestEveryRouteAndParameterIsDescribed(t *testing.T) {
	d := loadDocument(t)
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	hash := configHash(t, a)
	for path := range d.at("paths").(map[string]any) {
		target := strings.NewReplacer("{uid}", "x", "{hash}", hash, "{other}", hash).Replace(path)
		w := do(a, http.MethodHead, target)
		assert.NotEqual(t, http.StatusNotFound, w.Code, path)
		assert.Equal(t, http.StatusMethodNotAllowed, do(a, http.MethodPut, target).Code, path)
		_, posts := d.at("paths", path).(map[string]any)["post"]
		assert.Equal(t, !posts, do(a, http.MethodPost, target).Code == http.StatusMethodNotAllowed, path)
	}
	assert.Len(t, d.at("paths"), 20)
	assertEnum(t, fleet.EventKinds(), d.at("components", "schemas", "EventKind", "enum").([]any))

	described := map[string][]any{}
	for _, p := range d.parameters("/api/v1/agents") {
		described[p["name"].(string)] = enumOf(d, p["schema"])
	}
	assert.Len(t, described, 11)
	assertEnum(t, fleet.Conditions(), described["condition"])
	assertEnum(t, fleet.Livenesses(), described["liveness"])
	for _, k := range fleetsearch.SortKeys() {
		assert.True(t, slices.Contains(described["sort"], any(string(k))), k)
		assert.True(t, slices.Contains(described["sort"], any("-"+string(k))), k)
	}
}

// configHash is that of the agent that fullReport(1, ...) is of.
func configHash(t *testing.T, a *API) string {
	agent := decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()))
	return agent["effective_config"].(map[string]any)["hash"].(string)
}

// parameters of a GET, those behind references too.
func (d document) parameters(path string) (out []map[string]any) {
	list, _ := d.at("paths", path, "get").(map[string]any)["parameters"].([]any)
	for _, p := range list {
		p := p.(map[string]any)
		if ref, ok := p["$ref"].(string); ok {
			p = d.at("components", "parameters", strings.TrimPrefix(ref, "#/components/parameters/")).(map[string]any)
		}
		out = append(out, p)
	}
	return out
}

// Each parameter that is described is taken, and no other is.
func TestParametersAreAsDescribed(t *testing.T) {
	d := loadDocument(t)
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	hash := configHash(t, a)
	for path := range d.at("paths").(map[string]any) {
		if path == "/api/v1/events" || path == "/api/v1/openapi.yaml" || strings.HasSuffix(path, "messages") {
			continue
		}
		target := strings.NewReplacer("{uid}", apiUID(1).String(), "{hash}", hash, "{other}", hash).Replace(path)
		for _, p := range d.parameters(path) {
			if p["in"] == "query" {
				w := get(a, target+"?"+p["name"].(string)+"=")
				assert.Equal(t, http.StatusOK, w.Code, "%s %s %s", path, p["name"], w.Body)
			}
		}
		if path != "/api/v1/agents/{uid}" {
			assert.Equal(t, http.StatusBadRequest, get(a, target+"?colour=red").Code, path)
		}
	}
}

func enumOf(d document, schema any) []any {
	s := schema.(map[string]any)
	items, _ := s["items"].(map[string]any)
	if ref, ok := items["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		s = d.at("components", "schemas", name).(map[string]any)
	}
	enum, _ := s["enum"].([]any)
	return enum
}

func assertEnum[T ~string](t *testing.T, want []T, got []any) {
	t.Helper()
	var words []any
	for _, w := range want {
		words = append(words, string(w))
	}
	assert.ElementsMatch(t, words, got)
}

func TestTheDocumentIsServed(t *testing.T) {
	_, a := newTestAPI(t)
	w := get(a, "/api/v1/openapi.yaml")
	assert.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
	assert.Equal(t, string(openAPI), w.Body.String())
}
