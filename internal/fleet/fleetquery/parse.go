// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error says what of a query was not understood.
type Error struct {
	// Pos is where the word stands, in bytes from the beginning.
	Pos int
	// Column is Pos for people: in characters, from 1.
	Column int
	// Word that was not understood.
	Word string
	// Reason says why, and Hint what would do.
	Reason, Hint string
}

// Error names the word, its place, the reason and what would do.
func (e *Error) Error() string {
	out := fmt.Sprintf("%.80q at character %d: %s", e.Word, e.Column, e.Reason)
	if e.Hint != "" {
		out += "; " + e.Hint
	}
	return out
}

// Parse understands a query or returns an [*Error].
func Parse(text string) (Query, error) {
	if len(text) > MaxBytes {
		return Query{}, &Error{
			Column: 1, Word: text[:20], Reason: fmt.Sprintf("the query has %d bytes", len(text)),
			Hint: fmt.Sprintf("%d are allowed", MaxBytes),
		}
	}
	p := parser{text: strings.ToValidUTF8(text, "\uFFFD")}
	var q Query
	for {
		p.skipSpace()
		if p.end() {
			return q, nil
		}
		start := p.pos
		t, err := p.term()
		if err == nil && len(q.Terms) == MaxTerms {
			err = p.errorAt(start, "is one term too many", fmt.Sprintf("%d are allowed", MaxTerms))
		}
		if err != nil {
			return Query{}, err
		}
		q.Terms = append(q.Terms, t)
	}
}

// parser walks over the text once.
type parser struct {
	text string
	pos  int
}

func (p *parser) end() bool { return p.pos >= len(p.text) }

func (p *parser) at(c byte) bool { return !p.end() && p.text[p.pos] == c }

func (p *parser) atSpace() bool {
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return isSpace(r)
}

