// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"maps"
	"slices"
	"strings"
)

// settle ends a walk. Secrets that could be nothing else are masked wherever else in
// the configuration they stand, for instance in the path of a URL. Of the others, those
// that stand elsewhere in plain sight are words (a database called grafana whose
// password is grafana), and aren't looked for in other text.
func (w *walk) settle(out map[string]any) *Secrets {
	sure, words := newGathering(), map[string]struct{}{}
	for v := range w.sure.known {
		switch {
		case w.isShown(v):
		case isSurelySecret(v):
			sure.keep(v)
		default:
			words[v] = struct{}{}
		}
	}
	if len(sure.known)+len(words) > 0 {
		e := echo{known: sure.secrets(), scan: scanner{rules: w.rules, config: true}, words: words}
		e.mapping(out)
		w.masked += e.masked
	}
	for v := range words {
		sure.keep(v)
	}
	for _, v := range slices.Sorted(maps.Keys(w.provided.known)) {
		if isSurelySecret(v) && !w.isShown(v) {
			sure.keep(v)
		}
	}
	return sure.secrets()
}

// isShown reports whether the user lets a value be seen that has the secret in it.
func (w *walk) isShown(secret string) bool {
	for _, v := range w.allowed {
		if strings.Contains(v, secret) {
			return true
		}
	}
	return false
}

// echo is the second pass over a configuration.
type echo struct {
	known  *Secrets
	scan   scanner
	words  map[string]struct{} // those that are met are removed
	masked int
}

// meet takes what stands in plain sight out of the words.
func (e *echo) meet(s string) {
	if len(s) >= minSecretLength && len(e.words) > 0 {
		delete(e.words, s)
	}
}

// text is a string without what it echoes.
func (e *echo) text(s string) string {
	e.meet(s)
	out := e.known.mask(s)
	if out == s {
		return s
	}
	e.masked++
	return e.scan.text(out)
}

func (e *echo) mapping(m map[string]any) {
	for key, v := range m {
		e.meet(key)
		if s, ok := v.(string); !ok {
			e.below(v)
		} else if out := e.text(s); out != s {
			m[key] = out
		}
	}
}

func (e *echo) list(list []any) {
	for i, v := range list {
		if s, ok := v.(string); !ok {
			e.below(v)
		} else if out := e.text(s); out != s {
			list[i] = out
		}
	}
}

func (e *echo) below(v any) {
	switch v := v.(type) {
	case map[string]any:
		e.mapping(v)
	case []any:
		e.list(v)
	case map[any]any:
		for key, v2 := range v {
			if s, ok := v2.(string); !ok {
				e.below(v2)
			} else if out := e.text(s); out != s {
				v[key] = out
			}
		}
	}
}
