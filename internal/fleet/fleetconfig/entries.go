// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"strconv"
	"strings"
)

// entry is one key or one item of a config, with its place.
type entry struct {
	path  string // keys and numbers of items from the root, each behind a separator
	key   string // the last key of the path
	value string // empty for what has parts of its own
	item  int    // the innermost item of a list that it is in, by number; 0 is none
}

// separator is in no key that people write; a slash is in many.
const separator = "\x1f"

// keys of the path.
func (e *entry) keys() []string { return strings.Split(e.path[1:], separator) }

// section is the first key of the path, sub the second, or empty.
func (e *entry) section() (section, sub string) {
	section, rest, _ := strings.Cut(e.path[1:], separator)
	sub, _, _ = strings.Cut(rest, separator)
	return section, sub
}

// place is the path for people, in the Collector's way.
func (e *entry) place() string { return strings.Join(e.keys(), "::") }

// entries of a config. YAML as the Collector writes it is read line by line, which is ten times faster than a parser;
// all else goes through the parser.
func entries(body string) ([]entry, error) {
	if len(body) <= maxExamined {
		w := walker{out: make([]entry, 0, min(strings.Count(body, "\n")+1, maxNodes))}
		if w.walk(body) {
			return w.out, nil
		}
	}
	root, err := Parse(body)
	if err != nil {
		return nil, err
	}
	f := flattener{}
	f.flatten(root, "", "", 0)
	if f.paths > maxPathBytes {
		return nil, ErrTooBig
	}
	return f.out, nil
}

// maxPathBytes bounds all paths of one config together: long keys with much below them make long paths.
const maxPathBytes = 8 << 20

// flattener makes entries of a tree.
type flattener struct {
	out   []entry
	items int
	paths int // bytes
}

func (f *flattener) flatten(n *Node, path, key string, item int) {
	if f.paths += len(path); f.paths > maxPathBytes {
		return
	}
	if path != "" {
		f.out = append(f.out, entry{path: path, key: key, value: n.Text, item: item})
	}
	for i, k := range n.Keys {
		f.flatten(n.Values[i], path+separator+k, k, item)
	}
	for i, v := range n.Items {
		f.items++
		f.flatten(v, path+separator+strconv.Itoa(i), key, f.items)
	}
}

// frame is a key or an item that the walker is in.
type frame struct {
	indent int
	isItem bool
	path   string
	key    string
	item   int
	next   int // number of the next item below
	filled bool
}

// walker reads block YAML line by line and gives up on whatever else there is in YAML.
type walker struct {
	out   []entry
	stack []frame
	items int
	paths int // bytes

	block       bool // in a text that a | or > began
	blockIndent int
	text        []string
}

// walk reports whether it understood all of it.
func (w *walker) walk(body string) bool {
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		if w.block {
			if content == "" || indent > w.blockIndent {
				w.text = append(w.text, strings.TrimSpace(content))
				continue
			}
			w.endBlock()
		}
		content = strings.TrimRight(withoutComment(content), " ")
		switch {
		case content == "" || (content == "---" && len(w.out) == 0):
			continue
		case content[0] == '\t' || content == "---" || content == "..." || content[0] == '%':
			return false
		}
		if !w.line(content, indent) || w.paths > maxPathBytes || len(w.out) > maxNodes || len(w.stack) > maxDepth {
			return false
		}
	}
	w.endBlock()
	return true
}

func (w *walker) endBlock() {
	if !w.block {
		return
	}
	w.block = false
	last := &w.out[len(w.out)-1]
	last.value = strings.TrimSpace(strings.Join(w.text, "\n"))
	w.text = nil
}

func (w *walker) line(content string, indent int) bool {
	for content == "-" || strings.HasPrefix(content, "- ") {
		w.openItem(indent)
		rest := strings.TrimLeft(content[1:], " ")
		indent += len(content) - len(rest)
		if content = rest; content == "" {
			return true
		}
	}
	key, value, ok := splitKey(content)
	if !ok {
		return w.scalarItem(content, indent)
	}
	if !w.openKey(key, indent) {
		return false
	}
	return w.setValue(value, indent)
}

func (w *walker) top() *frame {
	if len(w.stack) == 0 {
		return nil
	}
	return &w.stack[len(w.stack)-1]
}

