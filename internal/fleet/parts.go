// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"iter"
	"strings"
)

// Part is a node of a tree of health, and where it stands.
type Part struct {
	Node *Health
	// Names lead from the whole to the node; empty for the whole.
	Names []string
	// Pipeline is that of the Collector in which the node is, or which it is; empty where there is none.
	Pipeline string
}

// Path is the names as a text, as events have it.
func (p Part) Path() string { return strings.Join(p.Names, PathSeparator) }

// Parts are all nodes of the tree, each before those below it. It works on nil.
func (h *Health) Parts() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		if h != nil {
			h.visit(Part{Node: h}, yield)
		}
	}
}

func (h *Health) visit(p Part, yield func(Part) bool) bool {
	if !yield(p) {
		return false
	}
	for _, child := range h.Children {
		below := Part{Node: child, Names: append(p.Names[:len(p.Names):len(p.Names)], child.Name), Pipeline: p.Pipeline}
		if id, ok := strings.CutPrefix(child.Name, "pipeline:"); ok {
			below.Pipeline = id
		}
		if !child.visit(below, yield) {
			return false
		}
	}
	return true
}

// SaysTheSame reports whether two nodes have the same word on how they are, since the same time.
func (h *Health) SaysTheSame(o *Health) bool { return h.saysTheSame(o) && h.Since.Equal(o.Since) }
