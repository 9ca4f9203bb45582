// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestHeaders(t *testing.T) {
	type m = map[string]any
	tests := map[string]struct{ in, want m }{
		"map": {
			m{"headers": m{"Content-Type": "text/plain", "X-Scope-OrgID": "a", "X-Anything": "b", "x-n": 5, "x-key": 5, "x-b": true, "x-e": ""}},
			m{"headers": m{"Content-Type": "text/plain", "X-Scope-OrgID": "a", "X-Anything": Mask, "x-n": 5, "x-key": Mask, "x-b": true, "x-e": ""}},
		},
		"list of names and values": {
			m{"headers": []any{m{"name": "Accept", "value": "a"}, m{"name": "X-A", "value": "b"}, m{"key": "X-B", "value": []any{"c"}}}},
			m{"headers": []any{m{"name": "Accept", "value": "a"}, m{"name": "X-A", "value": Mask}, m{"key": "X-B", "value": []any{Mask}}}},
		},
		"list of maps": {
			m{"extra_headers": []any{m{"Authorization": "a"}, m{"Accept": "b"}}},
			m{"extra_headers": []any{m{"Authorization": Mask}, m{"Accept": "b"}}},
		},
		"setter": {
			m{"headers": []any{
				m{"action": "upsert", "key": "X-A", "value": "a", "default_value": "b"},
				m{"action": "insert", "key": "X-Scope-OrgID", "from_context": "tenant", "default_value": "c"},
				m{"action": "delete", "key": "X-B"},
			}},
			m{"headers": []any{
				m{"action": "upsert", "key": "X-A", "value": Mask, "default_value": Mask},
				m{"action": "insert", "key": "X-Scope-OrgID", "from_context": "tenant", "default_value": "c"},
				m{"action": "delete", "key": "X-B"},
			}},
		},
		"prometheus": {
			m{"http_headers": m{"X-A": m{"values": []any{"a"}, "secrets": []any{"b"}, "files": []any{"/c"}}, "Accept": m{"values": []any{"d"}}}},
			m{"http_headers": m{"X-A": m{"values": []any{Mask}, "secrets": []any{Mask}, "files": []any{"/c"}}, "Accept": m{"values": []any{Mask}}}},
		},
		"text": {
			m{"otlp_headers": "a=b,c=d,e", "headers_list": "accept=x,api-key=y", "headers": []any{"X-A: b", "Accept: c", "X-D"}},
			m{"otlp_headers": "a=" + Mask + ",c=" + Mask, "headers_list": "accept=x,api-key=" + Mask, "headers": []any{"X-A: " + Mask, "Accept: c", "X-D"}},
		},
		"names": {
			m{"headers": []any{"tenant", "authorization"}, "allowed_headers": []any{"*", "X-A"}, "header": "Authorization", "csv_header": "a,b,token", "header_pattern": "^x: .*$"},
			m{"headers": []any{"tenant", "authorization"}, "allowed_headers": []any{"*", "X-A"}, "header": "Authorization", "csv_header": "a,b,token", "header_pattern": "^x: .*$"},
		},
		"one": {
			m{"required_header": m{"key": "X-A", "value": "b"}, "header": m{"pattern": "^#", "metadata_operators": []any{m{"type": "x"}}}},
			m{"required_header": m{"key": "X-A", "value": Mask}, "header": m{"pattern": "^#", "metadata_operators": []any{m{"type": "x"}}}},
		},
		"params and metadata": {
			m{"params": m{"module": []any{"a"}, "key": []any{"b"}, "token_type": "c", "x-auth": "d1"}, "metadata": m{"full": true, "retry": m{"max": 3}, "authorization": "e"}},
			m{"params": m{"module": []any{"a"}, "key": []any{Mask}, "token_type": "c", "x-auth": "d1"}, "metadata": m{"full": true, "retry": m{"max": 3}, "authorization": Mask}},
		},
		"named values": {
			m{"env": []any{m{"name": "API_TOKEN", "value": "a"}, m{"name": "PATH", "value": "b"}}, "actions": []any{m{"key": "db.password", "action": "hash"}}},
			m{"env": []any{m{"name": "API_TOKEN", "value": Mask}, m{"name": "PATH", "value": "b"}}, "actions": []any{m{"key": "db.password", "action": "hash"}}},
		},
		"arguments": {
			m{"args": []any{"--user", "bob", "--token", "a", "--secret", "--x", "-v", "--password=b", "--token-file", "c"}},
			m{"args": []any{"--user", "bob", "--token", Mask, "--secret", "--x", "-v", "--password=" + Mask, "--token-file", "c"}},
		},
		"connection strings": {
			m{"dsn": "postgres://bob@db/app", "datasource": "host=a password=b", "connection_string": "bob/hunter@db", "db_url": "aB3dE5gH7"},
			m{"dsn": "postgres://bob@db/app", "datasource": "host=a password=" + Mask, "connection_string": Mask, "db_url": Mask},
		},
		"webhooks": {
			m{"webhook_url": "https://a.example.com/b/c?d=e", "webhook": m{"path": "/x", "secret": "y"}, "webhooks": []any{"/in", "https://a.example.com", "https://a.example.com/"}},
			m{"webhook_url": "https://a.example.com/" + Mask, "webhook": m{"path": "/x", "secret": Mask}, "webhooks": []any{"/in", "https://a.example.com", "https://a.example.com/"}},
		},
	}
	rules := mustRules(t, Options{})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, rules.Config(tt.in, nil).Config)
		})
	}
}