func (w *walker) openItem(indent int) {
	for t := w.top(); t != nil && (t.indent > indent || (t.indent == indent && t.isItem)); t = w.top() {
		w.stack = w.stack[:len(w.stack)-1]
	}
	w.items++
	f := frame{indent: indent, isItem: true, item: w.items}
	n := 0
	if t := w.top(); t != nil {
		n = t.next
		t.next++
		f.path, f.key = t.path, t.key
	}
	f.path += separator + strconv.Itoa(n)
	w.stack = append(w.stack, f)
	w.paths += len(f.path)
	w.out = append(w.out, entry{path: f.path, key: f.key, item: f.item})
}

// openKey refuses what is no child of a map: a key below a scalar.
func (w *walker) openKey(key string, indent int) bool {
	for t := w.top(); t != nil && t.indent >= indent; t = w.top() {
		w.stack = w.stack[:len(w.stack)-1]
	}
	f := frame{indent: indent, key: key}
	if t := w.top(); t != nil {
		if t.filled {
			return false
		}
		f.path, f.item = t.path, t.item
	}
	f.path += separator + key
	w.stack = append(w.stack, f)
	w.paths += len(f.path)
	w.out = append(w.out, entry{path: f.path, key: key, item: f.item})
	return true
}

func (w *walker) setValue(value string, indent int) bool {
	if value == "" || value == "{}" || value == "[]" {
		return true
	}
	t := w.top()
	last := &w.out[len(w.out)-1]
	switch c := value[0]; {
	case c == '|' || c == '>':
		if strings.Trim(value[1:], "+-0123456789") != "" {
			return false
		}
		w.block, w.blockIndent = true, indent
		return true
	case c == '[':
		return w.flowList(value)
	case strings.IndexByte("{&*!%@`?", c) >= 0:
		return false
	}
	text, ok := scalar(value)
	if !ok {
		return false
	}
	t.filled = true
	last.value = text
	return true
}

func (w *walker) scalarItem(content string, indent int) bool {
	t := w.top()
	if t == nil || !t.isItem || t.filled || indent <= t.indent || len(w.out) == 0 || w.out[len(w.out)-1].path != t.path {
		return false // a text over many lines, or no map at all
	}
	return w.setValue(content, t.indent)
}

// flowList takes a list of plain words, as in receivers: [otlp, jaeger].
func (w *walker) flowList(value string) bool {
	inner, ok := strings.CutSuffix(value[1:], "]")
	if !ok || strings.ContainsAny(inner, "[]{}\"'&*:#") {
		return false
	}
	t := w.top()
	t.filled = true
	n := 0
	for word := range strings.SplitSeq(inner, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		text, ok := scalar(word)
		if !ok {
			return false
		}
		w.items++
		w.out = append(w.out, entry{path: t.path + separator + strconv.Itoa(n), key: t.key, value: text, item: w.items})
		n++
	}
	return true
}

// scalar reads a plain or a quoted one.
func scalar(s string) (string, bool) {
	switch s[0] {
	case '\'':
		inner, ok := strings.CutSuffix(s[1:], "'")
		if !ok || strings.Contains(strings.ReplaceAll(inner, "''", ""), "'") {
			return "", false
		}
		return strings.ReplaceAll(inner, "''", "'"), true
	case '"':
		inner, ok := strings.CutSuffix(s[1:], `"`)
		if !ok || strings.ContainsAny(inner, `"\`) {
			return "", false
		}
		return inner, true
	}
	if strings.Contains(s, ": ") || strings.HasSuffix(s, ":") {
		return "", false
	}
	switch s {
	case "null", "~", "Null", "NULL":
		return "", true
	}
	return s, true
}

// splitKey cuts "key: value".
func splitKey(s string) (key, value string, ok bool) {
	if s[0] == '"' || s[0] == '\'' {
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 || !strings.HasPrefix(s[end+2:], ":") || strings.Contains(s[:end+1], `\`) {
			return "", "", false
		}
		rest := s[end+3:]
		return s[1 : end+1], strings.TrimLeft(rest, " "), rest == "" || rest[0] == ' '
	}
	if strings.IndexByte("{[&*!|>%@`?#,", s[0]) >= 0 {
		return "", "", false
	}
	if key, value, ok = strings.Cut(s, ": "); ok {
		return strings.TrimRight(key, " "), strings.TrimLeft(value, " "), true
	}
	key, ok = strings.CutSuffix(s, ":")
	return key, "", ok
}

// withoutComment drops what is behind a # that begins a comment.
func withoutComment(s string) string {
	if !strings.Contains(s, "#") {
		return s
	}
	quote := byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && (i == 0 || s[i-1] == ' '):
			quote = c
		case c == '#' && (i == 0 || s[i-1] == ' '):
			return s[:i]
		}
	}
	return s
}
