// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import "strings"

// Maxima of a query.
const (
	MaxBytes  = 4096
	MaxTerms  = 64
	MaxValues = 256 // of one term
)

// Query is a line of text that was understood. Its terms must all hold; a query without terms finds everybody.
type Query struct {
	Terms []Term
}

// Term is one condition of a query.
type Term struct {
	// Not wants the agents for which the rest does not hold.
	Not   bool
	Facet Facet
	// Key of the attribute, for [FacetAttribute].
	Key string
	// Values are alternatives; there is at least one.
	Values []Value
}

// Value is what a facet is compared with.
type Value struct {
	// Op is "", "<", "<=", ">" or ">=".
	Op   string
	Text string
	// Literal says that nothing in Text has a meaning of its own, such as an asterisk. It is set only where there is
	// something that could have one.
	Literal bool
}

// Name of the facet as it is written: "attr." and the key, for an attribute.
func (t Term) Name() string {
	if t.Facet == FacetAttribute {
		return "attr." + quoteKey(t.Key)
	}
	return string(t.Facet)
}

// String is the one text that means this query.
func (q Query) String() string {
	parts := make([]string, 0, len(q.Terms))
	for _, t := range q.Terms {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, " ")
}

// String is the one text that means this term.
func (t Term) String() string {
	var b strings.Builder
	if t.Not {
		b.WriteByte('-')
	}
	if t.Facet == FacetWord {
		b.WriteString(quoteWord(t.Values[0].Text))
		return b.String()
	}
	b.WriteString(t.Name())
	for i, v := range t.Values {
		b.WriteByte(":,"[min(i, 1)])
		b.WriteString(v.String())
	}
	return b.String()
}

// String is the value as it stands in a query.
func (v Value) String() string {
	if v.Literal || v.Text == "" || strings.ContainsAny(v.Text, `",`) || strings.ContainsFunc(v.Text, isSpace) ||
		v.Text[0] == '<' || v.Text[0] == '>' {
		return v.Op + quote(v.Text)
	}
	return v.Op + v.Text
}

// Without is the query without the terms of a facet (for attributes: of this key).
func (q Query) Without(f Facet, key string) Query {
	var out Query
	for _, t := range q.Terms {
		if t.Facet != f || t.Key != key {
			out.Terms = append(out.Terms, t)
		}
	}
	return out
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func quoteWord(s string) string {
	if s == "" || s[0] == '-' || strings.ContainsAny(s, "\":\\") || strings.ContainsFunc(s, isSpace) {
		return quote(s)
	}
	return s
}

func quoteKey(s string) string {
	if s == "" || strings.ContainsAny(s, "\":\\") || strings.ContainsFunc(s, isSpace) {
		return quote(s)
	}
	return s
}

// Is is the term that asks for agents of exactly this value, as an agent has it.
func Is(f Facet, key, value string) Term {
	v := Value{Text: value, Literal: true}
	if f.comparison() == compareStatus && f.accepts(value) {
		v.Literal = false
	}
	if reason, _ := f.check(&v); reason != "" {
		v = Value{Text: value, Literal: true}
	}
	return Term{Facet: f, Key: key, Values: []Value{v}}
}

// accepts reports whether value means itself without quotes.
func (f Facet) accepts(value string) bool {
	v := Value{Text: value}
	reason, _ := f.check(&v)
	return reason == "" && !strings.Contains(value, "*")
}
