// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/itchyny/timefmt-go"
)

// Step is the finest unit of time that a format tells apart.
type Step int

// Steps, from the finest on. A format without any time has no step: all is one partition.
const (
	StepSecond Step = iota
	StepMinute
	StepHour
	StepDay
	StepMonth
	StepYear
	StepNone
)

// Errors of [ParseFormat].
var (
	ErrTooFine  = errors.New("is finer than a second")
	ErrNoFormat = errors.New("is not a strftime directive")
)

// Format makes the part of a key that says the time (strftime(3), as the exporter writes it).
type Format struct {
	layout string
	step   Step
	// zoned is whether the text depends on the zone and not on the local time alone.
	zoned bool
	// dated is whether two times have the same text only because a clock was set back in between.
	dated bool
}

// steps is the unit that each directive tells.
var steps = map[byte]Step{
	'S': StepSecond, 's': StepSecond, 'c': StepSecond, '+': StepSecond, 'r': StepSecond, 'T': StepSecond, 'X': StepSecond,
	'M': StepMinute, 'R': StepMinute,
	'H': StepHour, 'I': StepHour, 'k': StepHour, 'l': StepHour, 'p': StepHour, 'P': StepHour,
	'd': StepDay, 'e': StepDay, 'j': StepDay, 'a': StepDay, 'A': StepDay, 'u': StepDay, 'w': StepDay, 'U': StepDay, 'W': StepDay,
	'V': StepDay, 'g': StepDay, 'G': StepDay, 'D': StepDay, 'x': StepDay, 'F': StepDay, 'v': StepDay,
	'm': StepMonth, 'b': StepMonth, 'B': StepMonth, 'h': StepMonth,
	'y': StepYear, 'Y': StepYear, 'C': StepYear,
	'z': StepNone, 'Z': StepNone, '%': StepNone, 'n': StepNone, 't': StepNone,
}

// tells is what of a date each directive says.
var tells = map[byte]string{
	'Y': "y", 'm': "m", 'b': "m", 'B': "m", 'h': "m", 'd': "d", 'e': "d", 'j': "md", 'F': "ymd", 'D': "md",
	'H': "h", 'k': "h", 'I': "i", 'l': "i", 'p': "p", 'P': "p", 'M': "n", 'R': "hn", 'S': "s", 'T': "hns", 'X': "hns", 's': "ymdhns",
}

// needed is what a text has to say for a step to be told apart from all others.
var needed = map[Step]string{
	StepSecond: "ymdhns", StepMinute: "ymdhn", StepHour: "ymdh", StepDay: "ymd", StepMonth: "ym", StepYear: "y",
}

// ParseFormat reads a partition format. It fails on what is no directive, because the text would
// then stand in every key, and on one that is finer than a second.
func ParseFormat(layout string) (Format, error) {
	f := Format{layout: layout, step: StepNone}
	told, plain := "", true
	for rest := layout; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			f.dated = plain && says(told, f.step)
			return f, nil
		}
		directive := strings.TrimLeft(after, "-_^#0123456789:")
		if directive == "" {
			return Format{}, fmt.Errorf("%%%s %w", after, ErrNoFormat)
		}
		if directive[0] == 'f' {
			return Format{}, fmt.Errorf("%%f %w", ErrTooFine)
		}
		step, known := steps[directive[0]]
		if !known {
			return Format{}, fmt.Errorf("%%%c %w", directive[0], ErrNoFormat)
		}
		f.step = min(f.step, step)
		told += tells[directive[0]]
		// Without padding 1 November and 11 January may read the same.
		plain = plain && len(directive) == len(after)
		f.zoned = f.zoned || directive[0] == 'z' || directive[0] == 'Z'
		rest = directive[1:]
	}
}

// says reports whether what is told is all that a step needs.
func says(told string, step Step) bool {
	if strings.Contains(told, "i") && strings.Contains(told, "p") {
		told += "h"
	}
	need := needed[step]
	for _, part := range need {
		if !strings.ContainsRune(told, part) {
			return false
		}
	}
	return need != ""
}

// Step is the finest unit of time that the format tells apart.
func (f Format) Step() Step { return f.step }

// Timeless reports whether the text is the same at all times.
func (f Format) Timeless() bool { return f.step == StepNone && !f.zoned }

func (f Format) String() string { return f.layout }

// Dated reports whether two times have the same text only where a clock was set back in between.
func (f Format) Dated() bool { return f.dated }

// At is the text for one time, in the zone that the time has.
func (f Format) At(t time.Time) string { return timefmt.Format(t, f.layout) }

// next is the first time after t at which the text may be another one: the end of the unit that the
// format tells, or of the zone's present rules, whichever comes first. ok is false if it never
// changes.
func (f Format) next(t time.Time) (next time.Time, ok bool) {
	_, zoneEnd := t.ZoneBounds()
	next, ok = f.unitEnd(t)
	switch {
	case zoneEnd.IsZero() || f.Timeless():
		return next, ok
	case !ok || zoneEnd.Before(next):
		return zoneEnd.In(t.Location()), true
	}
	return next, true
}

// unitEnd is the end of the unit around t, as if the zone never changed its rules.
func (f Format) unitEnd(t time.Time) (time.Time, bool) {
	name, offset := t.Zone()
	local := t.In(time.FixedZone(name, offset))
	year, month, day := local.Date()
	hour, minute, second := local.Clock()
	switch f.step {
	case StepSecond:
		second++
	case StepMinute:
		minute, second = minute+1, 0
	case StepHour:
		hour, minute, second = hour+1, 0, 0
	case StepDay:
		day, hour, minute, second = day+1, 0, 0, 0
	case StepMonth:
		month, day, hour, minute, second = month+1, 1, 0, 0, 0
	case StepYear:
		year, month, day, hour, minute, second = year+1, time.January, 1, 0, 0, 0
	default:
		return time.Time{}, false
	}
	return time.Date(year, month, day, hour, minute, second, 0, local.Location()).In(t.Location()), true
}

// truncate is the beginning of the partition around t: the earliest time from which on the text is the
// same until t.
func (f Format) truncate(t time.Time) time.Time {
	name, offset := t.Zone()
	local := t.In(time.FixedZone(name, offset))
	year, month, day := local.Date()
	hour, minute, second := local.Clock()
	switch f.step {
	case StepSecond:
	case StepMinute:
		second = 0
	case StepHour:
		minute, second = 0, 0
	case StepDay:
		hour, minute, second = 0, 0, 0
	case StepMonth:
		day, hour, minute, second = 1, 0, 0, 0
	case StepYear:
		month, day, hour, minute, second = time.January, 1, 0, 0, 0
	default:
		return t
	}
	begin := time.Date(year, month, day, hour, minute, second, 0, local.Location()).In(t.Location())
	change, _ := t.ZoneBounds()
	if change.IsZero() || !change.After(begin) {
		return begin
	}
	if before := change.Add(-time.Second).In(t.Location()); f.At(before) == f.At(t) {
		return f.truncate(before)
	}
	return change.In(t.Location())
}
