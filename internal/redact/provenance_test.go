// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestValuesFromProviders(t *testing.T) {
	tests := map[string]struct{ written, effective, want string }{
		"whole":                     {"${env:A}", "value", Mask},
		"whole, file":               {"${file:/run/a}", "value", Mask},
		"whole, no scheme":          {"${A}", "value", Mask},
		"whole, any scheme":         {"${x.y+z-1:a}", "value", Mask},
		"whole, default":            {"${env:A:-value}", "value", Mask},
		"nested":                    {"${env:${env:A}}", "value", Mask},
		"boolean":                   {"${env:A}", "true", "true"},
		"number":                    {"${env:A}", "4317", "4317"},
		"long number":               {"${env:A}", "123456789012", Mask},
		"duration":                  {"${env:A}", "1m30s", "1m30s"},
		"word of a setting":         {"${env:A}", "debug", "debug"},
		"empty":                     {"${env:A}", "", ""},
		"masked by the Collector":   {"${env:A}", Mask, Mask},
		"prefix":                    {"https://${env:A}", "https://value", "https://" + Mask},
		"suffix":                    {"${env:A}:4317", "value:4317", Mask + ":4317"},
		"both":                      {"a-${env:A}-b", "a-value-b", "a-" + Mask + "-b"},
		"two":                       {"${env:A}:${env:B}", "value:4317", Mask + ":4317"},
		"two, both text":            {"${env:A}/x/${env:B}", "v/x/w", Mask + "/x/" + Mask},
		"two, no telling which":     {"${env:A}:${env:B}", "a:b:c", Mask},
		"two, nothing between":      {"x${env:A}${env:B}y", "xvaluey", "x" + Mask + "y"},
		"prefix is not there":       {"https://${env:A}", "http://value", Mask},
		"suffix is not there":       {"${env:A}:4317", "value:4318", Mask},
		"prefix and suffix overlap": {"aba${env:A}aba", "aba", Mask},
		"dollar":                    {"$$a${env:A}", "$avalue", "$a" + Mask},
		"escaped":                   {"$${env:A}", "${env:A}", "${env:A}"},
		"escaped twice":             {"$$$${env:A}", "$${env:A}", "$${env:A}"},
		"escaped dollar, reference": {"$$${env:A}", "$value", "$" + Mask},
		"not closed":                {"${env:A", "${env:A", "${env:A"},
		"not closed, closed":        {"${x ${env:A}", "${x value", "${x " + Mask},
		"no reference":              {"value", "value", "value"},
		"password in a url":         {"http://a:${env:A}@b", "http://a:4317@b", "http://a:" + Mask + "@b"},
		"literal secret beside":     {"http://a:bcd@${env:A}", "http://a:bcd@value", "http://a:" + Mask + "@" + Mask},
	}
	mask, keep := mustRules(t, Options{ProviderValues: MaskProviderValues}), mustRules(t, Options{ProviderValues: KeepProviderValues})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			effective, unexpanded := map[string]any{"a": tt.effective}, map[string]any{"a": tt.written}
			assert.Equal(t, tt.want, mask.Config(effective, unexpanded).Config["a"])
			without := mask.Config(effective, nil).Config["a"]
			assert.Equal(t, without, keep.Config(effective, unexpanded).Config["a"])
			if !strings.Contains(tt.effective, "@") {
				assert.Equal(t, tt.effective, without)
			}
		})
	}
}

func TestProvidedValuesAreFoundAgain(t *testing.T) {
	type m = map[string]any
	tests := map[string]struct{ written, effective, want m }{
		"numbers and booleans stay": {
			m{"a": "${env:A}", "b": "${env:B}", "password": "${env:C}"},
			m{"a": 5, "b": true, "password": 5},
			m{"a": 5, "b": true, "password": Mask},
		},
		"defaults are not provided": {m{"a": m{"b": "${env:A}"}}, m{"a": m{"b": "x", "c": "y"}}, m{"a": m{"b": Mask, "c": "y"}}},
		"list": {
			m{"a": []any{"${env:A}", "x"}},
			m{"a": []any{"value", "x"}},
			m{"a": []any{Mask, "x"}},
		},
		"headers, map in one and list in the other": {
			m{"headers": m{"x-scope-orgid": "${env:A}", "accept": "x"}},
			m{"headers": []any{m{"name": "accept", "value": "x"}, m{"name": "x-scope-orgid", "value": "tenant"}}},
			m{"headers": []any{m{"name": "accept", "value": "x"}, m{"name": "x-scope-orgid", "value": Mask}}},
		},
		"headers, list in one and map in the other": {
			m{"headers": []any{m{"name": "x-scope-orgid", "value": "${env:A}"}, "x"}},
			m{"headers": m{"accept": "x", "x-scope-orgid": "tenant"}},
			m{"headers": m{"accept": "x", "x-scope-orgid": Mask}},
		},
		"list of another length": {
			m{"a": []any{"${env:A}"}},
			m{"a": []any{"word", "aB3dE5gH7j", "host-1.example.com:4317"}},
			m{"a": []any{"word", Mask, "host-1.example.com:4317"}},
		},
		"list of another length, nothing provided": {
			m{"a": []any{"x"}},
			m{"a": []any{"word", "aB3dE5gH7j"}},
			m{"a": []any{"word", "aB3dE5gH7j"}},
		},
		"a whole section": {
			m{"a": "${file:a.yaml}"},
			m{"a": m{"endpoint": "https://a.example.com:4317/v1", "x": "aB3dE5gH7j", "n": 5, "l": []any{"host", "9sd8f7sdf6sd5"}, "path": "/var/lib/a1"}},
			m{"a": m{"endpoint": "https://a.example.com:4317/v1", "x": Mask, "n": 5, "l": []any{"host", Mask}, "path": "/var/lib/a1"}},
		},
		"a map beside text": {
			m{"a": "x"},
			m{"a": m{"b": "aB3dE5gH7j"}},
			m{"a": m{"b": "aB3dE5gH7j"}},
		},
	}
	rules := mustRules(t, Options{})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, rules.Config(tt.effective, tt.written).Config)
		})
	}
}

