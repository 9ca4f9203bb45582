// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"net/url"
	"strings"
)

// quoted masks what stands in quotes behind the name of a secret, as programs say it:
// bad password "x", invalid token 'y'. A word in them is none.
func (sc *scanner) quoted(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		space := strings.IndexByte(s[i:], ' ')
		if space < 0 || i+space+1 >= len(s) {
			break
		}
		space += i
		i = space + 1
		if !isQuote(s[i]) || space == 0 || !isClass(s[space-1], alnum) {
			continue
		}
		from := wordStart(s, space)
		if strings.EqualFold(s[from:space], "key") && from > 0 && s[from-1] == ' ' {
			from = wordStart(s, from-1) // an api key
		}
		end := closingQuote(s, i, false)
		value := s[i+1 : max(end, i+1)]
		if sc.meaningOf(s[from:space], "").kind == kindSecret && isTokenLike(value) && !isIdentifier(value) &&
			!strings.ContainsAny(value, " /") && !saysNothing(value) {
			r.replace(i+1, end, sc.hide(value))
		}
		i = max(end, i)
	}
	return r.String()
}

// wordStart is where the name begins that ends at i.
func wordStart(s string, i int) int {
	from := i
	for from > 0 && i-from < maxPairName && isClass(s[from-1], nameChar) {
		from--
	}
	return from
}

// invalidPort is how package net/url speaks of a password that holds what should have
// been escaped in it, and which it therefore takes for a port.
const invalidPort = `invalid port ":`

func (sc *scanner) invalidPorts(s string) string {
	r := rewriter{src: s}
	for i := 0; ; {
		n := strings.Index(s[i:], invalidPort)
		if n < 0 {
			return r.String()
		}
		from := i + n + len(invalidPort)
		end := closingQuote(s, from-len(`":`), false)
		if end > from && !isNumber(s[from:end]) {
			r.replace(from, end, sc.hide(s[from:end]))
		}
		i = max(from, end)
	}
}

// escaped masks within words that are escaped as parts of a URL are. What holds a secret
// is shown unescaped, since where it was cannot be told any more.
func (sc *scanner) escaped(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		percent := strings.IndexByte(s[i:], '%')
		if percent < 0 {
			break
		}
		from, end := i+percent, i+percent
		for from > i && !isSpace(s[from-1]) && !isQuote(s[from-1]) && s[from-1] != '=' {
			from--
		}
		for end < len(s) && !isSpace(s[end]) && !isQuote(s[end]) && s[end] != '&' {
			end++
		}
		i = end
		word := s[from:end]
		if len(word) > maxTalk || !isEscapedPair(word) {
			continue
		}
		if masked := sc.unescaped(word); masked != word {
			r.replace(from, end, masked)
		}
	}
	return r.String()
}

// maxEscapes is how often what is escaped may be escaped again to be looked into.
const maxEscapes = 3

// unescaped is a word without its secrets, or as it was where it has none.
func (sc *scanner) unescaped(word string) string {
	plain := word
	for range maxEscapes {
		next, err := url.QueryUnescape(plain)
		if err != nil {
			return word
		}
		if plain = next; !isEscapedPair(plain) {
			break
		}
	}
	if isEscapedPair(plain) {
		return sc.hide(word)
	}
	if masked := sc.pass(plain); masked != plain {
		return masked
	}
	return word
}

// isEscapedPair reports whether = or :// is escaped in a word, or escaped in what is.
func isEscapedPair(s string) bool {
	for range maxEscapes {
		s = strings.ReplaceAll(s, "%25", "%")
	}
	return strings.Contains(s, "%3D") || strings.Contains(s, "%3d") ||
		strings.Contains(s, "%3A%2F%2F") || strings.Contains(s, "%3a%2f%2f")
}

// attributes masks in XML the value that stands beside the name of a secret:
// <property name="password" value="x"/>.
func (sc *scanner) attributes(s string) string {
	r := rewriter{src: s}
	const valueAttribute = ` value=`
	for i := 0; ; {
		n := strings.Index(s[i:], valueAttribute)
		if n < 0 {
			return r.String()
		}
		from := i + n + len(valueAttribute)
		element := strings.LastIndexByte(s[max(0, i+n-maxElement):i+n], '<')
		if i = from; element < 0 || from >= len(s) || !isQuote(s[from]) {
			continue
		}
		element += max(0, from-len(valueAttribute)-maxElement)
		end := closingQuote(s, from, false)
		if value := s[from+1 : max(end, from+1)]; sc.isSecretElement(s[element:from]) && !saysNothing(value) {
			r.replace(from+1, end, sc.hide(value))
		}
		i = max(end, from)
	}
}

// isSecretElement reports whether the head of an element has a name or a key that is
// that of a secret.
func (sc *scanner) isSecretElement(head string) bool {
	for _, attribute := range [...]string{` name="`, ` name='`, ` key="`, ` key='`} {
		if _, rest, ok := strings.Cut(head, attribute); ok {
			if end := strings.IndexAny(rest, `"'`); end > 0 && end <= maxPairName {
				return sc.meaningOf(rest[:end], "").kind == kindSecret
			}
		}
	}
	return false
}
