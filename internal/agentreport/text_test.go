// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestClip(t *testing.T) {
	for name, tc := range map[string]struct {
		in    string
		limit int
		want  string
	}{
		"short":                    {"connection refused", 64, "connection refused"},
		"exactly the limit":        {"12345678", 8, "12345678"},
		"one over":                 {"123456789", 8, "12345…"},
		"cut between runes":        {"aüüüüüü", 8, "aüü…"},
		"invalid bytes":            {"a\xff\xfeb", 64, "a\uFFFDb"},
		"invalid past the limit":   {"12345678\xff", 8, "12345…"},
		"invalid that grows":       {"\xffa\xffa\xffa\xffa", 8, "\uFFFDa…"},
		"only continuation bytes":  {strings.Repeat("\x80", 100), 8, "\uFFFD"},
		"a rune astride the limit": {"1234567😀", 8, "12345…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := clip(tc.in, tc.limit)
			require.Equal(t, tc.want, got)
			require.LessOrEqual(t, len(got), tc.limit)
		})
	}
}

func FuzzClip(f *testing.F) {
	f.Add("dial tcp 127.0.0.1:4317: connect: connection refused", 16)
	f.Add("\xff\xfe\xfd", 8)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 8 + limit&0xfff
		got := clip(s, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("clip(%q, %d) = %q", s, limit, got)
		}
		if len(s) <= limit && utf8.ValidString(s) && got != s {
			t.Errorf("clip(%q, %d) changed a text that fits: %q", s, limit, got)
		}
	})
}
