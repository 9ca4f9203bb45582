// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// maxHealthRows is how many parts a page shows. The API tells all.
const maxHealthRows = 1000

// healthPart shows the tree of statuses: each pipeline a group, its components below it.
type healthPart struct {
	Groups  []healthGroup
	Omitted int // parts that are not shown
}

// healthGroup is one branch of the tree.
type healthGroup struct {
	Title, Name string // "Pipeline" "traces"
	State       badge
	Since       moment
	Error       string
	Rows        []healthRow
}

type healthRow struct {
	Depth      int // 0 is right below the group
	Kind, Name string
	State      badge
	Since      moment
	Error      string
	Attributes []attribute
}

func newHealthPart(root *fleet.Health, now time.Time) *healthPart {
	if root == nil {
		return nil
	}
	out := &healthPart{Omitted: root.Omitted}
	room := maxHealthRows
	for _, branch := range inOrder(root.Children, branchRank) {
		if room <= 0 {
			out.Omitted += size(branch)
			continue
		}
		room--
		g := newHealthGroup(branch, now)
		out.Omitted += branch.Omitted
		for _, child := range inOrder(branch.Children, partRank) {
			out.Omitted += g.add(child, 0, now, &room)
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

// inOrder sorts by rank, and leaves the equal in the order of their names.
func inOrder(nodes []*fleet.Health, rank func(name string) int) []*fleet.Health {
	out := slices.Clone(nodes)
	slices.SortStableFunc(out, func(a, b *fleet.Health) int { return cmp.Compare(rank(a.Name), rank(b.Name)) })
	return out
}

// branchRank puts pipelines before what serves them all.
func branchRank(name string) int {
	if strings.HasPrefix(name, "pipeline:") {
		return 0
	}
	return 1
}

// partRank follows the data through a pipeline.
func partRank(name string) int {
	kind, _ := fleet.SplitComponentName(name)
	return slices.Index([]string{"receiver", "processor", "connector", "exporter"}, kind)
}

func newHealthGroup(h *fleet.Health, now time.Time) healthGroup {
	g := healthGroup{
		Name:  clean(h.Name),
		State: statusBadge(h.Healthy, h.Status),
		Since: ago(h.Since, now),
		Error: clean(h.LastError),
	}
	if id, ok := strings.CutPrefix(h.Name, "pipeline:"); ok {
		g.Title, g.Name = "Pipeline", clean(id)
	} else if h.Name == "extensions" {
		g.Title, g.Name = "Extensions", ""
	}
	return g
}

// add appends h and what is below it, and returns how much it left out.
func (g *healthGroup) add(h *fleet.Health, depth int, now time.Time, room *int) (omitted int) {
	if *room <= 0 {
		return size(h)
	}
	*room--
	kind, id := fleet.SplitComponentName(h.Name)
	g.Rows = append(g.Rows, healthRow{
		Depth: min(depth, 6), Kind: kind, Name: clean(id),
		State: statusBadge(h.Healthy, h.Status), Since: ago(h.Since, now),
		Error: clean(h.LastError), Attributes: attributeRows(h.Attributes),
	})
	for _, child := range inOrder(h.Children, partRank) {
		omitted += g.add(child, depth+1, now, room)
	}
	return omitted + h.Omitted
}

func size(h *fleet.Health) int {
	n := 1 + h.Omitted
	for _, c := range h.Children {
		n += size(c)
	}
	return n
}
