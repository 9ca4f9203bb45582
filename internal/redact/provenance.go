// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

// maskProvided masks in an effective string what came from providers. written is the
// same value before references in it were replaced. The literal text around them is
// found again; where it is not, or where more than one place fits, all between is
// masked. Booleans, numbers, durations and words such as debug or gzip stay.
func (sc *scanner) maskProvided(s, written string) string {
	segments := segmentsOf(written)
	prefix, suffix := "", ""
	if n := len(segments); n > 0 && !segments[0].ref {
		prefix, segments = unescape(segments[0].text), segments[1:]
	}
	if n := len(segments); n > 0 && !segments[n-1].ref {
		suffix, segments = unescape(segments[n-1].text), segments[:n-1]
	}
	inner, ok := strings.CutPrefix(s, prefix)
	if ok {
		inner, ok = strings.CutSuffix(inner, suffix)
	}
	if !ok || len(segments) == 0 {
		return sc.hideProvided(s)
	}
	return prefix + sc.maskBetween(inner, segments) + suffix
}

// maskBetween masks in text that begins and ends with what came from a reference.
func (sc *scanner) maskBetween(s string, segments []segment) string {
	var b strings.Builder
	rest := s
	for _, seg := range segments[1:] {
		if seg.ref {
			continue
		}
		literal := unescape(seg.text)
		if strings.Count(rest, literal) != 1 {
			return sc.hideProvided(s)
		}
		part, after, _ := strings.Cut(rest, literal)
		b.WriteString(sc.hideProvided(part))
		b.WriteString(literal)
		rest = after
	}
	b.WriteString(sc.hideProvided(rest))
	return b.String()
}

func (sc *scanner) hideProvided(s string) string {
	if isPlainValue(s) || isIn(settingValues, strings.ToLower(s)) {
		return s
	}
	return sc.hide(s)
}

// unescape turns the text around references into what the Collector makes of it.
func unescape(s string) string { return strings.ReplaceAll(s, "$$", "$") }

// written is what stood in the configuration where a value stands now. The two trees
// are walked side by side: defaults are in the effective one alone, and headers may be
// a map in one and a list of names and values in the other.
type written struct {
	node any
	// section: a reference above brought everything here.
	section bool
}

// at is what stood under a key of a map.
func (w written) at(key string) written {
	switch node := w.node.(type) {
	case map[string]any:
		return written{node: node[key], section: w.section}
	case []any:
		return written{node: valueNamed(node, key), section: w.section}
	default:
		return written{section: w.section}
	}
}

// element is what stood for one element of a list.
func (w written) element(i, length int, element any) written {
	switch node := w.node.(type) {
	case []any:
		if len(node) == length {
			return written{node: node[i], section: w.section}
		}
		return written{section: w.section || holdsRef(node, 0)}
	case map[string]any:
		if m, ok := element.(map[string]any); ok {
			if name, ok := nameOf(m); ok {
				return written{node: map[string]any{"value": node[name]}, section: w.section}
			}
		}
	}
	return written{section: w.section}
}

// opened is what stood where a map or a list stands now: where that is a reference, all
// of it came from there.
func (w written) opened() written {
	if s, ok := w.node.(string); ok && hasRef(s) {
		return written{section: true}
	}
	return w
}

// reference is the text in which references stood in the place of a scalar.
func (w written) reference() (string, bool) {
	s, ok := w.node.(string)
	return s, ok && hasRef(s)
}

func valueNamed(list []any, name string) any {
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			if n, ok := nameOf(m); ok && n == name {
				return m["value"]
			}
		}
	}
	return nil
}

// holdsRef reports whether a reference is anywhere below a node.
func holdsRef(node any, depth int) bool {
	if depth > maxDepth {
		return true
	}
	switch node := node.(type) {
	case string:
		return hasRef(node)
	case []any:
		for _, e := range node {
			if holdsRef(e, depth+1) {
				return true
			}
		}
	case map[string]any:
		for _, e := range node {
			if holdsRef(e, depth+1) {
				return true
			}
		}
	}
	return false
}
