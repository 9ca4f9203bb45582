// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Count is a value and how many agents have it.
type Count struct {
	Value string
	Count int
}

// Source knows what values there are.
type Source interface {
	// Values are the n most frequent values of a facet that contain part (in any case), among the agents that rest
	// finds.
	Values(rest Query, f Facet, key, part string, n int) []Count
	// Keys are the n most frequent keys of attributes that contain part.
	Keys(part string, n int) []Count
}

// Suggestion is a text that may stand where the cursor is.
type Suggestion struct {
	// Text replaces the bytes from Start to End.
	Text       string
	Start, End int
	Help       string
	// Count is how many agents have it, -1 where that says nothing.
	Count int
}

// MaxSuggestions bounds an answer of [Complete].
const MaxSuggestions = 20

// Complete suggests how the word at the cursor (in bytes) may go on. The rest of the text need not be a query yet.
func Complete(text string, cursor int, src Source) []Suggestion {
	if len(text) > MaxBytes || !utf8.ValidString(text) {
		return nil
	}
	cursor = min(max(cursor, 0), len(text))
	for cursor < len(text) && !utf8.RuneStart(text[cursor]) {
		cursor++
	}
	w := wordAt(text, cursor)
	rest, _ := Parse(text[:w.start] + text[w.end:]) // what is no query yet narrows nothing
	name, list, isFacet := strings.Cut(text[w.start:cursor], ":")
	if strings.HasPrefix(name, `"`) {
		return nil
	}
	if !isFacet {
		return completeFacet(name, w, src)
	}
	p := parser{text: name + ":x", pos: len(name) + 1}
	var t Term
	prefix, err := p.facet(&t, 0, name)
	if err != nil {
		return nil
	}
	return completeValue(t, prefix, list, w, cursor, rest, src)
}

// word is where the cursor is: from start to end, a minus left out.
type word struct{ start, end int }

func wordAt(text string, cursor int) word {
	var w word
	quoted := false
	for i, r := range text {
		switch {
		case r == '"' && (i == 0 || text[i-1] != '\\'):
			quoted = !quoted
		case isSpace(r) && !quoted && i < cursor:
			w.start = i + len(string(r))
		case isSpace(r) && !quoted:
			w.end = i
			return w.trimMinus(text, cursor)
		}
	}
	w.end = len(text)
	return w.trimMinus(text, cursor)
}

func (w word) trimMinus(text string, cursor int) word {
	if w.start < cursor && strings.HasPrefix(text[w.start:], "-") {
		w.start++
	}
	return w
}

func completeFacet(typed string, w word, src Source) (out []Suggestion) {
	lower := strings.ToLower(typed)
	for _, d := range descriptions {
		if name := string(d.Facet); strings.HasPrefix(name, lower) && d.Facet != FacetAttribute {
			out = append(out, Suggestion{Text: name + ":", Start: w.start, End: w.end, Help: d.Help, Count: -1})
		}
	}
	for _, kind := range kindFacets {
		if strings.HasPrefix(kind, lower) && lower != "" {
			out = append(out, Suggestion{
				Text: kind + ":", Start: w.start, End: w.end, Help: "A running " + kind, Count: -1,
			})
		}
	}
	part, isKey := strings.CutPrefix(lower, "attr.")
	if beginning := lower == "attr"[:min(len(lower), len("attr"))]; isKey || beginning || len(lower) >= 2 {
		if !isKey && beginning {
			part = ""
		}
		for _, k := range src.Keys(part, MaxSuggestions) {
			out = append(out, Suggestion{
				Text: "attr." + quoteKey(k.Value) + ":", Start: w.start, End: w.end, Help: "An attribute", Count: k.Count,
			})
		}
	}
	return out[:min(len(out), 2*MaxSuggestions)]
}

// completeValue suggests the last value of the list.
func completeValue(t Term, prefix, list string, w word, cursor int, rest Query, src Source) []Suggestion {
	typed := list
	if !strings.Contains(list, `"`) {
		typed = list[strings.LastIndexByte(list, ',')+1:]
	}
	start := cursor - len(typed)
	part := strings.ToLower(strings.Trim(typed, `"*<>=`))
	d, _ := Describe(t.Facet)
	counts := src.Values(rest, t.Facet, t.Key, prefix+part, MaxSuggestions)
	for _, known := range d.Words {
		if strings.Contains(known, part) && !slices.ContainsFunc(counts, func(c Count) bool { return c.Value == known }) {
			counts = append(counts, Count{Value: known})
		}
	}
	if d.compare == compareNumber {
		counts = nil
		for _, n := range d.Words {
			counts = append(counts, Count{Value: n, Count: -1})
		}
	}
	if d.compare == compareAge {
		counts = nil
		for _, age := range []string{"<10m", "<1h", ">1h", "<1d", ">1d", ">1w"} {
			counts = append(counts, Count{Value: age, Count: -1})
		}
	}
	out := make([]Suggestion, 0, len(counts))
	for _, c := range counts {
		text := c.Value
		if d.compare != compareAge && d.compare != compareNumber {
			v := Value{Text: strings.TrimPrefix(c.Value, prefix)}
			v.Literal = !t.Facet.accepts(c.Value)
			text = v.String()
		}
		out = append(out, Suggestion{Text: text, Start: start, End: w.end, Help: d.Help, Count: c.Count})
	}
	return out[:min(len(out), MaxSuggestions)]
}
