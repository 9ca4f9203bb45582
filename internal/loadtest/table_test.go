// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table has a row a figure and a column a run.
type table struct {
	rows    []string
	columns []string
	cells   map[[2]string]float64 // by row and column; the latest counts
}

// column is where the figures of a run go.
func (t *table) column(role string, size int) func(what string, value float64) {
	name := fmt.Sprintf("%s %d", role, size)
	if t.cells == nil {
		t.cells = map[[2]string]float64{}
	}
	t.columns = appendNew(t.columns, name)
	return func(what string, value float64) {
		t.rows = appendNew(t.rows, what)
		t.cells[[2]string{what, name}] = value
	}
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// String is the table as people read it.
func (t *table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\t%s\t\n", strings.Join(t.columns, "\t"))
	for _, row := range t.rows {
		fmt.Fprint(w, row, "\t")
		for _, column := range t.columns {
			if v, ok := t.cells[[2]string{row, column}]; ok {
				fmt.Fprint(w, short(v))
			}
			fmt.Fprint(w, "\t")
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a strings.Builder does not fail
	return b.String()
}

// short leaves away what nobody reads.
func short(v float64) string {
	if v == float64(int64(v)) || v >= 100 || v <= -100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
