// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"
	"strings"
)

// Form is how the parts of a key are put together.
type Form int

const (
	// Clean is what the exporter writes: repeated and trailing slashes of the prefix are left out.
	Clean Form = iota
	// Literal keeps every slash that the prefix has, as exporters and readers did before.
	Literal
)

// Layout is what keys look like around the time.
type Layout struct {
	Prefix     string
	FilePrefix string
	// Signal stands before what makes a key unique: traces, metrics, logs, or nothing.
	Signal string
}

// file is how the last part of each key begins.
func (l Layout) file() string {
	if l.Signal == "" {
		return l.FilePrefix
	}
	return l.FilePrefix + l.Signal + "_"
}

// KeyPrefix is how each key of a partition begins.
func (l Layout) KeyPrefix(form Form, partition string) string {
	if form == Clean {
		// The mark keeps the end, which Join would clean as well.
		const mark = "\x00"
		return strings.TrimSuffix(path.Join(l.Prefix, partition, l.file()+mark), mark)
	}
	switch {
	case l.Prefix == "":
		return partition + "/" + l.file()
	case strings.Trim(l.Prefix, "/") == "":
		return l.Prefix + partition + "/" + l.file()
	}
	return l.Prefix + "/" + partition + "/" + l.file()
}

// Forms are the forms that differ for this layout, the one to try first in front.
func (l Layout) Forms(partition string) []Form {
	if l.KeyPrefix(Clean, partition) == l.KeyPrefix(Literal, partition) {
		return []Form{Clean}
	}
	return []Form{Clean, Literal}
}
