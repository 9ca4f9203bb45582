// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode 你好 שלום": "plain ünïcode 你好 שלום",
		"line\nand\ttab":        "line\nand\ttab",
		"\x00\x1b[31m\x7f":      "␀␛[31m␡",
		"\u0085\u009b":          "\uFFFD\uFFFD",
		"a\u202eb\u2066c\u200f": "a\uFFFDb\uFFFDc\uFFFD",
		"carriage\rreturn":      "carriage␍return",
		"zero width\u200djoins": "zero width\u200djoins",
	} {
		assert.Equal(t, want, clean(in))
	}
}

func TestShort(t *testing.T) {
	assert.Equal(t, "äöü", short("äöü", 3))
	assert.Equal(t, "äö…", short("äöü", 2))
	assert.Empty(t, short("", 0))
}

func TestTimesInWords(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for d, want := range map[time.Duration][2]string{
		-time.Hour:                     {"just now", "for a moment"},
		0:                              {"just now", "for a moment"},
		5 * time.Second:                {"5 s ago", "for 5 s"},
		59900 * time.Millisecond:       {"59 s ago", "for 59 s"},
		time.Minute:                    {"1 min ago", "for 1 min"},
		time.Hour - 1:                  {"59 min ago", "for 59 min"},
		time.Hour:                      {"1 h ago", "for 1 h"},
		48*time.Hour - time.Nanosecond: {"47 h ago", "for 47 h"},
		48 * time.Hour:                 {"2 days ago", "for 2 days"},
		2000 * time.Hour:               {"83 days ago", "for 83 days"},
	} {
		assert.Equal(t, want[0], ago(now.Add(-d), now).Words)
		assert.Equal(t, want[1], lasts(now.Add(-d), now).Words)
	}
	m := ago(now.In(time.FixedZone("x", 3600)), now)
	assert.Equal(t, "2026-05-06T07:08:09Z", m.Machine)
	assert.Equal(t, "2026-05-06 07:08:09 UTC", m.Full)
	assert.Zero(t, ago(time.Time{}, now))
}