func TestRaw(t *testing.T) {
	type m = map[string]any
	tests := map[string]struct {
		in, want m
		env      []string
	}{
		"references stay": {
			m{"password": "${env:A}", "x": "${B}", "file": "${file:/run/a}", "headers": m{"x": "Bearer ${env:C}"}},
			m{"password": "${env:A}", "x": "${B}", "file": "${file:/run/a}", "headers": m{"x": "Bearer ${env:C}"}},
			[]string{"A", "C"},
		},
		"text around them follows the rules": {
			m{"token": "a${env:A}b", "x": "a${env:B}b", "url": "http://u:${env:C}@h", "url2": "http://u:p${env:D}@h?token=${env:E}&x=${env:F}"},
			m{"token": Mask + "${env:A}" + Mask, "x": "a${env:B}b", "url": "http://u:${env:C}@h", "url2": "http://u:" + Mask + "${env:D}@h?token=${env:E}&x=${env:F}"},
			[]string{"A", "C", "D", "E"},
		},
		"defaults": {
			m{"a": "${env:A:-value}", "b": "${env:B:-4317}", "c": "${env:C:-debug}", "d": "${env:D:-}", "e": "${E:-value}", "pin": "${env:F:-4317}", "g": "${env:G:-${env:H}}", "h": "${env:H:-${env:I:-value}}"},
			m{"a": "${env:A:-" + Mask + "}", "b": "${env:B:-4317}", "c": "${env:C:-debug}", "d": "${env:D:-}", "e": "${E:-" + Mask + "}", "pin": "${env:F:-" + Mask + "}", "g": "${env:G:-${env:H}}", "h": "${env:H:-${env:I:-" + Mask + "}}"},
			[]string{"F"},
		},
		"what references hold": {
			m{"a": "${https://u:hunter2@h/c.yaml}", "token": "${yaml:abc}", "b": "${yaml:abc}", "c": "${yaml:http://u:hunter2@h}", "password": "${vault:secret/otel#token}"},
			m{"a": "${https://u:" + Mask + "@h/c.yaml}", "token": "${yaml:" + Mask + "}", "b": "${yaml:abc}", "c": "${yaml:http://u:" + Mask + "@h}", "password": "${vault:secret/otel#token}"},
			nil,
		},
		"escaped": {
			m{"a": "$${env:A}", "token": "$${env:A}", "b": "$$"},
			m{"a": "$${env:A}", "token": Mask, "b": "$$"},
			nil,
		},
		"pairs and embedded text": {
			m{"dsn": "host=a password=${env:A}", "text": "password: ${env:B}\nx: ${env:C}\ntoken: abc\n"},
			m{"dsn": "host=a password=${env:A}", "text": "password: ${env:B}\nx: ${env:C}\ntoken: \"" + Mask + "\"\n"},
			[]string{"A", "B"},
		},
		"private characters": {
			m{"a": "\uE000${env:A}", "b": "\uE000"},
			m{"a": Mask, "b": "\uE000"},
			nil,
		},
		"many": {
			m{"a": strings.Repeat("${A}", maxRefs), "b": strings.Repeat("${A}", maxRefs+1)},
			m{"a": strings.Repeat("${A}", maxRefs), "b": Mask},
			nil,
		},
		"names that no environment has": {m{"token": "${a b}", "pwd": "${env:1}"}, m{"token": "${a b}", "pwd": "${env:1}"}, nil},
	}
	rules := mustRules(t, Options{})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out := rules.Raw(tt.in)
			assert.Equal(t, tt.want, out.Config)
			assert.Equal(t, tt.env, out.SecretEnv)
		})
	}
}
