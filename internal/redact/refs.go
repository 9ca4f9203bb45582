// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"unicode/utf8"
)

// The Collector replaces ${scheme:value}, and ${NAME} for an environment variable,
// before it uses a configuration; $${ stays as ${. See the confmap package of the
// Collector, expand.go.
const (
	refBegin = "${"
	refEnd   = "}"

	// firstRef is the first of the private characters that stand for references
	// while the text around them is scanned.
	firstRef = '\uE000'
	maxRefs  = 0x1000 // references in one value
)

// segment is a part of a value: text, or a reference with its braces.
type segment struct {
	text string
	ref  bool
}

// hasRef reports whether a value has a reference.
func hasRef(s string) bool {
	i := strings.Index(s, refBegin)
	return i >= 0 && strings.Contains(s[i:], refEnd) && len(refsIn(s)) > 0
}

// segmentsOf splits a value at its references. $$ stands for $ in the text between.
func segmentsOf(s string) []segment {
	var out []segment
	text := 0
	for _, ref := range refsIn(s) {
		out = appendText(out, s[text:ref.from])
		out = append(out, segment{text: s[ref.from:ref.to], ref: true})
		text = ref.to
	}
	return appendText(out, s[text:])
}

func appendText(out []segment, s string) []segment {
	if s == "" {
		return out
	}
	return append(out, segment{text: s})
}

type span struct{ from, to int }

// refsIn finds the references of a value from left to right. One within another
// belongs to the outer one; what is opened and never closed is text.
func refsIn(s string) []span {
	var open []int
	var found []span
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '}' && len(open) > 0:
			ref := span{open[len(open)-1], i + 1}
			open = open[:len(open)-1]
			for len(found) > 0 && found[len(found)-1].from > ref.from {
				found = found[:len(found)-1]
			}
			found = append(found, ref)
		case s[i] != '$' || i+1 == len(s):
		case s[i+1] == '$':
			i++
		case s[i+1] == '{':
			open = append(open, i)
			i++
		}
	}
	return found
}

// hiddenRefs are the references of one value while they are out of sight.
type hiddenRefs struct {
	refs   []string
	secret []bool // stood where a secret stands
}

// hideRefs puts one private character in the place of each reference, so that what
// follows takes it for text of unknown content. ok is false where that can't be done:
// the value has such characters already, or too many references.
func hideRefs(s string) (out string, refs *hiddenRefs, ok bool) {
	for _, r := range s {
		if r >= firstRef && r < firstRef+maxRefs {
			return "", nil, false
		}
	}
	h := &hiddenRefs{}
	var b strings.Builder
	for _, seg := range segmentsOf(s) {
		if !seg.ref {
			b.WriteString(seg.text)
			continue
		}
		if len(h.refs) == maxRefs {
			return "", nil, false
		}
		b.WriteRune(firstRef + rune(len(h.refs)))
		h.refs = append(h.refs, seg.text)
	}
	h.secret = make([]bool, len(h.refs))
	return b.String(), h, true
}

func (h *hiddenRefs) number(r rune) (int, bool) {
	n := int(r - firstRef)
	return n, n >= 0 && n < len(h.refs)
}

// within reports whether s has a reference.
func (h *hiddenRefs) within(s string) bool {
	for _, r := range s {
		if _, ok := h.number(r); ok {
			return true
		}
	}
	return false
}

// only reports whether s is nothing but references.
func (h *hiddenRefs) only(s string) bool {
	for _, r := range s {
		if _, ok := h.number(r); !ok {
			return false
		}
	}
	return s != ""
}

// hideAround masks the text between the references of a secret, and notes that they
// stand for one. Punctuation and the scheme of an Authorization header stay.
func (h *hiddenRefs) hideAround(s string, found func(string)) string {
	var b strings.Builder
	flush := func(text string) {
		if text == "" || text == Mask || isFrame(text) {
			b.WriteString(text)
			return
		}
		if found != nil {
			found(text)
		}
		b.WriteString(Mask)
	}
	from := 0
	for i, r := range s {
		n, ok := h.number(r)
		if !ok {
			continue
		}
		h.secret[n] = true
		flush(s[from:i])
		from = i + utf8.RuneLen(r)
		b.WriteString(s[i:from])
	}
	flush(s[from:])
	return b.String()
}

// isFrame reports whether text between references tells nothing: punctuation, or the
// name of an authentication scheme.
func isFrame(s string) bool {
	word := strings.ToLower(strings.Trim(s, " \t\r\n:@-_/.,;=|+"))
	return word == "" || isIn(authSchemes, word)
}

// restore puts the references back, each as show returns it.
func (h *hiddenRefs) restore(s string, show func(ref string, secret bool) string) string {
	r := rewriter{src: s}
	for i, c := range s {
		if n, ok := h.number(c); ok {
			r.replace(i, i+utf8.RuneLen(c), show(h.refs[n], h.secret[n]))
		}
	}
	return r.String()
}

// splitRef is the scheme of a reference and what it asks that provider for. Without a
// scheme it is the environment's.
func splitRef(ref string) (scheme, value string) {
	inner := strings.TrimSuffix(strings.TrimPrefix(ref, refBegin), refEnd)
	scheme, value, ok := strings.Cut(inner, ":")
	if !ok || strings.HasPrefix(value, "-") || !isScheme(scheme) {
		return "env", inner
	}
	return scheme, value
}

func isScheme(s string) bool {
	for i := range len(s) {
		if !isClass(s[i], alnum|dot) && s[i] != '+' && s[i] != '-' {
			return false
		}
	}
	return s != "" && isClass(s[0], letter)
}
