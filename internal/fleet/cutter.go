// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"unicode/utf8"
)

// CutReason names what was cut from a report because it was too much.
type CutReason string

const (
	CutText        CutReason = "text"         // one text longer than its limit
	CutTextTotal   CutReason = "text_total"   // the texts of one part together
	CutAttributes  CutReason = "attributes"   // more attributes than the limit
	CutNodes       CutReason = "nodes"        // a tree with too many nodes
	CutDepth       CutReason = "depth"        // a tree too deep
	CutConfigFiles CutReason = "config_files" // too many files in the effective config
	CutConfigBytes CutReason = "config_bytes" // their bodies too big
	CutMessageData CutReason = "message_data" // the data of a custom message
	CutIngest      CutReason = "ingest"       // a custom message about an ingest that can't be read
	CutGateway     CutReason = "gateway"      // a custom message about a gateway that can't be read, or names too many
	CutMemory      CutReason = "memory"       // all agents together hold as much as they may
	CutMemoryGone  CutReason = "memory_gone"  // an agent that is gone gave up its parts for others
)

// CutReasons lists every reason.
func CutReasons() []CutReason {
	return []CutReason{
		CutText, CutTextTotal, CutAttributes, CutNodes, CutDepth, CutConfigFiles, CutConfigBytes,
		CutMessageData, CutIngest, CutGateway, CutMemory, CutMemoryGone,
	}
}

// marker ends a text that was cut, and stands in for a value that was left out.
const marker = "…[cut]"

// cutter holds one part of a report to its limits.
type cutter struct {
	limits Limits
	texts  int // bytes of text that this part may still keep
	nodes  int // nodes that this part may still have
	items  int // attributes and elements of lists that it has
	cuts   map[CutReason]struct{}
}

func newCutter(l Limits) *cutter {
	return &cutter{limits: l, texts: l.MaxTextBytes, nodes: l.MaxNodes}
}

// spent is what this part takes, in bytes.
func (c *cutter) spent() int {
	return c.limits.MaxTextBytes - c.texts + nodeBytes*(c.limits.MaxNodes-c.nodes) + attributeBytes*c.items
}

// note remembers that this part was cut for reason r.
func (c *cutter) note(r CutReason) {
	if c.cuts == nil {
		c.cuts = map[CutReason]struct{}{}
	}
	c.cuts[r] = struct{}{}
}

func (c *cutter) name(s string) string { return c.text(s, c.limits.MaxNameBytes) }
func (c *cutter) err(s string) string  { return c.text(s, c.limits.MaxErrorBytes) }

// text keeps at most limit bytes of s and says so at its end. What it returns shares no memory with a longer s.
func (c *cutter) text(s string, limit int) string {
	if c.texts < len(marker) && s != "" {
		c.note(CutTextTotal)
		return marker
	}
	if limit > c.texts {
		limit = c.texts
	}
	if len(s) > limit {
		c.note(CutText)
		s = strings.Clone(head(s, limit-len(marker))) + marker
	}
	c.texts -= len(s)
	return s
}

func (c *cutter) bytes(b []byte) []byte {
	if limit := min(c.limits.MaxNameBytes, max(c.texts, 0)); len(b) > limit {
		c.note(CutText)
		b = b[:limit]
	}
	c.texts -= len(b)
	return append([]byte(nil), b...)
}

// node takes one node out of the budget, if there is one left.
func (c *cutter) node() bool {
	if c.nodes <= 0 {
		c.note(CutNodes)
		return false
	}
	c.nodes--
	return true
}

func (c *cutter) tooDeep(depth int) bool {
	if depth < c.limits.MaxDepth {
		return false
	}
	c.note(CutDepth)
	return true
}

// head is the longest prefix of s within limit bytes that ends between runes.
func head(s string, limit int) string {
	limit = max(limit, 0)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