type (
	opaque   string
	plain    string
	number   int
	switched bool
)

func (opaque) MarshalText() ([]byte, error) { return []byte(Mask), nil }

type broken struct{}

func (broken) MarshalText() ([]byte, error) { return nil, errors.New("broken") }

type settings struct {
	Name     string
	Password string
	Nested   *settings `yaml:",omitempty"`
}

type unprintable struct{ F func() }

func TestTypes(t *testing.T) {
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var noMap map[string]any
	var noList []any
	var noPointer *settings
	var noNames []string
	word := "word"
	in := map[string]any{
		"duration": 5 * time.Second, "time": day, "opaque": opaque("hunter2"), "broken": broken{}, "plain": plain("word"),
		"number": number(5), "switched": switched(true), "float32": float32(1.5), "bytes": []byte("word"), "url_bytes": []byte("http://a:bcd@e"),
		"noMap": noMap, "noList": noList, "noPointer": noPointer, "noNames": noNames, "pointer": &word,
		"names": []string{"a", "http://a:bcd@e"}, "array": [2]int{1, 2},
		"texts": map[string]string{"a": "b", "password": "c"}, "durations": map[string]time.Duration{"password": time.Second},
		"mixed": map[any]any{"password": "a", 1: "b", true: map[any]any{"token": "c", 2: 3}}, "strings": map[any]any{"password": "a"},
		"maps": []map[string]any{{"token": "a"}, nil}, "counts": map[number]string{7: "a"},
		"struct": settings{Name: "a", Password: "b", Nested: &settings{Name: "c", Password: "d"}},
		"func":   func() {}, "chan": make(chan int), "complex": 1i, "unprintable": unprintable{},
		"secrets": map[string]any{"password": plain("a"), "pin": number(5), "pwd": []string{"a", "b"}, "token": switched(true), "pass": []byte("abc")},
	}
	want := map[string]any{
		"duration": 5 * time.Second, "time": day, "opaque": Mask, "broken": Mask, "plain": plain("word"),
		"number": number(5), "switched": switched(true), "float32": float32(1.5), "bytes": []byte("word"), "url_bytes": "http://a:" + Mask + "@e",
		"noMap": noMap, "noList": noList, "noPointer": noPointer, "noNames": noNames, "pointer": "word",
		"names": []any{"a", "http://a:" + Mask + "@e"}, "array": []any{1, 2},
		"texts": map[string]any{"a": "b", "password": Mask}, "durations": map[string]any{"password": time.Second},
		"mixed": map[any]any{"password": Mask, 1: "b", true: map[any]any{"token": Mask, 2: 3}}, "strings": map[string]any{"password": Mask},
		"maps": []any{map[string]any{"token": Mask}, map[string]any(nil)}, "counts": map[any]any{number(7): "a"},
		"struct": map[string]any{"name": "a", "password": Mask, "nested": map[string]any{"name": "c", "password": Mask}},
		"func":   Mask, "chan": Mask, "complex": Mask, "unprintable": Mask,
		"secrets": map[string]any{"password": Mask, "pin": Mask, "pwd": []any{Mask, Mask}, "token": switched(true), "pass": Mask},
	}
	out := mustRules(t, Options{}).Config(in, nil)
	for key := range want {
		assert.Equal(t, want[key], out.Config[key], key)
	}
	assert.Len(t, out.Config, len(want))
	_, err := yaml.Marshal(out.Config)
	assert.NoError(t, err)
}

