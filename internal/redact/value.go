// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

// string masks a string at its place.
func (w *walk) string(s string, from written, p place) string {
	switch {
	case s == "" || s == Mask:
		return s
	case !p.denied && w.isAllowed():
		w.allowed = append(w.allowed, s)
		return s
	}
	out := s
	if w.raw {
		out = w.rawString(s, p)
	} else {
		out = w.providedString(s, from, p)
	}
	if out != s {
		w.masked++
	}
	return out
}

// providedString masks what came from a provider, and then as the rules say.
func (w *walk) providedString(s string, from written, p place) string {
	reference, ok := from.reference()
	if ok && !w.isSecretScalar(p) {
		w.scan.found = w.provided.add
		s = w.scan.maskProvided(s, reference)
		w.scan.found = w.sure.add
	}
	s = w.ruled(s, p)
	if from.section && !isStructural(strings.ReplaceAll(s, Mask, "")) && !isSSHPublicKey(s) {
		w.provided.add(s)
		return Mask
	}
	return s
}

// rawString masks around references and within them.
func (w *walk) rawString(s string, p place) string {
	if w.scan.refs != nil || !hasRef(s) {
		return w.ruled(s, p)
	}
	hidden, refs, ok := hideRefs(s)
	if !ok {
		return Mask
	}
	w.scan.refs = refs
	out := w.ruled(hidden, p)
	w.scan.refs = nil
	return refs.restore(out, w.showRef)
}

// showRef is a reference without the default in it, which is as secret as any value.
func (w *walk) showRef(ref string, secret bool) string {
	scheme, value := splitRef(ref)
	head := ref[:len(ref)-len(value)-len(refEnd)]
	switch {
	case scheme == "env":
		name, fallback, ok := strings.Cut(value, ":-")
		if secret && isEnvName(name) {
			w.env[name] = struct{}{}
		}
		if ok {
			return head + name + ":-" + w.showDefault(fallback, secret) + refEnd
		}
		return ref
	case scheme == "yaml" && secret:
		return head + w.scan.hide(value) + refEnd // it holds the value itself
	case scheme == "yaml":
		return head + w.ruled(value, place{}) + refEnd
	case strings.Contains(ref, schemeSeparator):
		return w.scan.urls(ref)
	default:
		return ref
	}
}

func (w *walk) showDefault(s string, secret bool) string {
	if !secret && (isPlainValue(s) || isIn(settingValues, strings.ToLower(s))) || s == "" {
		return s
	}
	segments := segmentsOf(s)
	var b strings.Builder
	for _, seg := range segments {
		if !seg.ref {
			return w.scan.hide(s)
		}
		b.WriteString(w.showRef(seg.text, secret))
	}
	return b.String()
}

func isEnvName(s string) bool {
	return allOf(s, alnum|joiner) && !isClass(s[0], digit) && !strings.Contains(s, "-")
}

// ruled applies the rules for the place and then those for the text.
func (w *walk) ruled(s string, p place) string {
	if p.denied {
		return w.scan.hide(s)
	}
	if w.isSecretScalar(p) {
		if isNoSecret(s, p.meaning) {
			return w.scanned(s, p)
		}
		return w.scan.hide(s)
	}
	switch p.meaning.kind {
	case kindMaybe:
		if len(s) > 3 && !isPlainValue(s) && !isIdentifier(s) && !saysNothing(s) && !isURL(s) {
			return w.scan.hide(s)
		}
	case kindConnection:
		return w.connection(s, p)
	case kindWebhook:
		return w.webhook(s, p)
	case kindHeader, kindHeaders:
		return w.headerLines(s, p)
	}
	return w.scanned(s, p)
}

// isNoSecret reports whether a string is none although its name promises one.
func isNoSecret(s string, m meaning) bool {
	switch s {
	case "", "true", "false":
		return true
	}
	return m.plural && isPlainValue(s) || m.path && looksLikePath(s)
}

