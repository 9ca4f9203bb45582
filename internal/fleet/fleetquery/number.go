// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"cmp"
	"slices"
	"strconv"
)

func checkNumber(v *Value) (reason, hint string) {
	n, err := strconv.ParseUint(v.Text, 10, 31)
	if err != nil {
		return "is no number", "write a number such as 3, >3 or <=10"
	}
	v.Text = strconv.FormatUint(n, 10)
	return "", ""
}

// MatchNumber returns what tells whether a number is one that a term of a number asks for; Not is not looked at.
func (t Term) MatchNumber() func(n int) bool {
	type bound struct {
		op string
		n  int
	}
	bounds := make([]bound, 0, len(t.Values))
	for _, v := range t.Values {
		n, _ := strconv.Atoi(v.Text) // was checked
		bounds = append(bounds, bound{v.Op, n})
	}
	return func(n int) bool {
		return slices.ContainsFunc(bounds, func(b bound) bool {
			if b.op == "" {
				return n == b.n
			}
			return holds(b.op, cmp.Compare(n, b.n))
		})
	}
}
