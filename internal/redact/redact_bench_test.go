// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// largeConfig is the corpus over and over, until its YAML has size bytes.
func largeConfig(b *testing.B, size int) map[string]any {
	b.Helper()
	names, out := corpusFiles(b), map[string]any{}
	for n, bytes := 0, 0; bytes < size; n++ {
		tree := readYAML(b, names[n%len(names)])
		newPlanter().tree("", tree)
		for section, components := range tree {
			below, _ := out[section].(map[string]any)
			if below == nil {
				below = map[string]any{}
				out[section] = below
			}
			for id, c := range components.(map[string]any) {
				below[fmt.Sprintf("%s/%d", id, n)] = c
			}
		}
		text, err := yaml.Marshal(tree)
		if err != nil {
			b.Fatal(err)
		}
		bytes += len(text)
	}
	return out
}

func BenchmarkConfig100KiB(b *testing.B) {
	rules := mustRules(b, Options{})
	config := largeConfig(b, 100<<10)
	text, _ := yaml.Marshal(config)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	b.ResetTimer()
	masked := 0
	for b.Loop() {
		masked = rules.Config(config, nil).Masked
	}
	b.ReportMetric(float64(masked), "masked")
}

func BenchmarkConfig100KiBWithPaths(b *testing.B) {
	rules := mustRules(b, Options{Allow: []string{"exporters::otlp*::headers::x-tenant", "**::tenant"}, Deny: []string{"receivers::*::**::hosts"}})
	config := largeConfig(b, 100<<10)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		rules.Config(config, nil)
	}
}

func BenchmarkText(b *testing.B) {
	rules := mustRules(b, Options{})
	known := rules.Config(largeConfig(b, 100<<10), nil).Secrets
	text := `Exporting failed. Permanent error: Post "https://otlp.example.com:4318/v1/traces": dial tcp 10.0.0.1:4318: connect: connection refused`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		rules.Text(text, known)
	}
}

// BenchmarkText1MiB is text that each step has to look at again and again.
func BenchmarkText1MiB(b *testing.B) {
	rules := mustRules(b, Options{})
	for _, unit := range hostileUnits {
		text := strings.Repeat(unit, 1<<20/len(unit))
		b.Run(fmt.Sprintf("%.20q", unit), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				rules.Text(text, nil)
			}
		})
	}
}

var hostileUnits = []string{
	"%3Da", " value=\"", "mysql -p1 ", "token \"aB3x9\" ",
	"a", " ", "@", "a@", "a:b@c ", "://", "a://", "http://a:b@", "token=", "token:", "token=x ", ";token=x ", "auth=", "token=<", "token=(.*",
	"token:{", "token:[REDACTED]@", `"token":"`, "password='", `password=\"`, "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJ ", "sk-",
	"LS0tLS1CRUdJTi/", "Bearer ", "--token ", "-u a:b ", `["token"]`, "<token>", "<a></", "a: |\n ", "token: |\n", "1234567890:", "ab8Q~", "A", "aB3", "\n", "$", "${",
	"${env:A}", "[REDACTED]", "private_key=/etc/", "?a=b&", "password: x\n", "token=x\n", "cookie: is ", "token={", "auth='", "auth=\"a ", "token=,", "a,b=",
	"\xff", "é", "\uE000",
}
