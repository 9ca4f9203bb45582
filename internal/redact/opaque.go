// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

// secretsIn are the secrets of a configuration that is neither YAML nor JSON, as far as names, as lines such as
// "Passwd hunter2" and as the look of a word tell them. It is masked as a whole; they are for the errors in which they
// come back.
func (r *Rules) secretsIn(s string) *Secrets {
	g := newGathering()
	sc := scanner{rules: r, config: true, names: map[string]meaning{}, found: g.add}
	sc.text(s)
	for line := range strings.Lines(s) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && allOf(name, nameChar) {
			sc.text(name + ": " + strings.TrimSpace(value))
		}
	}
	for word := range strings.FieldsFuncSeq(s, endsWord) {
		if !isStructural(word) {
			g.add(word)
		}
	}
	return g.secrets()
}

// endsWord reports whether r is what stands around a value in any format.
func endsWord(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("\"'`,;:=<>()[]{}", r)
}
