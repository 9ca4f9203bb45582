// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Components is what an agent is built of.
type Components struct {
	// Hash is the agent's own hash of the list.
	Hash []byte
	// Listed says whether the list itself is known, and not only its hash.
	Listed bool
	// List is sorted by name. For a Collector it is the kinds ("receivers", ...), with the types below.
	List []*Component
	// Omitted counts entries that were more than the limits.
	Omitted int

	sum      sum
	bytes    int
	verified bool // the list is what Hash says
}

// Component is an entry of [Components].
type Component struct {
	Name     string
	Metadata []Attribute
	Children []*Component
}

// HashText is the agent's hash in hex.
func (c *Components) HashText() string { return hex.EncodeToString(c.Hash) }

// maxHashBytes is more than any hash has.
const maxHashBytes = 128

func decodeComponents(c *cutter, ac *protobufs.AvailableComponents) *Components {
	hash := ac.GetHash()
	if len(hash) > maxHashBytes {
		c.note(CutText)
		hash = hash[:maxHashBytes]
	}
	out := &Components{Hash: slices.Clone(hash), Listed: len(ac.GetComponents()) > 0}
	out.List = decodeComponentMap(c, ac.GetComponents(), 0, &out.Omitted)
	out.sum, out.bytes = out.digest(), c.spent()+nodeBytes+len(hash)
	out.verified = out.isWhatItsHashSays()
	return out
}

func decodeComponentMap(c *cutter, m map[string]*protobufs.ComponentDetails, depth int, omitted *int) []*Component {
	if len(m) == 0 {
		return nil
	}
	if c.tooDeep(depth) {
		*omitted += len(m)
		return nil
	}
	var out []*Component
	for i, name := range sortedKeys(m) {
		if !c.node() {
			*omitted += len(m) - i
			break
		}
		d := m[name]
		out = append(out, &Component{
			Name:     c.name(name),
			Metadata: decodeAttributes(c, d.GetMetadata(), 0, omitted),
			Children: decodeComponentMap(c, d.GetSubComponentMap(), depth+1, omitted),
		})
	}
	slices.SortStableFunc(out, func(a, b *Component) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (c *Components) digest() sum {
	h := newHasher()
	h.text(string(c.Hash))
	h.int(c.Omitted)
	h.components(c.List)
	return h.sum()
}

func (h hasher) components(list []*Component) {
	h.int(len(list))
	for _, c := range list {
		h.text(c.Name)
		h.int(len(c.Metadata))
		for _, a := range c.Metadata {
			h.text(a.Key)
			h.text(fmt.Sprintf("%T %v", a.Value, a.Value))
		}
		h.components(c.Children)
	}
}
