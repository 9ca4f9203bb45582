// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

// Text masks the secrets in a text that a program wrote: an error, a health
// attribute, a log field, a value of a description. It knows them by their shape
// and by the names before them, and those of known, which may be nil, wherever they
// come back. Random text with no such sign stays, for texts are full of identifiers.
func (r *Rules) Text(s string, known *Secrets) string {
	sc := scanner{rules: r}
	return settled(s, func(s string) string { return sc.text(known.maskEnd(known.mask(s))) })
}

// maxPasses bounds how often a text is looked at: what was masked may have stood in the
// way of something else.
const maxPasses = 8

// settled applies a step until it changes nothing.
func settled(s string, step func(string) string) string {
	for range maxPasses {
		out := step(s)
		if out == s {
			break
		}
		s = out
	}
	return s
}

// scanner finds secrets by shape within one text.
type scanner struct {
	rules *Rules
	// config: the text is one whole value of a configuration.
	config bool
	// refs are the provider references that were put out of sight, see [hideRefs].
	refs *hiddenRefs
	// found is told every masked part; nil when nobody asks.
	found func(secret string)
	// names remembers what names mean; nil where that doesn't pay.
	names map[string]meaning
}

// maxNames bounds what a scanner remembers.
const maxNames = 10000

// meaningOf is what the rules say of a name below parent.
func (sc *scanner) meaningOf(name, parent string) meaning {
	if n := len(name); n <= len("keys") && (strings.EqualFold(name, "key") || strings.EqualFold(name, "keys")) {
		return sc.rules.meaningOf(name, parent) // this name depends on its parent's
	}
	if m, ok := sc.names[name]; ok {
		return m
	}
	m := sc.rules.meaningOf(name, parent)
	if sc.names != nil && len(sc.names) < maxNames {
		sc.names[name] = m
	}
	return m
}

// hide is what stands in the place of a secret. References to providers in it stay,
// with the punctuation and the scheme around them; so does what was masked before.
func (sc *scanner) hide(s string) string {
	if s == Mask || s == "" {
		return s
	}
	if sc.refs == nil || !sc.refs.within(s) {
		if sc.found != nil {
			sc.found(s)
		}
		return Mask
	}
	return sc.refs.hideAround(s, sc.found)
}

// text masks within a text of any length, in time that grows with its length alone.
// Each step looks first for a character without which it has nothing to do.
func (sc *scanner) text(s string) string {
	return settled(s, sc.pass)
}

func (sc *scanner) pass(s string) string {
	if len(s) < minSecretLength {
		return s
	}
	if strings.Contains(s, "-----BEGIN ") {
		s = sc.privateKeys(s)
	}
	colon, equals := strings.IndexByte(s, ':') >= 0, strings.IndexByte(s, '=') >= 0
	if strings.IndexByte(s, '%') >= 0 {
		s = sc.escaped(s)
	}
	if colon && strings.Contains(s, "://") {
		s = sc.urls(s)
	}
	if strings.Contains(s, invalidPort) {
		s = sc.invalidPorts(s)
	}
	if colon && strings.IndexByte(s, '@') >= 0 || strings.IndexByte(s, '@') > strings.IndexByte(s, '/') {
		s = sc.userinfos(s)
	}
	if strings.IndexByte(s, ' ') >= 0 {
		s = sc.schemes(s)
	}
	if len(s) >= minTokenLength {
		s = sc.tokens(s)
	}
	if colon || equals {
		s = sc.pairs(s)
	}
	if strings.IndexByte(s, '-') >= 0 && strings.IndexByte(s, ' ') >= 0 {
		s = sc.flags(s)
	}
	if strings.Contains(s, "</") {
		s = sc.elements(s)
	}
	if equals && strings.IndexByte(s, '<') >= 0 {
		s = sc.attributes(s)
	}
	if strings.Contains(s, ` "`) || strings.Contains(s, " '") {
		s = sc.quoted(s)
	}
	if strings.Contains(s, `"]`) || strings.Contains(s, `']`) {
		s = sc.indexed(s)
	}
	return s
}

// isSpace reports whether a byte is white space or a control character.
func isSpace(b byte) bool { return b <= ' ' || b == 0x7f }

func isQuote(b byte) bool { return b == '"' || b == '\'' || b == '`' }

// wordEnd is the end of what begins at i and has neither white space nor quotes.
func wordEnd(s string, i int) int {
	for i < len(s) && !isSpace(s[i]) && !isQuote(s[i]) {
		i++
	}
	return i
}
