// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"fmt"
	"regexp"
	"strings"
)

// Maxima of a diff.
const (
	maxDiffLines = 20_000 // of each text; what follows is not compared
	maxDiffEdits = 1_000  // lines in and out; what differs more is one part out, one part in
)

// DiffOptions say how texts are compared. The zero value compares every byte and shows 3 lines of context.
type DiffOptions struct {
	// IgnoreVolatile takes lines for equal that differ only in what differs between instances.
	IgnoreVolatile bool
	// Context is how many equal lines stand around what differs; 0 is 3, negative none.
	Context int
}

// Diff is what leads from one text to another.
type Diff struct {
	Hunks []Hunk
	// Added and Removed count lines.
	Added, Removed int
	// Coarse says that the texts differ too much for the shortest way.
	Coarse bool
	// Cut says that only the beginning of a text was compared.
	Cut bool
}

// Hunk is a part of both texts that differs, and some context.
type Hunk struct {
	// First lines, from 1, and how many there are. Of no lines, first is the line before.
	FromLine, FromCount, ToLine, ToCount int
	Lines                                []Line
}

// Line of a hunk.
type Line struct {
	// Op is ' ' for a line of both, '-' for one of the old text, '+' for one of the new.
	Op byte
	// From and To are its numbers, from 1; 0 where it is not.
	From, To int
	Text     string
}

// Compare finds the shortest way from one text to another, by lines.
func Compare(from, to string, o DiffOptions) Diff {
	var d Diff
	a, b := d.split(from), d.split(to)
	ka, kb := keysOf(a, o), keysOf(b, o)
	head := 0
	for head < len(ka) && head < len(kb) && ka[head] == kb[head] {
		head++
	}
	tail := 0
	for tail < len(ka)-head && tail < len(kb)-head && ka[len(ka)-1-tail] == kb[len(kb)-1-tail] {
		tail++
	}
	middle, ok := shortest(ka[head:len(ka)-tail], kb[head:len(kb)-tail])
	d.Coarse = !ok
	ops := make([]byte, 0, len(b)+len(middle))
	ops = append(ops, strings.Repeat(" ", head)...)
	ops = append(ops, middle...)
	ops = append(ops, strings.Repeat(" ", tail)...)
	d.cut(ops, a, b, o.context())
	return d
}

func (o DiffOptions) context() int {
	if o.Context == 0 {
		return 3
	}
	return max(o.Context, 0)
}

func (d *Diff) split(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > maxDiffLines {
		d.Cut = true
		lines = lines[:maxDiffLines]
	}
	return lines
}

func keysOf(lines []string, o DiffOptions) []string {
	if !o.IgnoreVolatile {
		return lines
	}
	out := make([]string, len(lines))
	named := false // the line before named an attribute that differs between instances
	for i, l := range lines {
		content := strings.TrimLeft(strings.TrimSpace(l), "- ")
		out[i] = normalizeWords(l, true)
		if key, value, ok := splitKeyOf(content); ok {
			if isIdentity(key) || (named && key == "value") {
				out[i] = l[:len(l)-len(content)] + key + ": " + anyInstance
			}
			named = key == "key" && isIdentity(value)
		}
		if strings.Contains(content, "{") {
			out[i] = withoutInstances(out[i])
		}
	}
	return out
}

// An attribute in a map that stands on one line: its value after a key that differs between instances, and the value
// of an item that names such a key.
var (
	inlineKey   = regexp.MustCompile(`([{,]\s*)(["']?)([\w.]+)(["']?\s*:\s*)("[^"]*"|'[^']*'|[^\s,{}\[\]]+)`)
	inlineNamed = regexp.MustCompile(`\bkey["']?\s*:\s*["']?([\w.]+)`)
)

// withoutInstances takes what differs between instances out of the maps on a line.
func withoutInstances(l string) string {
	named := inlineNamed.FindStringSubmatch(l)
	isNamed := named != nil && isIdentity(named[1])
	return inlineKey.ReplaceAllStringFunc(l, func(pair string) string {
		m := inlineKey.FindStringSubmatch(pair)
		if isIdentity(m[3]) || (isNamed && m[3] == "value") {
			return m[1] + m[2] + m[3] + m[4] + anyInstance
		}
		return pair
	})
}

func splitKeyOf(content string) (key, value string, ok bool) {
	if content == "" {
		return "", "", false
	}
	key, value, ok = splitKey(content)
	return key, value, ok && value != ""
}

