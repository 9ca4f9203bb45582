// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// spell writes a line with its classes: k{key} and so on.
func spell(l line) string {
	var b strings.Builder
	for _, t := range l {
		if t.Class == "" {
			b.WriteString(t.Text)
		} else {
			b.WriteString(t.Class + "{" + t.Text + "}")
		}
	}
	return b.String()
}

func TestHighlight(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"receivers:":                        "k{receivers}p{:}",
		"  otlp/2: # two":                   "  k{otlp/2}p{:}c{ # two}",
		"endpoint: 127.0.0.1:4317":          "k{endpoint}p{:} s{127.0.0.1:4317}",
		"  - otlp":                          "  - s{otlp}",
		"- - 1":                             "- - n{1}",
		"- key: v":                          "- k{key}p{:} s{v}",
		"-":                                 "-",
		"# only this":                       "c{# only this}",
		"enabled: true":                     "k{enabled}p{:} n{true}",
		"n: -1.5e3":                         "k{n}p{:} n{-1.5e3}",
		"timeout: 10s":                      "k{timeout}p{:} s{10s}",
		`"quoted key": 'x # y'`:             `k{"quoted key"}p{:} s{'x # y'}`,
		"password: '[REDACTED]'":            "k{password}p{:} r{'[REDACTED]'}",
		"list: []":                          "k{list}p{:} n{[]}",
		"http://host:80/path":               "s{http://host:80/path}",
		"text without a key":                "s{text without a key}",
		"\tbell\a: \x1b[31m":                "\tk{bell␇}p{:} s{␛[31m}",
		"a: b\r":                            "k{a}p{:} s{b}",
		"evil: \u202egnp.exe":               "k{evil}p{:} s{\uFFFDgnp.exe}",
		"extensions: [opamp, opamp_server]": "k{extensions}p{:} s{[opamp, opamp_server]}",
	} {
		lines, more := highlight(in + "\n")
		assert.Zero(t, more)
		assert.Len(t, lines, 1)
		assert.Equal(t, want, spell(lines[0]), in)
	}
	lines, more := highlight(strings.Repeat("a: 1\n", maxLines+7))
	assert.Len(t, lines, maxLines)
	assert.Equal(t, 7, more)
}

// FuzzHighlight holds that colouring a line neither adds to it nor takes from it.
func FuzzHighlight(f *testing.F) {
	for _, s := range []string{"a: b # c", "- - -", `"x": 'y'`, "# #", ":::", "- a:b: c", "?\t: "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s, _, _ = strings.Cut(s, "\n")
		var got strings.Builder
		for _, tok := range highlightLine(s) {
			got.WriteString(tok.Text)
		}
		assert.Equal(t, s, got.String())
	})
}