// connection masks the secret parts of a connection string. One that can't be taken
// apart is masked as a whole.
func (w *walk) connection(s string, p place) string {
	out := w.scanned(s, p)
	if out != s || isStructural(s) && !strings.Contains(s, "@") || strings.Contains(s, Mask) {
		return out
	}
	if strings.Contains(s, schemeSeparator) && isStructural(s) {
		return out // a URL whose user is a name
	}
	return w.scan.hide(s)
}

// webhook leaves of a URL whom it calls.
func (w *walk) webhook(s string, p place) string {
	scheme, rest, ok := strings.Cut(s, schemeSeparator)
	switch {
	case ok:
		path := strings.IndexAny(rest, "/?#")
		if path < 0 {
			return w.scanned(s, p)
		}
		host := w.scan.urls(scheme + schemeSeparator + rest[:path])
		if rest[path+1:] == "" {
			return host + rest[path:]
		}
		return host + rest[path:path+1] + w.scan.hide(rest[path+1:])
	case strings.HasPrefix(s, "/"), isIdentifier(s), isPlainValue(s):
		return w.scanned(s, p) // where a receiver listens
	default:
		return w.scan.hide(s)
	}
}

// headerLines masks the values in headers that are written as text: "a: b", "a=b,c=d".
// A list of names has no values.
func (w *walk) headerLines(s string, p place) string {
	if isProvenPattern(s) || !strings.ContainsAny(s, ":=") {
		return w.scanned(s, p)
	}
	r := rewriter{src: s}
	from, name := -1, ""
	flush := func(end int) {
		if from < 0 || from >= end || w.headerMeaning(name).kind == kindPlain {
			return
		}
		if v := s[from:end]; !saysNothing(v) {
			r.replace(from, end, w.scan.hide(v))
		}
	}
	for start := 0; start <= len(s); {
		end := len(s)
		if i := strings.IndexAny(s[start:], ",\n"); i >= 0 {
			end = start + i
		}
		if sep := headerSeparator(s[start:end]); sep > 0 {
			flush(max(start-1, 0))
			name = strings.TrimSpace(s[start : start+sep])
			from = start + sep + 1
			for from < end && s[from] == ' ' {
				from++
			}
		}
		start = end + 1
	}
	flush(len(s))
	return w.scanned(r.String(), p)
}

// headerSeparator is where the name of a header ends in "name: value", or -1.
func headerSeparator(s string) int {
	sep := strings.IndexAny(s, ":=")
	if sep <= 0 || !allOf(strings.TrimSpace(s[:sep]), nameChar) {
		return -1
	}
	return sep
}

// isProvenPattern reports whether s is a regular expression, as receivers take them to
// tell which headers to keep.
func isProvenPattern(s string) bool {
	return strings.HasPrefix(s, "^") || strings.HasSuffix(s, "$") || strings.Contains(s, ".*")
}

// scanned masks by what a text itself shows.
func (w *walk) scanned(s string, p place) string {
	plain := len(s) < minTokenLength || p.meaning.identifier && !p.vault
	return settled(s, func(s string) string {
		s = w.scan.pass(w.embeddedConfig(s, p))
		if plain {
			return s
		}
		return w.scan.random(s, p.meaning.digest)
	})
}

// random masks text that reads like key material: a whole value, or a long word in it.
// digest: hexadecimal text is a hash here.
func (sc *scanner) random(s string, digest bool) string {
	if trimmed := strings.TrimSpace(s); allOf(trimmed, nameChar|base64Mark) {
		if looksRandom(trimmed) && !(digest && textureOf(trimmed).hex) {
			return sc.hide(s)
		}
		return s
	}
	if len(s) < minRandomHex || strings.Contains(s, pemBegin) || isSSHPublicKey(s) {
		return s
	}
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		end := runEnd(s, i, nameChar|base64Mark)
		if end-i >= minRandomHex && classesOf(s[i:end])&alnum == alnum && looksRandom(s[i:end]) && !isSSHPublicKey(s[i:end]) {
			r.replace(i, end, sc.hide(s[i:end]))
		}
		i = max(end, i+1)
	}
	return r.String()
}
