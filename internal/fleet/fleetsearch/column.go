// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"encoding/binary"
	"slices"
)

// dictionary gives texts numbers. A number that nobody uses any more is given anew.
type dictionary struct {
	ids   map[string]uint32
	texts []string
	users []int32
	free  []uint32
}

func newDictionary() dictionary { return dictionary{ids: map[string]uint32{}} }

// hold returns the number of a text and counts its user.
func (d *dictionary) hold(text string) uint32 {
	id, ok := d.ids[text]
	if !ok {
		if n := len(d.free); n > 0 {
			id = d.free[n-1]
			d.free = d.free[:n-1]
			d.texts[id] = text
		} else {
			id = uint32(len(d.texts))
			d.texts = append(d.texts, text)
			d.users = append(d.users, 0)
		}
		d.ids[text] = id
	}
	d.users[id]++
	return id
}

func (d *dictionary) drop(id uint32) {
	if d.users[id]--; d.users[id] > 0 {
		return
	}
	delete(d.ids, d.texts[id])
	d.texts[id] = ""
	d.free = append(d.free, id)
}

// column is one facet of all agents: for each slot the number of a set of values. Set 0 is empty.
type column struct {
	values  dictionary
	sets    dictionary // of the packed numbers of their values
	members [][]uint32 // by set
	of      []uint32   // by slot

	scratch []uint32 // of put
	packed  []byte   // of put
}

func newColumn() *column {
	c := &column{values: newDictionary(), sets: newDictionary()}
	c.sets.hold("")
	c.members = append(c.members, nil)
	return c
}

// put makes texts the values of a slot. Their order and repetition don't matter. It returns the number of each.
func (c *column) put(slot int, texts []string) []uint32 {
	for len(c.of) <= slot {
		c.of = append(c.of, 0)
	}
	old := c.of[slot]
	if len(texts) == 0 {
		c.of[slot] = 0
		c.dropSet(old)
		return nil
	}
	c.scratch = c.scratch[:0]
	for _, t := range texts {
		c.scratch = append(c.scratch, c.values.hold(t))
	}
	held := slices.Clone(c.scratch)
	slices.Sort(c.scratch)
	c.scratch = slices.Compact(c.scratch)
	c.packed = c.packed[:0]
	for _, id := range c.scratch {
		c.packed = binary.LittleEndian.AppendUint32(c.packed, id)
	}
	set := c.holdSet()
	for _, id := range held { // the set holds its values
		c.values.drop(id)
	}
	c.of[slot] = set
	c.dropSet(old)
	return held
}

// holdSet counts the user of the set that scratch and packed hold.
func (c *column) holdSet() uint32 {
	if id, ok := c.sets.ids[string(c.packed)]; ok {
		c.sets.users[id]++
		return id
	}
	id := c.sets.hold(string(c.packed))
	for int(id) >= len(c.members) {
		c.members = append(c.members, nil)
	}
	c.members[id] = slices.Clone(c.scratch)
	for _, v := range c.members[id] {
		c.values.users[v]++
	}
	return id
}

func (c *column) dropSet(id uint32) {
	if id == 0 {
		return
	}
	last := c.sets.users[id] == 1
	members := c.members[id]
	c.sets.drop(id)
	if !last {
		return
	}
	c.members[id] = nil
	for _, v := range members {
		c.values.drop(v)
	}
}

// verdicts says of each set whether one of its values matches.
func (c *column) verdicts(match func(string) bool) []bool {
	values := make([]bool, len(c.values.texts))
	for id, text := range c.values.texts {
		values[id] = c.values.users[id] > 0 && match(text)
	}
	sets := make([]bool, len(c.members))
	for id, members := range c.members {
		for _, v := range members {
			if values[v] {
				sets[id] = true
				break
			}
		}
	}
	return sets
}

// text is the one value of a slot of a column that has at most one.
func (c *column) text(slot int) string { return c.textOf(c.of[slot]) }

// textOf is the one value of a set that has at most one.
func (c *column) textOf(set uint32) string {
	if members := c.members[set]; len(members) > 0 {
		return c.values.texts[members[0]]
	}
	return ""
}
