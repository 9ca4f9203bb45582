// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// FuzzConfig masks a configuration made of a name, a value and what the value was
// written as. Whatever they are, no key and no element of a list is lost or added,
// booleans stay, the input stays, masking again changes nothing, and what is named a
// password is never shown.
func FuzzConfig(f *testing.F) {
	for _, name := range []string{"token", "x", "headers", "api_key", "auth", "datasource", "webhook_url", "params", "key"} {
		for _, unit := range hostileUnits {
			f.Add(name, unit, unit+"${env:A}")
		}
		for _, group := range readYAML(f, textsFile) {
			for _, text := range group.([]any) {
				plain := canaryMark.ReplaceAllString(text.(string), "$2")
				f.Add(name, plain, "${env:B}"+plain[len(plain)/2:])
			}
		}
	}
	rules := mustRules(f, Options{})
	f.Fuzz(func(t *testing.T, name, value, written string) {
		config, unexpanded := configOf(name, value), configOf(name, written)
		before := fmt.Sprint(config)
		once := rules.Config(config, unexpanded)
		require.Equal(t, before, fmt.Sprint(config), "the input was changed")
		sameShape(t, "", config, once.Config)
		requireMasked(t, value, once.Config)
		again := rules.Config(once.Config, nil)
		requireStable(t, once, again)

		raw := rules.Raw(unexpanded)
		sameShape(t, "", unexpanded, raw.Config)
		requireStable(t, raw, rules.Raw(raw.Config))
	})
}

// configOf has a name and a value in every kind of place.
func configOf(name, value string) map[string]any {
	text, _ := yaml.Marshal(map[string]any{name: value, "headers": map[string]any{name: value}})
	return map[string]any{
		"exporters": map[string]any{
			name: map[string]any{
				"password":   value,
				"passwords":  []any{value, 1, true, nil, 2.5},
				"plain":      value,
				name:         value,
				"below":      map[string]any{name: map[string]any{"a": value, "name": name}},
				"headers":    map[string]any{name: value},
				"attributes": []any{map[string]any{"key": name, "value": value}, map[string]any{"name": "x", "value": value}},
				"env":        []any{name + "=" + value, "--" + name, value},
				"embedded":   string(text),
				"uri":        "http://" + value + "@" + name,
				"typed":      map[any]any{1: value, name: []string{value}},
			},
		},
	}
}

func requireMasked(t *testing.T, value string, config map[string]any) {
	t.Helper()
	for _, c := range config["exporters"].(map[string]any) {
		component := c.(map[string]any)
		if shown, ok := component["password"].(string); ok && shown != Mask {
			require.True(t, value == "true" || value == "false" || value == "", "%q is shown as %q", value, shown)
		}
	}
}

func requireStable(t *testing.T, once, again Result) {
	t.Helper()
	eachLeaf("", once.Config, again.Config, func(path string, once, again any) {
		require.Equal(t, fmt.Sprint(once), fmt.Sprint(again), "%s: masking again changes something", path)
	})
}

// FuzzText masks a text. Masking again changes nothing, and what was known doesn't
// come back.
func FuzzText(f *testing.F) {
	for _, group := range readYAML(f, textsFile) {
		for _, text := range group.([]any) {
			f.Add(canaryMark.ReplaceAllString(text.(string), "$2"), "gh7Xk2mPq9")
		}
	}
	for _, unit := range hostileUnits {
		f.Add(strings.Repeat(unit, 3), unit)
	}
	rules := mustRules(f, Options{})
	f.Fuzz(func(t *testing.T, text, secret string) {
		var none *Secrets
		known := none.With(secret)
		once := rules.Text(text, known)
		require.Equal(t, once, rules.Text(once, known), "masking again changes something")
		if known.Len() > 0 && isOpaque(secret) && !strings.Contains(Mask, secret) {
			assert.NotContains(t, once, secret)
		}
	})
}

func sameShape(t *testing.T, path string, in, out any) {
	t.Helper()
	if strings.Count(path, "::") > maxDepth {
		return
	}
	switch in := in.(type) {
	case map[string]any:
		below, ok := out.(map[string]any)
		require.True(t, ok && len(in) == len(below), path)
		for key, v := range in {
			require.Contains(t, below, key, path)
			sameShape(t, path+"::"+key, v, below[key])
		}
	case []any:
		below, ok := out.([]any)
		require.True(t, ok && len(in) == len(below), path)
		for i := range in {
			sameShape(t, fmt.Sprint(path, "::", i), in[i], below[i])
		}
	case map[any]any:
		below, ok := out.(map[any]any)
		require.True(t, ok && len(in) == len(below), path)
	case nil, bool:
		require.Equal(t, in, out, path)
	}
}
