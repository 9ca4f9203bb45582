// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEmbeddedConfigurations(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"order, comments and numbers stay": {
			"# top\nz: 1.50\na: [x, 'y']\npassword: abc # why\nb: yes\n",
			"# top\nz: 1.50\na: [x, 'y']\npassword: \"" + Mask + "\" # why\nb: yes\n",
		},
		"headers": {
			"headers:\n  x-a: b\n  accept: c\n",
			"headers:\n  x-a: \"" + Mask + "\"\n  accept: c\n",
		},
		"list": {
			"- name: API_TOKEN\n  value: b\n- pin: 1234\n",
			"- name: API_TOKEN\n  value: \"" + Mask + "\"\n- pin: \"" + Mask + "\"\n",
		},
		"documents": {"a: b\n---\ntoken: c\n", "a: b\n---\ntoken: \"" + Mask + "\"\n"},
		"block":     {"token: |\n  a\n  b\nx: y\n", "token: |-\n  " + Mask + "\nx: y\n"},
		"anchors":   {"a: &x\n  b: c\nheaders: *x\n", "a: &x\n  b: \"" + Mask + "\"\nheaders: *x\n"},
		"the same key twice": {
			"token: a\ntoken: b\n",
			"token: \"" + Mask + "\"\ntoken: \"" + Mask + "\"\n",
		},
		"nothing secret":          {"a:   b\nkey: service.name\n", "a:   b\nkey: service.name\n"},
		"no map":                  {"token\nsecret: is a word: here", "token\nsecret: is a word: here"},
		"broken, by lines":        {"a: [\npassword: b c\nx: y", "a: [\npassword: " + Mask + "\nx: y"},
		"json":                    {`{"a":1,"token":"b","c":null}`, `{"a": 1, "token": "` + Mask + `", "c": null}`},
		"json with tabs":          {"{\n\t\"token\": \"b\",\n\t\"a\": 1\n}", `{"token": "` + Mask + `", "a": 1}`},
		"json in json":            {`{"a":"{\"token\":\"b\"}"}`, `{"a": "{\"token\": \"` + Mask + `\"}"}`},
		"masked by a reader":      {"token: [REDACTED]\nx: y\n", "token: [REDACTED]\nx: y\n"},
		"no end of line, no more": {"token: a\nx: y", "token: \"" + Mask + "\"\nx: y"},
	}
	rules := mustRules(t, Options{})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out := rules.Config(map[string]any{"a": tt.in}, nil)
			assert.Equal(t, tt.want, out.Config["a"])
			assert.Equal(t, tt.want, rules.Config(out.Config, nil).Config["a"], "masked again")
		})
	}
}

func TestEmbeddedJSONStaysJSON(t *testing.T) {
	in := `{"url":"http://a:b@c","list":[1,2.5,true,null,"x"],"token":"y","text":"a\nb\t\"c\" é \u00e9 <>","pin":5}`
	out := mustRules(t, Options{}).Config(map[string]any{"a": in}, nil).Config["a"].(string)
	var got, want map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	require.NoError(t, json.Unmarshal([]byte(in), &want))
	want["url"], want["token"], want["pin"] = "http://a:"+Mask+"@c", Mask, Mask
	assert.Equal(t, want, got)
}

func TestEmbeddedConfigurationsAreBounded(t *testing.T) {
	rules := mustRules(t, Options{})
	var bomb strings.Builder
	bomb.WriteString("token: x\na0: &a0 [x, x]\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	assert.Equal(t, Mask, rules.Config(map[string]any{"a": bomb.String()}, nil).Config["a"], "aliases of aliases")
	assert.Equal(t, Mask, rules.Config(map[string]any{"a": "a: &a [*a]\ntoken: x\n"}, nil).Config["a"], "a circle")
	assert.Equal(t, Mask, rules.Config(map[string]any{"a": strings.Repeat("token: x\n---\n", maxDocuments+1)}, nil).Config["a"], "documents")

	assert.Equal(t, Mask, rules.Config(map[string]any{"a": "token: x\n? {password: hunter22}\n: b\n"}, nil).Config["a"], "a key that is a map")

	long := "password: hunter22\n" + strings.Repeat("a: b\n", maxEmbedded/5)
	assert.NotContains(t, rules.Config(map[string]any{"a": long}, nil).Config["a"], "hunter22", "too long to be parsed")
}

// What costs more than its length would let one agent keep a processor busy, or fill the memory. Each of these took minutes
// or gigabytes once.
func TestDocumentsCostWhatTheirLengthSays(t *testing.T) {
	const size = 1 << 20
	for name, in := range map[string]string{
		"one key again and again": strings.Repeat("x: y\n", size/5),
		"in JSON":                 "{" + strings.Repeat(`"x":1,`, size/6) + `"password": "hunter22"}`,
		"aliases of a long text":  "a: &a " + strings.Repeat("http://u:p@h ", size/40) + "\n" + strings.Repeat("b: *a\n", size/10),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			out, _, _ := mustRules(t, Options{}).Document(in)
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30))
			assert.NotContains(t, out, "hunter22")
			assert.NotContains(t, out, "u:p@")
		})
	}
}

func TestKeysThatStandThereMoreThanOnceMeanTheSame(t *testing.T) {
	out, masked, _ := mustRules(t, Options{}).Document(strings.Repeat("password: hunter22\n", 300) + "\"password -\": hunter22\n")
	assert.NotContains(t, out, "hunter22")
	assert.Equal(t, 301, masked)

	_, trees, err := parseDocuments(strings.Repeat("x: y\n", 5), 100)
	require.NoError(t, err)
	assert.Len(t, trees[0], 5)
}
