// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// componentKindsInHash are the kinds of a Collector's components as its list calls them and as its hash does, in the
// order of the hash.
var componentKindsInHash = [...]struct{ listed, hashed string }{
	{"receivers", "receiver"},
	{"processors", "processor"},
	{"exporters", "exporter"},
	{"extensions", "extension"},
	{"connectors", "connector"},
}

// codeNamespace is the metadata of a Collector's component: its Go module and version.
const codeNamespace = "code.namespace"

// isWhatItsHashSays reports whether the list can be told from its hash: it has what a Collector's list has and nothing
// else, and the hash is the one that Collectors compute over that. Only then may the hash stand for the list of
// another agent, for only then nobody can make it stand for something else.
func (c *Components) isWhatItsHashSays() bool {
	if !c.Listed || c.Omitted > 0 || len(c.Hash) != sha256.Size {
		return false
	}
	var b strings.Builder
	kinds := 0
	for _, kind := range componentKindsInHash {
		b.WriteString(kind.hashed + ":")
		for _, entry := range c.List {
			if entry.Name != kind.listed {
				continue
			}
			kinds++
			if len(entry.Metadata) > 0 || !writeComponents(&b, entry.Children) {
				return false
			}
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return kinds == len(c.List) && bytes.Equal(sum[:], c.Hash)
}

// writeComponents writes what enters the hash. It refuses names that could be read in two ways.
func writeComponents(b *strings.Builder, list []*Component) bool {
	const separators = "=;:"
	for _, c := range list {
		if len(c.Children) > 0 || len(c.Metadata) != 1 || c.Metadata[0].Key != codeNamespace {
			return false
		}
		ref, ok := c.Metadata[0].Value.(string)
		if !ok || strings.ContainsAny(c.Name, separators) || strings.ContainsAny(ref, separators) {
			return false
		}
		b.WriteString(c.Name + "=" + ref + ";")
	}
	return true
}

// recallLocked is the list itself where only its hash was reported and that is known to stand for it.
func (f *Fleet) recallLocked(c *Components) *Components {
	if c == nil || c.Listed {
		return c
	}
	known := f.verified[string(c.Hash)]
	if known == nil {
		return c
	}
	return known
}
