// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// componentsPart shows what a collector is built of.
type componentsPart struct {
	Listed  bool
	Hash    string
	Total   int
	Kinds   []componentKind
	Omitted int
	// Known says that the config or the health tree tells what is used, and Used counts that.
	Known bool
	Used  int
}

type componentKind struct {
	ID, Name   string
	Components []component
	Used       int
}

type component struct {
	Name, Version string
	Module, Tail  string // where its code comes from, and the end of that
	Used          bool
}

// namespaceKey is the attribute under which a Collector tells where a component's code comes from.
const namespaceKey = "code.namespace"

// usedBy are the types of components that an agent's config declares or its health tree has, such as
// "receivers:otlp"; nil if it tells neither.
func usedBy(a *fleet.Agent, n *familyNote) map[string]bool {
	if n == nil && a.Health == nil {
		return nil
	}
	out := map[string]bool{}
	add := func(kind, id string) {
		name, _, _ := strings.Cut(id, "/")
		out[kind+"s:"+name] = true
	}
	if n != nil {
		for _, c := range n.declared {
			if kind, id, ok := strings.Cut(c, ":"); ok {
				add(kind, id)
			}
		}
	}
	var walk func(h *fleet.Health)
	walk = func(h *fleet.Health) {
		for _, child := range h.Children {
			if kind, id := fleet.SplitComponentName(child.Name); kind != "" {
				add(kind, id)
			}
			walk(child)
		}
	}
	if a.Health != nil {
		walk(a.Health)
	}
	return out
}

func newComponentsPart(c *fleet.Components, used map[string]bool) *componentsPart {
	if c == nil {
		return nil
	}
	out := &componentsPart{Listed: c.Listed, Hash: short(c.HashText(), 12), Omitted: c.Omitted, Known: used != nil}
	for i, kind := range c.List {
		k := componentKind{ID: fmt.Sprint("kind-", i), Name: clean(short(kind.Name, 120))}
		for _, entry := range kind.Children {
			one := newComponent(entry)
			if one.Used = used[kind.Name+":"+entry.Name]; one.Used {
				k.Used++
			}
			k.Components = append(k.Components, one)
		}
		// What is used is what people look for; it comes first.
		slices.SortStableFunc(k.Components, func(a, b component) int {
			switch {
			case a.Used == b.Used:
				return 0
			case a.Used:
				return -1
			}
			return 1
		})
		out.Used += k.Used
		out.Total += len(k.Components)
		out.Kinds = append(out.Kinds, k)
	}
	return out
}

func newComponent(c *fleet.Component) component {
	out := component{Name: clean(short(c.Name, 120))}
	for _, a := range c.Metadata {
		if a.Key == namespaceKey {
			out.Module, out.Version, _ = strings.Cut(clean(attributeText(a.Value)), " ")
			out.Tail = tail(out.Module)
		}
	}
	return out
}

// tail is what tells one module path from another.
func tail(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) <= 3 {
		return path
	}
	return "…/" + strings.Join(parts[len(parts)-2:], "/")
}

// attributeText is a value in the manner of JSON, for people.
func attributeText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, attributeText(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []fleet.Attribute:
		parts := make([]string, 0, len(v))
		for _, a := range v {
			parts = append(parts, a.Key+": "+attributeText(a.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return fmt.Sprint(v)
	}
}
