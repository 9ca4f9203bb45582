// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// attrCodeNamespace is the metadata key under which a component's Go module and
// version are told.
const attrCodeNamespace = "code.namespace"

// Modules are the components that a Collector binary is built of: of each kind
// the component types, each with the builder's reference "module version".
type Modules struct {
	Receivers  map[string]string
	Processors map[string]string
	Exporters  map[string]string
	Extensions map[string]string
	Connectors map[string]string
}

// kinds are the five in the order in which they enter the hash.
func (m Modules) kinds() [5]kindModules {
	return [5]kindModules{
		{"receiver", "receivers", m.Receivers},
		{"processor", "processors", m.Processors},
		{"exporter", "exporters", m.Exporters},
		{"extension", "extensions", m.Extensions},
		{"connector", "connectors", m.Connectors},
	}
}

type kindModules struct {
	kind   string            // in the hash
	plural string            // in the message
	refs   map[string]string // component type to "module version"
}

// Components is the whole set with its hash. The caller sends the hash first and
// the set when a server asks for it.
func Components(m Modules) *protobufs.AvailableComponents {
	components := make(map[string]*protobufs.ComponentDetails, 5)
	for _, k := range m.kinds() {
		components[k.plural] = &protobufs.ComponentDetails{SubComponentMap: details(k.refs)}
	}
	return &protobufs.AvailableComponents{Components: components, Hash: componentsHash(m)}
}

func details(refs map[string]string) map[string]*protobufs.ComponentDetails {
	sub := make(map[string]*protobufs.ComponentDetails, len(refs))
	for typ, ref := range refs {
		sub[typ] = &protobufs.ComponentDetails{
			Metadata: []*protobufs.KeyValue{stringKeyValue(attrCodeNamespace, ref)},
		}
	}
	return sub
}

// componentsHash is SHA-256 over, for each kind in order, "kind:" and its sorted
// "type=ref;" entries with nothing between the kinds. Servers cache sets by this
// hash, so it has to be the one that the Collector's other OpAMP extension
// computes for the same binary, byte for byte.
func componentsHash(m Modules) []byte {
	var b strings.Builder
	for _, k := range m.kinds() {
		b.WriteString(k.kind + ":")
		for _, typ := range slices.Sorted(maps.Keys(k.refs)) {
			b.WriteString(typ + "=" + k.refs[typ] + ";")
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return sum[:]
}
