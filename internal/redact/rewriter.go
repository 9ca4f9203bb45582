// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import "strings"

// rewriter replaces parts of a text from its start to its end. It allocates nothing
// where nothing changes.
type rewriter struct {
	src  string
	out  strings.Builder
	done int // bytes of src that out has
}

// replace puts with in the place of src[from:to]. Calls go from left to right.
func (r *rewriter) replace(from, to int, with string) {
	if r.src[from:to] == with {
		return
	}
	r.out.WriteString(r.src[r.done:from])
	r.out.WriteString(with)
	r.done = to
}

func (r *rewriter) String() string {
	if r.done == 0 && r.out.Len() == 0 {
		return r.src
	}
	r.out.WriteString(r.src[r.done:])
	r.done = len(r.src)
	return r.out.String()
}
