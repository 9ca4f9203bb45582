// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"regexp"
	"strings"
)

// Filter chooses keys by globs: * is anything but a slash, ** anything, ? one character, [a-z] one of
// a set, {a,b} one of several.
type Filter struct {
	include, exclude []*regexp.Regexp
}

// NewFilter reads globs. Without any include all keys are chosen.
func NewFilter(include, exclude []string) (Filter, error) {
	var f Filter
	for _, list := range [...]struct {
		globs []string
		into  *[]*regexp.Regexp
	}{{include, &f.include}, {exclude, &f.exclude}} {
		for _, glob := range list.globs {
			compiled, err := compileGlob(glob)
			if err != nil {
				return Filter{}, fmt.Errorf("%q is not a glob: %w", glob, err)
			}
			*list.into = append(*list.into, compiled)
		}
	}
	return f, nil
}

// Takes reports whether a key is chosen.
func (f Filter) Takes(key string) bool {
	for _, glob := range f.exclude {
		if glob.MatchString(key) {
			return false
		}
	}
	for _, glob := range f.include {
		if glob.MatchString(key) {
			return true
		}
	}
	return len(f.include) == 0
}

// compileGlob writes a glob as a regular expression, which is matched in linear time.
func compileGlob(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	depth := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case c == '*' && strings.HasPrefix(glob[i:], "**"):
			i++
			b.WriteString(`.*`)
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '[':
			end := strings.IndexByte(glob[i:], ']')
			if end < 2 {
				return nil, fmt.Errorf("[ at %d is not closed", i)
			}
			set := glob[i+1 : i+end]
			if set[0] == '!' {
				set = "^" + set[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(set, `\`, `\\`) + "]")
			i += end
		case c == '{':
			depth++
			b.WriteString(`(?:`)
		case c == '}' && depth > 0:
			depth--
			b.WriteString(`)`)
		case c == ',' && depth > 0:
			b.WriteString(`|`)
		case c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("{ is not closed")
	}
	b.WriteString(`)$`)
	return regexp.Compile(b.String())
}
