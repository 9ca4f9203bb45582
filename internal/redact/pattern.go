// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

const (
	pathSeparator = "::"
	anyParts      = "**"

	maxPatternLength = 512 // bytes
)

var (
	errPatternEmpty   = errors.New("is empty")
	errPatternTooLong = fmt.Errorf("is longer than %d bytes", maxPatternLength)
)

// sections are the top-level keys of a Collector's configuration.
var sections = []string{"connectors", "exporters", "extensions", "processors", "receivers", "service"}

// glob is a lower-case pattern in which * stands for any run of characters and ?
// for one.
type glob string

func (g glob) match(s string) bool {
	return matchStars(len(g), len(s),
		func(i int) bool { return g[i] == '*' },
		func(i, j int) bool { return g[i] == '?' || g[i] == s[j] })
}

// parseKeyPattern reads a pattern over the squeezed form of a key's name.
func parseKeyPattern(s string) (glob, error) {
	if len(s) > maxPatternLength {
		return "", errPatternTooLong
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '*' || r == '?':
			b.WriteRune(r)
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(unicode.ToLower(r))
		case strings.ContainsRune(nameSeparators, r):
		default:
			return "", fmt.Errorf("%q is no part of a key's name", r)
		}
	}
	if b.Len() == 0 {
		return "", errPatternEmpty
	}
	return glob(b.String()), nil
}

// pathPattern is a path whose parts are globs or **.
type pathPattern []glob

func parsePathPattern(s string) (pathPattern, error) {
	switch {
	case s == "":
		return nil, errPatternEmpty
	case len(s) > maxPatternLength:
		return nil, errPatternTooLong
	}
	var p pathPattern
	for part := range strings.SplitSeq(strings.ToLower(s), pathSeparator) {
		switch {
		case part == "":
			return nil, fmt.Errorf("has an empty part; parts are separated by %q", pathSeparator)
		case part != anyParts && strings.Contains(part, anyParts):
			return nil, fmt.Errorf("%q must be a part of its own", anyParts)
		}
		p = append(p, glob(part))
	}
	if first := string(p[0]); !strings.ContainsAny(first, "*?") && !slices.Contains(sections, first) {
		return nil, fmt.Errorf("never matches: it begins with %q, not with one of %s; parts are separated by %q",
			first, strings.Join(sections, ", "), pathSeparator)
	}
	return p, nil
}

// match compares with the parts of a path in lower case.
func (p pathPattern) match(path []string) bool {
	return matchStars(len(p), len(path),
		func(i int) bool { return p[i] == anyParts },
		func(i, j int) bool { return p[i].match(path[j]) })
}

// matchStars matches a pattern of n parts with a subject of m parts. A star takes
// any number of parts; going back to the last star alone is enough, and keeps the
// time below n times m.
func matchStars(n, m int, star func(i int) bool, same func(i, j int) bool) bool {
	i, j, lastStar, resume := 0, 0, -1, 0
	for j < m {
		switch {
		case i < n && star(i):
			lastStar, resume = i, j
			i++
		case i < n && same(i, j):
			i++
			j++
		case lastStar >= 0:
			resume++
			i, j = lastStar+1, resume
		default:
			return false
		}
	}
	for i < n && star(i) {
		i++
	}
	return i == n
}
