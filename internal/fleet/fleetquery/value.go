// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// check brings a value into its one form, or says why it is none and what would do.
func (f Facet) check(v *Value) (reason, hint string) {
	d, _ := Describe(f)
	if v.Op != "" && !d.compare.hasSize() {
		return "can't be compared by size", "only version, since, heard, flaps and runs can; quotes make the sign a part of the text"
	}
	if !v.Literal && strings.Contains(v.Text, `"`) {
		return "has a quote in it", "put all of it in quotes"
	}
	if v.Literal && (d.compare == compareComponent || d.compare == comparePipeline || d.compare == compareStatus) {
		return "", "" // whatever an agent may call it
	}
	v.Literal = v.Literal && strings.Contains(v.Text, "*")
	if v.Text == "*" && !v.Literal && v.Op == "" && d.compare != compareAge && d.compare != compareNumber {
		return "", ""
	}
	switch d.compare {
	case compareWord:
		return checkWord(v, d)
	case compareStatus:
		return checkStatus(v, d)
	case compareComponent:
		return checkComponent(v)
	case comparePrefix, compareConfig:
		return checkPrefix(v)
	case compareVersion:
		return checkVersion(v)
	case compareAge:
		return checkAge(v)
	case compareNumber:
		return checkNumber(v)
	default:
		return "", ""
	}
}

// hasSize reports whether values can be more or less than others.
func (c comparison) hasSize() bool {
	return c == compareVersion || c == compareAge || c == compareNumber
}

func checkWord(v *Value, d Description) (reason, hint string) {
	v.Text = strings.ToLower(v.Text)
	if slices.Contains(d.Words, v.Text) {
		return "", ""
	}
	return "is no " + string(d.Facet), oneOf(v.Text, d.Words)
}

func oneOf(s string, words []string) string {
	out := "it is one of " + strings.Join(words, ", ")
	if near := nearest(s, words); near != "" {
		out = "did you mean " + near + "? " + out
	}
	return out
}

// checkStatus takes a condition, or what looks like an agent's own word: StatusPermanentError, or anything with an *.
func checkStatus(v *Value, d Description) (reason, hint string) {
	lower := strings.ToLower(v.Text)
	switch {
	case lower == wordFailing:
		v.Text = string(fleet.ConditionUnhealthy)
	case slices.Contains(d.Words, lower):
		v.Text = lower
	case v.Text == lower && !strings.Contains(lower, "*"):
		return "is no status", oneOf(lower, d.Words) + "; an agent's own word goes in quotes"
	}
	return "", ""
}

func checkComponent(v *Value) (reason, hint string) {
	kind, id, ok := strings.Cut(v.Text, ":")
	if !ok {
		return "", ""
	}
	kind = strings.ToLower(kind)
	kinds := append([]string{"pipeline"}, kindFacets...)
	if strings.Contains(kind, "*") || slices.Contains(kinds, kind) {
		if id == "" {
			return "names no component", "write " + kind + ":* for any"
		}
		v.Text = kind + ":" + id
		return "", ""
	}
	return "has no kind of component before its colon", oneOf(kind, kinds) + "; any other name goes in quotes"
}

const minPrefix = 2

func checkPrefix(v *Value) (reason, hint string) {
	v.Text = strings.ToLower(strings.TrimSuffix(v.Text, "*"))
	v.Literal = false
	hexish := strings.Trim(v.Text, "0123456789abcdef-") == ""
	if !hexish || len(v.Text) < minPrefix || len(v.Text) > 64 {
		return "is no beginning of an id", "an id is written in hexadecimal digits, such as 3fa9"
	}
	return "", ""
}

// Match returns what tells whether a value of the facet, as an agent has it, is one that the term asks for; Not is
// not looked at. For ages see [Term.MatchTime]. The result may be used by many goroutines at a time.
func (t Term) Match() func(value string) bool {
	c := t.Facet.comparison()
	if len(t.Values) == 1 {
		return t.Values[0].match(c)
	}
	// Plain words are found in a set, whatever their number.
	set := map[string]struct{}{}
	var rest []func(string) bool
	for _, v := range t.Values {
		if (c == comparePattern || c == compareWord) && !v.hasGlob() {
			set[strings.ToLower(v.Text)] = struct{}{}
			continue
		}
		rest = append(rest, v.match(c))
	}
	return func(value string) bool {
		if _, ok := set[strings.ToLower(value)]; ok {
			return true
		}
		return slices.ContainsFunc(rest, func(m func(string) bool) bool { return m(value) })
	}
}

func (v Value) hasGlob() bool { return !v.Literal && strings.Contains(v.Text, "*") }

func (v Value) match(c comparison) func(string) bool {
	want := strings.ToLower(v.Text)
	if want == "*" && !v.Literal && v.Op == "" {
		return func(string) bool { return true }
	}
	switch c {
	case compareInside:
		if v.hasGlob() {
			want = "*" + want + "*"
			return func(s string) bool { return glob(want, strings.ToLower(s)) }
		}
		return func(s string) bool { return strings.Contains(strings.ToLower(s), want) }
	case compareComponent:
		return v.matchComponent(want)
	case comparePipeline:
		return v.matchID(want)
	case comparePrefix, compareConfig:
		return func(s string) bool { return strings.HasPrefix(s, want) }
	case compareVersion:
		return v.matchVersion()
	default:
		return v.matchPattern(want)
	}
}

func (v Value) matchPattern(want string) func(string) bool {
	if v.hasGlob() {
		return func(s string) bool { return glob(want, strings.ToLower(s)) }
	}
	return func(s string) bool { return strings.EqualFold(s, want) }
}

// matchID takes "otlp" for "otlp" and for "otlp/2".
func (v Value) matchID(want string) func(string) bool {
	if v.Literal || strings.ContainsAny(want, "*/") {
		return v.matchPattern(want)
	}
	return func(s string) bool {
		s = strings.ToLower(s)
		return s == want || (strings.HasPrefix(s, want) && s[len(want)] == '/')
	}
}

func (v Value) matchComponent(want string) func(string) bool {
	if v.Literal {
		return v.matchPattern(want)
	}
	kind, id, ok := strings.Cut(want, ":")
	if !ok {
		kind, id = "*", want
	}
	matchID := v.matchID(id)
	if id == "*" {
		matchID = func(string) bool { return true }
	}
	return func(s string) bool {
		has, name := fleet.SplitComponentName(s)
		return matchID(name) && glob(kind, has)
	}
}

// glob compares s with a pattern in which * is any text. Its time is bounded by the product of the lengths.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