func TestInputStays(t *testing.T) {
	in := map[string]any{
		"list": []any{map[string]any{"password": "a"}, "http://a:hunter22@b"}, "headers": map[string]any{"x": "hunter22"},
		"typed": map[any]any{1: []string{"http://a:b@c"}}, "again": "hunter22x hunter22",
	}
	before := fmt.Sprint(in)
	rules := mustRules(t, Options{Deny: []string{"**::list"}})
	out := rules.Config(in, in)
	rules.Raw(in)
	assert.Equal(t, before, fmt.Sprint(in))
	out.Config["list"].([]any)[0] = "changed"
	out.Config["headers"].(map[string]any)["x"] = "changed"
	assert.Equal(t, before, fmt.Sprint(in), "the output shares nothing with the input")
}

func TestNothingInNothingOut(t *testing.T) {
	rules := mustRules(t, Options{})
	assert.Equal(t, Result{}, rules.Config(nil, nil))
	assert.Equal(t, Result{}, rules.Raw(nil))
	assert.Equal(t, map[string]any{}, rules.Config(map[string]any{}, map[string]any{"a": "b"}).Config)
}

func TestDepthIsBounded(t *testing.T) {
	deep := func(levels int) map[string]any {
		var v any = "value"
		for i := range levels {
			if i%2 == 0 {
				v = []any{v}
			} else {
				v = map[string]any{"a": v}
			}
		}
		return map[string]any{"a": v}
	}
	rules := mustRules(t, Options{})
	shallow := deep(maxDepth - 1)
	assert.Equal(t, shallow, rules.Config(shallow, nil).Config)
	out := rules.Config(deep(maxDepth+50), nil)
	assert.NotContains(t, fmt.Sprint(out.Config), "value")
	assert.Contains(t, fmt.Sprint(out.Config), Mask)
	assert.Equal(t, 1, out.Masked)

	circle := map[string]any{}
	circle["a"], circle["b"] = circle, []any{circle, circle}
	assert.Contains(t, fmt.Sprint(rules.Config(map[string]any{"x": map[any]any{"c": circle["x"]}}, circle).Config), "x")
}

func TestValuesAreBounded(t *testing.T) {
	// Each level has the one below twice: 2^40 values, were they copied.
	var v any = "value"
	for range 40 {
		v = []any{v, v}
	}
	out := mustRules(t, Options{}).Config(map[string]any{"a": v}, nil)
	assert.Positive(t, out.Masked)
}

func TestMaskedIsTheNumberOfValues(t *testing.T) {
	out := mustRules(t, Options{}).Config(map[string]any{
		"password": "a", "tokens": []any{"b", "c", Mask, ""}, "urls": "http://a:b@c http://d:e@f", "plain": "x", "pin": 5,
		"text": "a: 1\npassword: x\ntoken: y\n", "deep": map[string]any{"pwd": "z"},
	}, nil)
	assert.Equal(t, 7, out.Masked)
}

func TestRulesMayBeSharedByGoroutines(t *testing.T) {
	rules := mustRules(t, Options{Allow: []string{"**::a"}})
	known := rules.Config(map[string]any{"token": "aB3dE5gH7jK9"}, nil).Secrets
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				require.Equal(t, Mask, rules.Config(map[string]any{"token": "x"}, nil).Config["token"])
				require.Equal(t, "got "+Mask, rules.Text("got aB3dE5gH7jK9", known))
			}
		})
	}
}
