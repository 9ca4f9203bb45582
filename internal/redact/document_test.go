// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestDocumentsKeepNoCanary sends the corpus as texts: what an agent of somebody else reports.
func TestDocumentsKeepNoCanary(t *testing.T) {
	rules := mustRules(t, Options{})
	planted := 0
	for _, name := range corpusFiles(t) {
		p := newPlanter()
		text := asText(t, p.tree("", readYAML(t, name)))
		out, masked, secrets := rules.Document(text)
		assert.NotEqual(t, Mask, out, name)
		if len(p.canaries) > 0 {
			assert.NotZero(t, masked, name)
		}
		for _, c := range p.canaries {
			if strings.HasPrefix(c.kind, "provider-") {
				continue // only who has the configuration before it was expanded can know
			}
			planted++
			for _, needle := range c.needles() {
				assert.NotContains(t, out, needle, "%s: %s", name, c.name)
				echo := rules.Text("it failed: "+needle, secrets)
				if c.kind == "password" && len(needle) > 12 {
					assert.NotContains(t, echo, needle, "%s: %s comes back in an error", name, c.name)
				}
			}
		}
		again, masked, _ := rules.Document(out)
		assert.Equal(t, out, again, "%s: masking twice is masking once", name)
		assert.Zero(t, masked, name)
	}
	assert.Greater(t, planted, minimumCanaries)
}

func asText(tb testing.TB, tree any) string {
	tb.Helper()
	text, err := yaml.Marshal(tree)
	require.NoError(tb, err)
	return string(text)
}

func TestDocuments(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"nothing secret stays as it is": {"b: 1 # why\na:   [x,  y]\n", "b: 1 # why\na:   [x,  y]\n"},
		"order and comments stay": {
			"# mine\nb: 1\na:\n  password: hunter2hunter2 # changed\n",
			"# mine\nb: 1\na:\n  password: \"[REDACTED]\" # changed\n",
		},
		"a comment tells it":           {"a: 1 # password: hunter2hunter2\n", "a: 1 # password: [REDACTED]\n"},
		"json":                         {`{"exporters":{"otlp":{"headers":{"x":"y"}}}}`, `{"exporters": {"otlp": {"headers": {"x": "[REDACTED]"}}}}`},
		"empty":                        {"", ""},
		"neither yaml nor json":        {"[OUTPUT]\n  HTTP_Passwd hunter2\n", Mask},
		"not closed":                   {`{"a": "b`, Mask},
		"a key that is a map":          {"? {password: hunter2hunter2}\n: b\n", Mask},
		"too deep":                     {strings.Repeat("[", 300) + strings.Repeat("]", 300), Mask},
		"it comes back in plain sight": {"token: abcDEF123456789xyz\nurl: http://h/abcDEF123456789xyz\n", "token: \"[REDACTED]\"\nurl: http://h/[REDACTED]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, _ := mustRules(t, Options{}).Document(tc.in)
			assert.Equal(t, tc.want, out)
		})
	}
}

// TestSecretsOfWhatIsNoDocument do not come back in an error either.
func TestSecretsOfWhatIsNoDocument(t *testing.T) {
	rules := mustRules(t, Options{})
	for name, tc := range map[string]struct{ doc, secret string }{
		"toml":             {"[auth\npassword = \"open-sesame\"\n", "open-sesame"},
		"ini":              {"[OUTPUT]\n  HTTP_Passwd open-sesame\n  a: b\n", "open-sesame"},
		"environment":      {"a: b\nDB_PASSWORD=open-sesame\n", "open-sesame"},
		"xml":              {"<a><token>open-sesame</token></a>: [\n", "open-sesame"},
		"json, cut":        {`{"a": {"password": "open-sesame", "b": [1,}`, "open-sesame"},
		"by its look":      {"[x\nfoo hunter2Zq8vK2mXw4\n", "hunter2Zq8vK2mXw4"},
		"two documents":    {"a: 1\n---\npassword: open-sesame\n---\nb: [\n", "open-sesame"},
		"too many aliases": {"a: &a " + strings.Repeat("x", 200<<10) + "\npassword: open-sesame\nb: [*a, *a, *a, *a, *a]\n", "open-sesame"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, secrets := rules.Document(tc.doc)
			require.Equal(t, Mask, out)
			failed := "login as grafana with " + tc.secret + " at db-1.example.com:5432 failed"
			assert.Equal(t, "login as grafana with [REDACTED] at db-1.example.com:5432 failed", rules.Text(failed, secrets))
		})
	}
}

func TestDocumentsFollowThePathsOfTheUser(t *testing.T) {
	rules := mustRules(t, Options{Allow: []string{"exporters::password"}, Deny: []string{"receivers"}})
	out, masked, _ := rules.Document("exporters:\n  password: shown\nreceivers:\n  x: 1\n  y: true\n  z: w\n")
	assert.Equal(t, "exporters:\n  password: shown\nreceivers:\n  x: \"[REDACTED]\"\n  y: \"[REDACTED]\"\n  z: \"[REDACTED]\"\n", out)
	require.Equal(t, 3, masked)
}

func FuzzDocument(f *testing.F) {
	rules := mustRules(f, Options{})
	for _, name := range corpusFiles(f) {
		f.Add(asText(f, readYAML(f, name)))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 64<<10 {
			return
		}
		out, masked, _ := rules.Document(s)
		if masked == 0 && out != s {
			t.Fatalf("changed without being masked: %q", s)
		}
	})
}
