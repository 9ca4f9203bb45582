// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"strings"
	"unicode"
)

// clean makes a foreign text harmless to look at: control characters show as their pictures, and characters that turn
// the direction of the text around as a box. It keeps newlines and tabs.
func clean(s string) string {
	if strings.IndexFunc(s, isUnseen) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case !isUnseen(r):
			return r
		case r < ' ':
			return r + '\u2400' // control pictures, in the order of the controls
		case r == '\u007f':
			return '\u2421'
		default:
			return '\uFFFD'
		}
	}, s)
}

func isUnseen(r rune) bool {
	switch r {
	case '\n', '\t':
		return false
	case '\u200e', '\u200f', '\u061c', '\u202a', '\u202b', '\u202c', '\u202d', '\u202e',
		'\u2066', '\u2067', '\u2068', '\u2069':
		return true
	}
	return unicode.IsControl(r)
}

// short is the beginning of a long text, for where the whole has no room.
func short(s string, runes int) string {
	n := 0
	for i := range s {
		if n == runes {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// oneLine folds a text into one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
