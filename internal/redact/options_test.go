// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewNamesTheUsersKeys(t *testing.T) {
	many := make([]string, maxPatterns+1)
	for i := range many {
		many[i] = fmt.Sprintf("key%d", i)
	}
	tests := map[string]struct {
		options Options
		want    []string // each in the error
	}{
		"empty key":              {Options{Keys: []string{"tenant", ""}}, []string{`keys[1]: "": is empty`}},
		"separators alone":       {Options{ExceptKeys: []string{"-_."}}, []string{`except_keys[0]: "-_.": is empty`}},
		"no part of a name":      {Options{Keys: []string{"a[b]"}}, []string{`keys[0]: "a[b]": '[' is no part of a key's name`}},
		"empty path":             {Options{Allow: []string{""}}, []string{`allow[0]: "": is empty`}},
		"empty part":             {Options{Deny: []string{"exporters::::a"}}, []string{`deny[0]: "exporters::::a": has an empty part`}},
		"separator at the end":   {Options{Deny: []string{"exporters::a::"}}, []string{`deny[0]`, "has an empty part"}},
		"stars within a part":    {Options{Allow: []string{"exporters::a**::b"}}, []string{`allow[0]`, `"**" must be a part of its own`}},
		"dots for separators":    {Options{Allow: []string{"exporters.otlp.headers"}}, []string{`allow[0]`, "never matches", `"::"`}},
		"unknown section":        {Options{Allow: []string{"exporter::otlp"}}, []string{`allow[0]`, `it begins with "exporter"`}},
		"too long":               {Options{Keys: []string{strings.Repeat("a", maxPatternLength+1)}}, []string{"keys[0]", "is longer than 512 bytes"}},
		"too many":               {Options{Keys: many}, []string{"keys: 1001 patterns, at most 1000 are possible"}},
		"unknown provider value": {Options{ProviderValues: "hide"}, []string{`provider_values: "hide" is not "mask" or "keep"`}},
		"all at once": {
			Options{Keys: []string{""}, ExceptKeys: []string{""}, Allow: []string{""}, Deny: []string{"", "x"}, ProviderValues: "x"},
			[]string{"keys[0]", "except_keys[0]", "allow[0]", "deny[0]", "deny[1]", "provider_values"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rules, err := New(tt.options)
			require.Error(t, err)
			assert.Nil(t, rules)
			for _, want := range tt.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestKeysAndExceptKeys(t *testing.T) {
	rules := mustRules(t, Options{
		Keys:       []string{"tenant-code", "*_mark", "x-scope-orgid", "both"},
		ExceptKeys: []string{"community", "X-Team", "both", "sso_*"},
	})
	config := map[string]any{
		"tenantCode": "abc", "TENANT_CODE": "abc", "tenant": "abc", "trade.mark": "abc", "market": "abc",
		"community": "public", "both": "abc", "sso_token": "abc",
		"headers": map[string]any{"x-team": "checkout", "x-scope-orgid": "abc", "x-other": "abc"},
		"tenant_code": map[string]any{
			"a": "abc", "enabled": true, "name": "shown", "community": "public",
		},
		"url": "https://example.com/?tenant_code=abc&x_team=checkout&sso_token=abc",
	}
	want := map[string]any{
		"tenantCode": Mask, "TENANT_CODE": Mask, "tenant": "abc", "trade.mark": Mask, "market": "abc",
		"community": "public", "both": "abc", "sso_token": "abc",
		"headers": map[string]any{"x-team": "checkout", "x-scope-orgid": Mask, "x-other": Mask},
		"tenant_code": map[string]any{
			"a": Mask, "enabled": true, "name": "shown", "community": "public",
		},
		"url": "https://example.com/?tenant_code=" + Mask + "&x_team=checkout&sso_token=abc",
	}
	assert.Equal(t, want, rules.Config(config, nil).Config)
	assert.Equal(t, "tenant_code="+Mask+" community: public sso_token=abc",
		rules.Text("tenant_code=abc community: public sso_token=abc", nil))
}

func TestPaths(t *testing.T) {
	config := func() map[string]any {
		return map[string]any{
			"exporters": map[string]any{
				"otlp/a": map[string]any{
					"endpoint": "https://bob:hunter22@a.example.com",
					"headers": []any{
						map[string]any{"name": "X-Tenant", "value": "tenant-a"},
						map[string]any{"name": "Authorization", "value": "Bearer abc"},
					},
				},
				"otlp_http": map[string]any{
					"headers": map[string]any{"x-tenant": "tenant-b", "authorization": "Bearer abc"},
					"retry":   map[string]any{"enabled": true, "limit": 5, "codes": []any{"a", 7, nil}},
				},
				"other": map[string]any{"token": "abc", "tokens": []any{"abc", "def"}},
			},
		}
	}
	tests := map[string]struct {
		options Options
		want    func(want map[string]any) // what differs from the built-in rules' result
	}{
		"none": {want: func(map[string]any) {}},
		"a header in both shapes": {
			Options{Allow: []string{"exporters::otlp*::headers::x-tenant"}},
			func(want map[string]any) {
				below(want, "otlp/a", "headers").([]any)[0].(map[string]any)["value"] = "tenant-a"
				below(want, "otlp_http", "headers").(map[string]any)["x-tenant"] = "tenant-b"
			},
		},
		"by index": {
			Options{Allow: []string{"exporters::otlp/a::headers::0::value", "**::tokens::1"}},
			func(want map[string]any) {
				below(want, "otlp/a", "headers").([]any)[0].(map[string]any)["value"] = "tenant-a"
				below(want, "other", "tokens").([]any)[1] = "def"
			},
		},
		"allow shows the value at the path alone": {
			Options{Allow: []string{"exporters::other::tokens", "exporters::other"}},
			func(map[string]any) {},
		},
		"any depth": {
			Options{Allow: []string{"exporters::other::**"}},
			func(want map[string]any) {
				below(want).(map[string]any)["other"] = map[string]any{"token": "abc", "tokens": []any{"abc", "def"}}
			},
		},
		"deny covers what is below, with numbers and booleans": {
			Options{Deny: []string{"exporters::otlp_http::retry"}},
			func(want map[string]any) {
				below(want, "otlp_http").(map[string]any)["retry"] = map[string]any{
					"enabled": Mask, "limit": Mask, "codes": []any{Mask, Mask, nil},
				}
			},
		},
		"deny wins over allow": {
			Options{Allow: []string{"**"}, Deny: []string{"exporters::*::headers::authorization"}},
			func(want map[string]any) {
				below(want).(map[string]any)["otlp/a"] = below(config(), "otlp/a")
				below(want, "otlp/a", "headers").([]any)[1].(map[string]any)["value"] = Mask
				below(want).(map[string]any)["other"] = below(config(), "other")
				below(want, "otlp_http", "headers").(map[string]any)["x-tenant"] = "tenant-b"
			},
		},
		"allow wins over the rules for text": {
			Options{Allow: []string{"exporters::otlp/?::endpoint"}},
			func(want map[string]any) {
				below(want, "otlp/a").(map[string]any)["endpoint"] = "https://bob:hunter22@a.example.com"
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := mustRules(t, Options{}).Config(config(), nil).Config
			tt.want(want)
			assert.Equal(t, want, mustRules(t, tt.options).Config(config(), nil).Config)
		})
	}
}

// below is what an exporter has under keys.
func below(config map[string]any, path ...string) any {
	v := config["exporters"]
	for _, key := range path {
		v = v.(map[string]any)[key]
	}
	return v
}
