// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Health is one node of the tree of statuses that an agent reports: the whole, its pipelines, their components.
type Health struct {
	// Name is the key under which the parent lists this node, such as "exporter:otlp"; empty for the whole.
	Name      string
	Healthy   bool
	Status    string // the agent's own word, such as "StatusRecoverableError"
	LastError string
	// Since is when this combination of healthy, status and error began: the agent's own time for it where that
	// is sane, else when it was first seen here.
	Since time.Time
	// StartedAt is zero for what is not running and for what did not say.
	StartedAt  time.Time
	Attributes []Attribute
	// Children are sorted by name.
	Children []*Health
	// Omitted counts children and attributes that were more than the limits.
	Omitted int

	bytes int // of the whole tree; set on its root
}

// Statuses that a Collector reports. Other agents have words of their own.
const (
	statusOK             = "StatusOK"
	statusStarting       = "StatusStarting"
	statusStopping       = "StatusStopping"
	statusStopped        = "StatusStopped"
	statusRecoverable    = "StatusRecoverableError"
	statusPermanentError = "StatusPermanentError"
	statusFatalError     = "StatusFatalError"
)

func decodeHealth(c *cutter, name string, h *protobufs.ComponentHealth, depth int) *Health {
	out := &Health{
		Name:      c.name(name),
		Healthy:   h.GetHealthy(),
		Status:    c.name(h.GetStatus()),
		LastError: c.err(h.GetLastError()),
		Since:     unixNano(h.GetStatusTimeUnixNano()),
		StartedAt: unixNano(h.GetStartTimeUnixNano()),
	}
	out.Attributes = decodeAttributes(c, h.GetAttributes(), 0, &out.Omitted)
	out.Children = decodeChildren(c, h.GetComponentHealthMap(), depth+1, &out.Omitted)
	return out
}

func decodeChildren(c *cutter, m map[string]*protobufs.ComponentHealth, depth int, omitted *int) []*Health {
	if len(m) == 0 {
		return nil
	}
	if c.tooDeep(depth) {
		*omitted += len(m)
		return nil
	}
	var out []*Health
	for i, name := range sortedKeys(m) {
		if !c.node() {
			*omitted += len(m) - i
			break
		}
		out = append(out, decodeHealth(c, name, m[name], depth))
	}
	// Cut names may sort otherwise than whole ones.
	slices.SortStableFunc(out, func(a, b *Health) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// unixNano is the zero time for 0 and for what no clock shows.
func unixNano(n uint64) time.Time {
	if n == 0 || n > math.MaxInt64 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

// settle finishes a freshly decoded tree: a node that says what it said before keeps its Since, and a tree in
// which nothing changed is the old tree. prev may be nil.
func (h *Health) settle(prev *Health, now time.Time) *Health {
	if prev != nil && h.saysTheSame(prev) {
		h.Since = prev.Since
	} else {
		h.Since = saneTime(h.Since, now)
	}
	same := prev != nil && len(prev.Children) == len(h.Children)
	old := prev.children()
	for i, child := range h.Children {
		var was *Health
		old, was = seek(old, child.Name)
		h.Children[i] = child.settle(was, now)
		same = same && h.Children[i] == was
	}
	if same && h.sameNode(prev) {
		return prev
	}
	return h
}

func (h *Health) children() []*Health {
	if h == nil {
		return nil
	}
	return h.Children
}

// seek drops what sorts before name and takes the node of that name, if there is one.
func seek(sorted []*Health, name string) (rest []*Health, found *Health) {
	for len(sorted) > 0 && sorted[0].Name < name {
		sorted = sorted[1:]
	}
	if len(sorted) > 0 && sorted[0].Name == name {
		return sorted[1:], sorted[0]
	}
	return sorted, nil
}

func (h *Health) saysTheSame(o *Health) bool {
	return h.Healthy == o.Healthy && h.Status == o.Status && h.LastError == o.LastError
}

func (h *Health) sameNode(o *Health) bool {
	return h.saysTheSame(o) && h.Name == o.Name && h.Omitted == o.Omitted && h.StartedAt.Equal(o.StartedAt) &&
		reflect.DeepEqual(h.Attributes, o.Attributes)
}

// dawn is earlier than any agent: a clock that was never set shows less.
var dawn = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

// saneTime is t if an agent may have meant it, else now.
func saneTime(t, now time.Time) time.Time {
	if t.Before(dawn) || t.After(now) {
		return now.UTC()
	}
	return t
}
