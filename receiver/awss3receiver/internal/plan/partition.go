// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"iter"
	"time"
)

// Partition is one value of the time in keys.
type Partition struct {
	// Key is the text of the format.
	Key string
	// Time is the first instant of the range that lies in the partition, End the first one after it
	// that does not.
	Time, End time.Time
}

// Range is what a replay reads: the partitions of every instant in [Start, End).
type Range struct {
	Start, End time.Time
	Format     Format
	// Location is the zone of the times in the keys.
	Location *time.Location
}

// walk goes through the range instant by change, with a partition twice where the clock is set
// back, or where the format tells less than the date.
func (r Range) walk(yield func(Partition) bool) {
	if !r.Start.Before(r.End) {
		return
	}
	t := r.Start.In(r.Location)
	last := Partition{Key: r.Format.At(t), Time: t}
	for {
		next, changes := r.Format.next(t)
		if !changes || !next.Before(r.End) {
			break
		}
		if key := r.Format.At(next); key != last.Key {
			last.End = next
			if !yield(last) {
				return
			}
			last = Partition{Key: key, Time: next}
		}
		t = next
	}
	last.End = r.End.In(r.Location)
	yield(last)
}

// Partitions are those of the range, each once, in the order of the time at which each begins.
func (r Range) Partitions() iter.Seq[Partition] {
	return func(yield func(Partition) bool) {
		seen := seen{keys: map[string]struct{}{}, forgets: r.Format.dated}
		r.walk(func(p Partition) bool { return !seen.add(p) || yield(p) })
	}
}

// Begin is when the partition around a time begins.
func (f Format) Begin(t time.Time, in *time.Location) time.Time { return f.truncate(t.In(in)) }

// End is the first time, not before t, at which a partition begins.
func (f Format) End(t time.Time, in *time.Location) time.Time {
	begin := f.Begin(t, in)
	if begin.Equal(t) {
		return t
	}
	if next, ok := f.next(t.In(in)); ok {
		return next
	}
	return t
}

// Settled is the latest time, not after t, up to which all partitions are over for good. Where a
// clock is set back, partitions come a second time: they are over when they are that time.
func (f Format) Settled(t time.Time, in *time.Location) time.Time {
	end := f.truncate(t.In(in))
	change, next := end.ZoneBounds()
	for _, at := range [...]time.Time{change, next} {
		if at.IsZero() {
			continue
		}
		_, before := at.Add(-time.Second).In(in).Zone()
		_, after := at.In(in).Zone()
		back := time.Duration(before-after) * time.Second
		if back > 0 && end.After(at.Add(-back)) && end.Before(at.Add(back)) {
			return f.truncate(at.Add(-back).In(in))
		}
	}
	return end
}

// memory is how long a key may come again after the clock was set back. The largest step that a
// zone ever took is a day, over the date line.
const memory = 26 * time.Hour

// seen knows the keys that were there.
type seen struct {
	keys map[string]struct{}
	// forgets is whether a key comes again only because the clock was set back, so that a year of
	// minutes need not be remembered.
	forgets bool
	recent  []Partition
}

// add reports whether the key is new.
func (s *seen) add(p Partition) bool {
	if _, known := s.keys[p.Key]; known {
		return false
	}
	s.keys[p.Key] = struct{}{}
	if s.forgets {
		s.recent = append(s.recent, p)
		for s.recent[0].Time.Before(p.Time.Add(-memory)) {
			delete(s.keys, s.recent[0].Key)
			s.recent = s.recent[1:]
		}
	}
	return true
}
