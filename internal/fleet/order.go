// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

// record is an agent and its places in the orders of the fleet.
type record struct {
	agent *Agent

	version links // in Fleet.byVersion
	time    links // in Fleet.present or Fleet.gone
	weight  links // in Fleet.laden, or in none
	news    links // in Fleet.news, or in none
	mail    links // in Fleet.mailed, or in none

	newsAt time.Time // when its messages last changed the version
	posts  allowance // of messages to it
}

// links of a record in one order.
type links struct {
	in         *order
	prev, next *record
}

// order is a doubly linked list of records through one of their links.
type order struct {
	links      func(*record) *links // fixed at construction
	head, tail *record
}

func newOrder(of func(*record) *links) *order { return &order{links: of} }

// push puts r at the end, whatever order it was in.
func (o *order) push(r *record) {
	l := o.links(r)
	if l.in != nil {
		l.in.remove(r)
	}
	*l = links{in: o, prev: o.tail}
	if o.tail == nil {
		o.head = r
	} else {
		o.links(o.tail).next = r
	}
	o.tail = r
}

// drop is remove, if r is in this order.
func (o *order) drop(r *record) {
	if o.links(r).in == o {
		o.remove(r)
	}
}

func (o *order) remove(r *record) {
	l := o.links(r)
	if l.prev == nil {
		o.head = l.next
	} else {
		o.links(l.prev).next = l.next
	}
	if l.next == nil {
		o.tail = l.prev
	} else {
		o.links(l.next).prev = l.prev
	}
	*l = links{}
}
