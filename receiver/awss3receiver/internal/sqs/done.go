// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"container/list"
	"sync"
)

// maxRemembered is how many records that are done are remembered: a few megabytes. A message has one
// as a rule, so one comes back in vain only after as many others.
const maxRemembered = 20_000

// doneSet remembers which records of a message are done, so that they are not done again when the
// message comes back: because another record of it failed, or because it could not be deleted. The
// message that was not seen for longest is forgotten first.
type doneSet struct {
	limit int // records; fixed at construction

	mu       sync.Mutex
	byID     map[string]*list.Element // guarded by mu: of *remembered
	youngest *list.List               // guarded by mu
	records  int                      // guarded by mu
}

type remembered struct {
	id   string
	done map[int]struct{} // indexes of records
}

func newDoneSet(limit int) *doneSet {
	return &doneSet{limit: limit, byID: make(map[string]*list.Element), youngest: list.New()}
}

// add remembers a record of a message.
func (d *doneSet) add(id string, index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.byID[id]
	if !ok {
		e = d.youngest.PushFront(&remembered{id: id, done: make(map[int]struct{}, 1)})
		d.byID[id] = e
	}
	d.youngest.MoveToFront(e)
	done := e.Value.(*remembered).done
	if _, ok := done[index]; ok {
		return
	}
	done[index] = struct{}{}
	for d.records++; d.records > d.limit; {
		d.forgetLocked(d.youngest.Back())
	}
}

// has is whether a record of a message was added and is not forgotten.
func (d *doneSet) has(id string, index int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.byID[id]
	if !ok {
		return false
	}
	_, ok = e.Value.(*remembered).done[index]
	return ok
}

func (d *doneSet) forgetLocked(e *list.Element) {
	r := e.Value.(*remembered)
	delete(d.byID, r.id)
	d.records -= len(r.done)
	d.youngest.Remove(e)
}
