// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Plan is a range of partitions and what the keys around them look like.
type Plan struct {
	Range  Range
	Layout Layout
}

// Target is a partition to be listed.
type Target struct {
	Partition

	// Prefix is how each key of it begins.
	Prefix string
}

// Scan is a piece of a plan that one listing can read: its targets follow each other in the order of
// keys as in time, and none lies within another.
type Scan struct {
	// Root is the longest directory that all targets are in; a listing below it meets them all.
	Root string
	// First and Last are the prefixes of the first and the last target.
	First, Last string
	Targets     iter.Seq[Target]
}

// Targets are all partitions in order with their prefixes, from the one that begins at from on.
func (p Plan) Targets(form Form, from time.Time) iter.Seq[Target] {
	return func(yield func(Target) bool) {
		for partition := range p.Range.Partitions() {
			if partition.Time.Before(from) {
				continue
			}
			if !yield(Target{Partition: partition, Prefix: p.Layout.KeyPrefix(form, partition.Key)}) {
				return
			}
		}
	}
}

// Scans cuts the plan into as few scans as keep the order of time. That is one for each format whose
// text grows with time; whether it does is looked at, key by key. Targets of such a plan are made as
// they are read, however many there are.
func (p Plan) Scans(form Form, from time.Time) iter.Seq[Scan] {
	targets := p.Targets(form, from)
	return func(yield func(Scan) bool) {
		first, last, ordered := span(targets)
		switch {
		case first == nil:
			return
		case ordered:
			yield(newScan(first.Prefix, last.Prefix, targets))
			return
		}
		var run []Target
		flush := func() bool {
			return yield(newScan(run[0].Prefix, run[len(run)-1].Prefix, slices.Values(run)))
		}
		for target := range targets {
			if len(run) > 0 && !follows(run[len(run)-1].Prefix, target.Prefix) {
				if !flush() {
					return
				}
				run = nil
			}
			run = append(run, target)
		}
		flush()
	}
}

// Singles gives each target a scan of its own.
func (p Plan) Singles(form Form, from time.Time) iter.Seq[Scan] {
	return func(yield func(Scan) bool) {
		for target := range p.Targets(form, from) {
			if !yield(newScan(target.Prefix, target.Prefix, slices.Values([]Target{target}))) {
				return
			}
		}
	}
}

// span is the first and the last target, and whether all follow each other in the order of keys.
func span(targets iter.Seq[Target]) (first, last *Target, ordered bool) {
	ordered = true
	for target := range targets {
		if last == nil {
			first = &target
		} else if !follows(last.Prefix, target.Prefix) {
			ordered = false
		}
		last = &target
	}
	return first, last, ordered
}

// follows reports whether all keys that begin with next come after all that begin with prefix.
func follows(prefix, next string) bool { return next > prefix && !strings.HasPrefix(next, prefix) }

func newScan(first, last string, targets iter.Seq[Target]) Scan {
	same := 0
	for same < len(first) && same < len(last) && first[same] == last[same] {
		same++
	}
	root := first[:same]
	if first != last {
		root = root[:strings.LastIndexByte(root, '/')+1]
	}
	return Scan{Root: root, First: first, Last: last, Targets: targets}
}

// Before is a key after which all keys that begin with prefix come, and few others. It is empty where
// there is none such: a listing then begins at the first key.
func Before(prefix string) string {
	if prefix == "" {
		return ""
	}
	head, c := prefix[:len(prefix)-1], prefix[len(prefix)-1]
	if c > ' ' && c < utf8.RuneSelf {
		return head + string(rune(c-1)) + "~"
	}
	_, size := utf8.DecodeLastRuneInString(prefix)
	return prefix[:len(prefix)-size]
}
