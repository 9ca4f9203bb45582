// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"os"
	"slices"
)

// fileMarks are files by what tells one content from the next without reading it.
type fileMarks struct {
	infos []os.FileInfo // nil where a file cannot be looked at

	complained []os.FileInfo // of what could not be read, so that it is said once
}

func markFiles(names []string) fileMarks {
	m := fileMarks{infos: make([]os.FileInfo, len(names))}
	for i, name := range names {
		m.infos[i], _ = os.Stat(name) // what is not there now is a change like any other
	}
	return m
}

func (m *fileMarks) equal(other fileMarks) bool {
	return slices.EqualFunc(m.infos, other.infos, sameFile)
}

// complain calls say unless it did for the same state of the files.
func (m *fileMarks) complain(about fileMarks, say func()) {
	if m.complained != nil && slices.EqualFunc(m.complained, about.infos, sameFile) {
		return
	}
	m.complained = about.infos
	say()
}

// sameFile sees a file written in place as well as one that was put in its place, also
// by way of a symbolic link further up, as with secrets that are mounted.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
