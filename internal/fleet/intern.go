// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

// interned keeps one copy of what many agents have in common. It is keyed by our own hash of the content.
type interned[T any] struct {
	sumOf   func(*T) sum // fixed at construction
	sizeOf  func(*T) int // fixed at construction; in bytes
	account *int64       // fixed at construction; the bytes of all entries are added to it
	gone    func(*T)     // told of each entry that is dropped; may be nil
	entries map[sum]*entry[T]
}

type entry[T any] struct {
	value *T
	users int
}

func newInterned[T any](sumOf func(*T) sum, sizeOf func(*T) int, account *int64) interned[T] {
	return interned[T]{sumOf: sumOf, sizeOf: sizeOf, account: account, entries: map[sum]*entry[T]{}}
}

// hold returns the one copy of v's content and counts its user. nil stays nil.
func (in *interned[T]) hold(v *T) *T {
	if v == nil {
		return nil
	}
	e := in.entries[in.sumOf(v)]
	if e == nil {
		e = &entry[T]{value: v}
		in.entries[in.sumOf(v)] = e
		*in.account += int64(in.sizeOf(v))
	}
	e.users++
	return e.value
}

// drop undoes one hold of v's content.
func (in *interned[T]) drop(v *T) {
	if v == nil {
		return
	}
	s := in.sumOf(v)
	e := in.entries[s]
	e.users--
	if e.users == 0 {
		delete(in.entries, s)
		if in.gone != nil {
			in.gone(e.value)
		}
		*in.account -= int64(in.sizeOf(e.value))
	}
}
