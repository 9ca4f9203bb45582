// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"encoding/base64"
	"fmt"
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
}

type componentKind struct {
	ID, Name   string
	Components []component
}

type component struct {
	Name, Version string
	Module, Tail  string // where its code comes from, and the end of that
}

// namespaceKey is the attribute under which a Collector tells where a component's code comes from.
const namespaceKey = "code.namespace"

func newComponentsPart(c *fleet.Components) *componentsPart {
	if c == nil {
		return nil
	}
	out := &componentsPart{Listed: c.Listed, Hash: short(c.HashText(), 12), Omitted: c.Omitted}
	for i, kind := range c.List {
		k := componentKind{ID: fmt.Sprint("kind-", i), Name: clean(short(kind.Name, 120))}
		for _, entry := range kind.Children {
			k.Components = append(k.Components, newComponent(entry))
		}
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
