// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"slices"
	"strings"
	"sync/atomic"
)

// maxKeyed is how many keys of attributes have a column of their own. Each costs a number an agent, and its values.
const maxKeyed = 24

// keyed is what the agents told under one key of an attribute. All attributes together are nearly a set of its own for
// each agent, which tells its host and its instance; those of one key mostly are few values. It is made when the key is
// first asked for and kept up to date from then on. Who does without one looks into the column of all attributes: that is
// slower, and no less true.
type keyed struct {
	column *column
	asked  atomic.Uint64 // when it was asked for last, in questions
}

// holdKeys sees to it that the attributes that a request asks for have columns of their own.
func (x *Index) holdKeys(r Request) {
	wanted := keysOf(r)
	if len(wanted) == 0 || x.haveKeys(wanted) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, key := range wanted {
		if x.keyed[key] != nil {
			continue
		}
		x.makeRoomForKeyLocked(wanted)
		x.keyed[key] = x.newKeyedLocked(key)
	}
}

// keysOf lists the first maxKeyed keys that a request counts, groups by, or has a condition of.
func keysOf(r Request) (keys []string) {
	add := func(s Side) {
		if s.Key != "" && len(keys) < maxKeyed && !slices.Contains(keys, s.Key) {
			keys = append(keys, s.Key)
		}
	}
	for _, s := range r.Facets {
		add(s)
	}
	if r.GroupBy != nil {
		add(*r.GroupBy)
	}
	for _, t := range r.Query.Terms {
		add(Side{Key: strings.ToLower(t.Key)})
	}
	return keys
}

// haveKeys notes that they are asked for.
func (x *Index) haveKeys(keys []string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	now := x.questions.Add(1)
	all := true
	for _, key := range keys {
		if k := x.keyed[key]; k != nil {
			k.asked.Store(now)
		} else {
			all = false
		}
	}
	return all
}

// makeRoomForKeyLocked drops the column that was asked for the longest ago, unless it is one of those that are wanted.
func (x *Index) makeRoomForKeyLocked(wanted []string) {
	if len(x.keyed) < maxKeyed {
		return
	}
	oldest := ""
	for key, k := range x.keyed {
		if !slices.Contains(wanted, key) && (oldest == "" || k.asked.Load() < x.keyed[oldest].asked.Load()) {
			oldest = key
		}
	}
	delete(x.keyed, oldest)
}

func (x *Index) newKeyedLocked(key string) *keyed {
	k := &keyed{column: newColumn()}
	k.asked.Store(x.questions.Load())
	all, prefix := x.columns[sideAttribute], key+"\x00"
	ours := make([]bool, len(all.values.texts))
	for v, text := range all.values.texts {
		ours[v] = hasPrefixFold(text, prefix)
	}
	var values []string
	for slot, set := range all.of {
		values = values[:0]
		for _, v := range all.members[set] {
			if ours[v] {
				values = append(values, all.values.texts[v][len(prefix):])
			}
		}
		k.column.put(slot, values)
	}
	return k
}

// putAttributes makes attributes, each "key, a zero byte, value", those of a slot.
func (x *Index) putAttributes(slot int, attributes []string) {
	all := x.columns[sideAttribute]
	x.countKeys(all.members[all.of[slot]], -1)
	all.put(slot, attributes)
	x.countKeys(all.members[all.of[slot]], +1)
	var values []string
	for key, k := range x.keyed {
		prefix := key + "\x00"
		values = values[:0]
		for _, text := range attributes {
			if hasPrefixFold(text, prefix) {
				values = append(values, text[len(prefix):])
			}
		}
		k.column.put(slot, values)
	}
}

// countKeys counts the keys of values of sideAttribute in or out.
func (x *Index) countKeys(members []uint32, by int) {
	for _, v := range members {
		key, _, _ := strings.Cut(x.columns[sideAttribute].values.texts[v], "\x00")
		if n := x.keys[key] + by; n == 0 {
			delete(x.keys, key)
		} else {
			x.keys[key] = n
		}
	}
}
