// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Node of a config: a map, a list or a scalar.
type Node struct {
	// Keys and Values of a map, in the order of the text.
	Keys   []string
	Values []*Node
	// Items of a list.
	Items []*Node
	// Text of a scalar; of null it is empty.
	Text string
	// Line is where it begins, from 1.
	Line int
}

// Maxima of a tree.
const (
	maxExamined = 256 << 10 // bytes of text; configs have a hundredth of that
	maxNodes    = 200_000
	maxText     = 2 * maxExamined // bytes of all keys and scalars, aliases followed
	maxDepth    = 64
)

// ErrTooBig says that a config has more text, more nodes, or deeper ones, than are read.
var ErrTooBig = errors.New("bigger than is read")

// ErrNotYAML says that a text is no YAML, or more than one document.
var ErrNotYAML = errors.New("not one YAML document")

// Parse reads YAML, and with it JSON. Aliases and merge keys are followed.
func Parse(body string) (*Node, error) {
	if len(body) > maxExamined {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(body))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(body), &doc); err != nil {
		return nil, fmt.Errorf("%w: %.200s", ErrNotYAML, err.Error())
	}
	if len(doc.Content) == 0 {
		return &Node{}, nil
	}
	b := builder{room: maxNodes, text: maxText}
	return b.node(doc.Content[0], 0)
}

// builder makes a tree. Ten bytes of aliases can stand for all there is, so what it makes is bounded.
type builder struct {
	room int // nodes
	text int // bytes
}

func (b *builder) node(y *yaml.Node, depth int) (*Node, error) {
	b.room--
	b.text -= len(y.Value)
	if b.room < 0 || b.text < 0 || depth > maxDepth {
		return nil, ErrTooBig
	}
	n := &Node{Line: y.Line}
	switch y.Kind {
	case yaml.AliasNode:
		return b.node(y.Alias, depth+1)
	case yaml.ScalarNode:
		if y.Tag != "!!null" {
			n.Text = y.Value
		}
	case yaml.SequenceNode:
		for _, c := range y.Content {
			item, err := b.node(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
	case yaml.MappingNode:
		if err := b.mapping(n, y, depth); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (b *builder) mapping(n *Node, y *yaml.Node, depth int) error {
	var merged []*Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		value, err := b.node(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		key := y.Content[i]
		if key.Tag == "!!merge" {
			merged = append(append(merged, value), value.Items...)
			continue
		}
		if b.text -= len(key.Value); b.text < 0 {
			return ErrTooBig
		}
		n.Keys = append(n.Keys, key.Value)
		n.Values = append(n.Values, value)
	}
	n.merge(merged)
	return nil
}

// merge adds what others have and n has not; the first of them counts.
func (n *Node) merge(others []*Node) {
	if len(others) == 0 {
		return
	}
	has := make(map[string]bool, len(n.Keys))
	for _, k := range n.Keys {
		has[k] = true
	}
	for _, m := range others {
		for i, k := range m.Keys {
			if !has[k] {
				has[k] = true
				n.Keys = append(n.Keys, k)
				n.Values = append(n.Values, m.Values[i])
			}
		}
	}
}

// Get is the value of a key on the way down, or nil. It works on nil.
func (n *Node) Get(keys ...string) *Node {
	for _, k := range keys {
		n = n.get(k)
	}
	return n
}

func (n *Node) get(key string) *Node {
	if n == nil {
		return nil
	}
	for i, k := range n.Keys {
		if k == key {
			return n.Values[i]
		}
	}
	return nil
}

// Texts are the scalars of a list, or a scalar as a list of one. It works on nil.
func (n *Node) Texts() (out []string) {
	if n == nil {
		return nil
	}
	if n.Text != "" {
		return []string{n.Text}
	}
	for _, item := range n.Items {
		if item.Text != "" {
			out = append(out, item.Text)
		}
	}
	return out
}