func isSpace(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func (p *parser) skipSpace() {
	for !p.end() && p.atSpace() {
		p.step()
	}
}

func (p *parser) step() {
	_, n := utf8.DecodeRuneInString(p.text[p.pos:])
	p.pos += n
}

// errorAt is about what stands from start up to here.
func (p *parser) errorAt(start int, reason, hint string) *Error {
	return &Error{
		Pos: start, Column: utf8.RuneCountInString(p.text[:start]) + 1, Word: p.text[start:p.pos],
		Reason: reason, Hint: hint,
	}
}

func (p *parser) term() (Term, error) {
	var t Term
	start := p.pos
	if p.at('-') {
		p.pos++
		t.Not = true
		if p.end() || p.atSpace() {
			return t, p.errorAt(start, "a minus with nothing behind it", `write -word, or "-" for the minus itself`)
		}
	}
	if p.at('"') {
		word, err := p.quoted()
		if err == nil && !p.end() && !p.atSpace() {
			err = p.errorAt(start, "something follows the quotes", "put a space there")
		}
		if err == nil && word == "" {
			err = p.errorAt(start, "nothing is between the quotes", "leave them out")
		}
		t.Values = []Value{{Text: word, Literal: true}}
		return t, orNil(err)
	}
	nameAt := p.pos
	name, isFacet, err := p.name()
	if err != nil {
		return t, err
	}
	if !isFacet {
		t.Values = []Value{{Text: name, Literal: true}}
		return t, nil
	}
	prefix, err := p.facet(&t, nameAt, name)
	if err != nil {
		return t, err
	}
	err = orNil(p.values(&t, start, prefix))
	return t, err
}

// orNil keeps an absent *Error from becoming an error that is there.
func orNil(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}

// name reads up to a colon, or to the end of the word.
func (p *parser) name() (name string, isFacet bool, err error) {
	start := p.pos
	key := ""
	for !p.end() && !p.atSpace() {
		switch {
		case p.at(':'):
			name = p.text[start:p.pos] + key
			if key != "" {
				name = "attr." + key
			}
			p.pos++
			return name, true, nil
		case p.at('"') && strings.EqualFold(p.text[start:p.pos], "attr."):
			word, err := p.quoted()
			if err != nil {
				return "", false, err
			}
			if word == "" || !p.at(':') {
				return "", false, p.errorAt(start, "no attribute and value", `write attr."some key":value`)
			}
			key = word
		default:
			p.step()
		}
	}
	return p.text[start:p.pos], false, nil
}

// facet finds out what name asks for. What it returns stands before each value.
func (p *parser) facet(t *Term, start int, name string) (prefix string, err error) {
	p.pos-- // errors are about the name without its colon
	defer func() { p.pos++ }()
	lower := strings.ToLower(name)
	if key, ok := strings.CutPrefix(lower, "attr."); ok && key != "" {
		t.Facet, t.Key = FacetAttribute, name[len("attr."):]
		return "", nil
	}
	if f, ok := aliases[lower]; ok {
		lower = string(f)
	}
	if _, ok := Describe(Facet(lower)); ok && lower != string(FacetAttribute) {
		t.Facet = Facet(lower)
		return "", nil
	}
	for _, kind := range kindFacets {
		if lower == kind {
			t.Facet = FacetComponent
			return kind + ":", nil
		}
	}
	if lower == string(FacetAttribute) {
		return "", p.errorAt(start, "an attribute needs a key", "write attr.KEY:value, such as attr.k8s.cluster.name:prod")
	}
	if strings.Contains(name, ".") && !strings.ContainsAny(name, `/"`) {
		t.Facet, t.Key = FacetAttribute, name
		return "", nil
	}
	return "", p.errorAt(start, "is no facet", facetHint(lower))
}

func facetHint(name string) string {
	var names []string
	for _, d := range descriptions {
		names = append(names, string(d.Facet))
	}
	asText := `to look for a text with a colon, put it in quotes`
	if name == "" {
		return asText
	}
	if near := nearest(name, names); near != "" {
		return "did you mean " + near + "? " + asText
	}
	return "there are " + strings.Join(names, ", ") + "; " + asText
}

// values reads a list.
func (p *parser) values(t *Term, start int, prefix string) *Error {
	for {
		at := p.pos
		v, err := p.value()
		if err != nil {
			return err
		}
		if v.Text == "" {
			p.pos = max(p.pos, at)
			return p.errorAt(start, "has no value", "write "+t.Name()+":* for any")
		}
		v.Text = prefix + v.Text
		if reason, hint := t.Facet.check(&v); reason != "" {
			return p.errorAt(at, reason, hint)
		}
		if len(t.Values) == MaxValues {
			return p.errorAt(at, "is one value too many", fmt.Sprintf("%d are allowed", MaxValues))
		}
		t.Values = append(t.Values, v)
		if !p.at(',') {
			return nil
		}
		p.pos++
	}
}

func (p *parser) value() (v Value, err *Error) {
	for _, op := range []string{"<=", ">=", "<", ">"} {
		if strings.HasPrefix(p.text[p.pos:], op) {
			v.Op = op
			p.pos += len(op)
			break
		}
	}
	if p.at('"') {
		start := p.pos
		if v.Text, err = p.quoted(); err != nil {
			return v, err
		}
		if !p.end() && !p.atSpace() && !p.at(',') {
			p.step()
			return v, p.errorAt(start, "something follows the quotes", "put a comma or a space there")
		}
		v.Literal = true
		return v, nil
	}
	start := p.pos
	for !p.end() && !p.atSpace() && !p.at(',') {
		p.step()
	}
	v.Text = p.text[start:p.pos]
	return v, nil
}

// quoted reads a text in quotes.
func (p *parser) quoted() (string, *Error) {
	start := p.pos
	p.pos++
	var b strings.Builder
	for !p.end() {
		c := p.text[p.pos]
		switch {
		case c == '"':
			p.pos++
			return b.String(), nil
		case c == '\\' && p.pos+1 < len(p.text) && (p.text[p.pos+1] == '"' || p.text[p.pos+1] == '\\'):
			p.pos++
			c = p.text[p.pos]
		}
		b.WriteByte(c)
		p.pos++
	}
	return "", p.errorAt(start, "the quotes are not closed", `put a " at the end`)
}
