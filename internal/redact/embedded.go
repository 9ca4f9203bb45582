// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxEmbedded      = 256 << 10 // bytes of text in one configuration that are parsed as YAML or JSON
	maxEmbeddedNodes = 20_000    // values in one of them, aliases followed
	maxDocuments     = 100
)

var (
	errTooMuch    = errors.New("too many values")
	errComplexKey = errors.New("a key that is a map or a list") // configurations have none, and it would not be seen
)

// embeddedConfig masks the secrets of a configuration that is written as text within a
// value: a file for another program, credentials in JSON. It is parsed, so that maps of
// headers and secrets on many lines are seen, and written again where one was found;
// order and comments stay.
func (w *walk) embeddedConfig(s string, p place) string {
	if len(s) > w.embedded || !isDocument(s) || !mayHoldSecret(s) {
		return s
	}
	w.embedded -= len(s)
	docs, trees, err := parseDocuments(s, maxEmbeddedNodes)
	if errors.Is(err, errTooMuch) || errors.Is(err, errComplexKey) {
		return w.scan.hide(s)
	}
	if err != nil {
		return s
	}
	paths, masked := w.paths, w.masked
	w.paths, w.masked = false, 0
	for _, tree := range trees {
		w.value(tree, written{}, place{depth: p.depth + 1, vault: p.vault})
	}
	changed := w.masked > 0
	w.paths, w.masked = paths, masked
	if !changed {
		return s
	}
	out, err := printDocuments(docs)
	if err != nil {
		return w.scan.hide(s)
	}
	if !strings.HasSuffix(s, "\n") {
		out = strings.TrimSuffix(out, "\n")
	}
	return out
}

// isDocument reports whether text can be YAML or JSON with maps in it.
func isDocument(s string) bool {
	if strings.IndexByte(s, ':') < 0 {
		return false
	}
	head := strings.TrimLeft(s, " \t\r\n")
	return head != "" && (head[0] == '{' || head[0] == '[' || strings.IndexByte(head, '\n') >= 0)
}

// stems begin what names of secrets contain, by their first letter.
var stems = [256][]string{
	'a': {"auth", "access", "api"}, 'b': {"bearer"}, 'c': {"cred", "cookie", "community", "conn"}, 'd': {"dsn", "datasource"},
	'h': {"header", "htpasswd"}, 'j': {"jwt"}, 'k': {"key"}, 'p': {"pass", "pwd", "pin", "param"}, 's': {"secret", "sas", "session", "salt", "sig"},
	't': {"token"}, 'w': {"webhook"}, 'm': {"metadata"}, 'q': {"query"}, 'o': {"otp"},
}

func mayHoldSecret(s string) bool {
	for i := range len(s) {
		b := s[i] | 0x20
		for _, stem := range stems[b] {
			if len(s)-i >= len(stem) && strings.EqualFold(s[i:i+len(stem)], stem) {
				return true
			}
		}
	}
	return false
}

// budget bounds a tree, aliases followed: ten bytes of them can stand for all there is.
type budget struct {
	values int
	bytes  int // of text
}

// spend takes one value of so many bytes from the budget, and reports whether that was left.
func (b *budget) spend(size int) bool {
	b.values--
	b.bytes -= size
	return b.values >= 0 && b.bytes >= 0
}

// maxAliased is how many bytes of text the aliases of a document may stand for.
const maxAliased = 256 << 10

// parseDocuments parses text with at most so many values. In the trees, every scalar is its node, so that what is
// masked in a tree is masked in the document.
func parseDocuments(s string, values int) (docs []*yaml.Node, trees []any, err error) {
	defer func() {
		if r := recover(); r != nil { // text of any origin meets a large parser
			err = fmt.Errorf("parse: %v", r)
		}
	}()
	left := budget{values: values, bytes: 2*len(s) + maxAliased} // a tab is two spaces here
	decoder := yaml.NewDecoder(strings.NewReader(strings.ReplaceAll(s, "\t", "  ")))
	for range maxDocuments {
		doc := &yaml.Node{}
		if err := decoder.Decode(doc); errors.Is(err, io.EOF) {
			return docs, trees, nil
		} else if err != nil {
			return nil, nil, err
		}
		tree, err := treeOf(doc, 0, &left)
		if err != nil {
			return nil, nil, err
		}
		docs, trees = append(docs, doc), append(trees, tree)
	}
	return nil, nil, errTooMuch
}

func printDocuments(docs []*yaml.Node) (string, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	for _, doc := range docs {
		if err := encoder.Encode(doc); err != nil {
			return "", err
		}
	}
	err := encoder.Close()
	return b.String(), err
}

// treeOf turns a node into what confmap would make of it, but for its scalars.
func treeOf(n *yaml.Node, depth int, left *budget) (any, error) {
	if !left.spend(len(n.Value)) || depth > maxDepth {
		return nil, errTooMuch
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) != 1 || n.Content[0].Kind == yaml.ScalarNode {
			return nil, errors.New("no map and no list")
		}
		return treeOf(n.Content[0], depth+1, left)
	case yaml.AliasNode:
		return treeOf(n.Alias, depth+1, left)
	case yaml.SequenceNode:
		if isMaskNode(n) {
			return nil, nil
		}
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := treeOf(c, depth+1, left)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return mapOf(n, depth, left)
	default:
		return n, nil
	}
}

// isMaskNode reports whether a list is the mask, without the quotes that make it text in
// YAML.
func isMaskNode(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) == 1 && "["+n.Content[0].Value+"]" == Mask
}

// mapOf turns a map into one. A key that stands there more than once gets a tail for each, of separators, so that the name
// means the same. Tails are as long as a number's digits: among a hundred thousand keys of one name none is long, and
// none is looked for.
func mapOf(n *yaml.Node, depth int, left *budget) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	var again map[string]uint // by key: how many tails it has used up; nil until there is one
	for i := 0; i+1 < len(n.Content); i += 2 {
		if kind := n.Content[i].Kind; kind != yaml.ScalarNode && kind != yaml.AliasNode {
			return nil, errComplexKey
		}
		v, err := treeOf(n.Content[i+1], depth+1, left)
		if err != nil {
			return nil, err
		}
		key := n.Content[i].Value
		if _, taken := m[key]; taken && again == nil {
			again = map[string]uint{}
		}
		for _, taken := m[key]; taken; _, taken = m[key] {
			name := n.Content[i].Value
			again[name]++
			key = name + tail(again[name])
		}
		m[key] = v
	}
	return m, nil
}

// tail writes a number in binary, with a space for 0 and a dash for 1.
func tail(n uint) string {
	return strings.NewReplacer("0", " ", "1", "-").Replace(strconv.FormatUint(uint64(n), 2))
}

// node masks the scalar of a parsed document in its place.
func (w *walk) node(n *yaml.Node, p place) {
	var out any
	switch n.ShortTag() {
	case "!!null":
		return
	case "!!bool":
		if !p.denied {
			return
		}
		out = w.cut(n)
	case "!!int", "!!float":
		out = w.number(n.Value, p)
	default:
		out = w.string(n.Value, written{}, p)
	}
	text, ok := out.(string)
	if !ok || text == n.Value {
		return
	}
	n.Value, n.Tag = text, "!!str"
	if n.Style&(yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		n.Style = yaml.DoubleQuotedStyle
	}
}