// shortest is Myers' greedy algorithm: for each number of edits, how far one comes on each diagonal. The operations
// lead from a to b; false says that there are too many, and then it is all of a out and all of b in.
func shortest(a, b []string) (ops []byte, ok bool) {
	most := min(len(a)+len(b), maxDiffEdits)
	reach := make([]int, 2*most+3)
	at := func(k int) *int { return &reach[k+most+1] }
	var trace [][]int
	for edits := 0; edits <= most; edits++ {
		for k := -edits; k <= edits; k += 2 {
			x := 0
			if edits > 0 {
				if k == -edits || (k != edits && *at(k - 1) < *at(k + 1)) {
					x = *at(k + 1)
				} else {
					x = *at(k - 1) + 1
				}
			}
			for x < len(a) && x-k < len(b) && x-k >= 0 && a[x] == b[x-k] {
				x++
			}
			*at(k) = x
			if x >= len(a) && x-k >= len(b) {
				return walkBack(trace, edits, k, x), true
			}
		}
		// What the next round starts from: diagonals -edits to edits.
		trace = append(trace, append([]int(nil), reach[most+1-edits:most+2+edits]...))
	}
	ops = make([]byte, 0, len(a)+len(b))
	ops = append(ops, strings.Repeat("-", len(a))...)
	return append(ops, strings.Repeat("+", len(b))...), false
}

// walkBack reads the operations off the trace, from the end.
func walkBack(trace [][]int, edits, k, x int) []byte {
	var ops []byte
	for ; edits > 0; edits-- {
		row := trace[edits-1] // of diagonals -(edits-1) to edits-1
		at := func(k int) int {
			if i := k + edits - 1; i >= 0 && i < len(row) {
				return row[i]
			}
			return -1
		}
		down := k == -edits || (k != edits && at(k-1) < at(k+1))
		prev, start, op := k-1, at(k-1)+1, byte('-')
		if down {
			prev, start, op = k+1, at(k+1), '+'
		}
		for ; x > start; x-- {
			ops = append(ops, ' ')
		}
		ops = append(ops, op)
		k = prev
		x = at(prev)
	}
	for ; x > 0; x-- {
		ops = append(ops, ' ')
	}
	for i, j := 0, len(ops)-1; i < j; i, j = i+1, j-1 {
		ops[i], ops[j] = ops[j], ops[i]
	}
	return ops
}

// cut makes hunks of the operations.
func (d *Diff) cut(ops []byte, a, b []string, context int) {
	from, to := 0, 0
	var open *Hunk
	quiet := 0 // equal lines at the end of open
	for i, op := range ops {
		if op != ' ' && open == nil {
			open = d.open(ops, i, from, to, a, context)
		}
		line := Line{Op: op}
		if op != '+' {
			line.Text = a[from]
			from++
			line.From = from
		}
		if op != '-' {
			line.Text = b[to]
			to++
			line.To = to
		}
		if open == nil {
			continue
		}
		open.add(line)
		d.count(op)
		if quiet++; op != ' ' {
			quiet = 0
		}
		if quiet > 2*context {
			d.close(open, quiet-context)
			open, quiet = nil, 0
		}
	}
	if open != nil {
		d.close(open, max(quiet-context, 0))
	}
}

func (d *Diff) count(op byte) {
	switch op {
	case '+':
		d.Added++
	case '-':
		d.Removed++
	}
}

// open begins a hunk with the equal lines before it.
func (d *Diff) open(ops []byte, i, from, to int, a []string, context int) *Hunk {
	lead := 0
	for lead < context && i-lead > 0 && ops[i-lead-1] == ' ' {
		lead++
	}
	h := &Hunk{FromLine: from - lead + 1, ToLine: to - lead + 1}
	for n := lead; n > 0; n-- {
		h.add(Line{Op: ' ', From: from - n + 1, To: to - n + 1, Text: a[from-n]})
	}
	return h
}

func (h *Hunk) add(l Line) {
	h.Lines = append(h.Lines, l)
	if l.Op != '+' {
		h.FromCount++
	}
	if l.Op != '-' {
		h.ToCount++
	}
}

// close ends a hunk without its last lines, which are equal.
func (d *Diff) close(h *Hunk, surplus int) {
	h.Lines = h.Lines[:len(h.Lines)-surplus]
	h.FromCount -= surplus
	h.ToCount -= surplus
	if h.FromCount == 0 {
		h.FromLine--
	}
	if h.ToCount == 0 {
		h.ToLine--
	}
	d.Hunks = append(d.Hunks, *h)
}

// Unified is the diff in the form that patch reads.
func (d Diff) Unified(from, to string) string {
	if len(d.Hunks) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", from, to)
	for _, h := range d.Hunks {
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", h.FromLine, h.FromCount, h.ToLine, h.ToCount)
		for _, l := range h.Lines {
			b.WriteByte(l.Op)
			b.WriteString(l.Text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
