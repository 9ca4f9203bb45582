// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"strconv"
	"strings"
	"time"
)

// An age is a duration (90s, 1h30m, 2d, 1w) or a moment (2026-03-04, 2026-03-04T05:06:07Z). "since:>1h" is what has
// lasted longer than an hour; "since:<2026-03-04" is what began before that day. An age without a sign is "less than".

var dateLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}

const ageHint = "write a duration such as >1h, <30m or >2d, or a date such as <2026-03-04"

func checkAge(v *Value) (reason, hint string) {
	text := strings.ToUpper(v.Text)
	if at, ok := parseMoment(text); ok {
		if v.Op == "" {
			return "says neither before nor after", "write < for before and > for after that moment"
		}
		v.Text = at.UTC().Format(time.RFC3339)
		return "", ""
	}
	v.Text = strings.ToLower(v.Text)
	if _, ok := parseAge(v.Text); !ok {
		return "is no age", ageHint
	}
	if v.Op == "" {
		v.Op = "<"
	}
	return "", ""
}

func parseMoment(s string) (time.Time, bool) {
	for _, layout := range dateLayouts {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

var ageUnits = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// maxAge is more than anything lasts.
const maxAge = 100 * 365 * 24 * time.Hour

// ParseAge reads a duration as people write it in a query, such as 90s, 1h30m or 1d12h.
func ParseAge(s string) (time.Duration, bool) { return parseAge(strings.ToLower(s)) }

// parseAge reads numbers with units, such as 1d12h.
func parseAge(s string) (d time.Duration, ok bool) {
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		if digits == 0 || digits == len(s) {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		unit, known := ageUnits[s[digits]]
		if err != nil || !known || n > int64(maxAge/unit) {
			return 0, false
		}
		if d += time.Duration(n) * unit; d > maxAge {
			return 0, false
		}
		s, ok = s[digits+1:], true
	}
	return d, ok
}

// span is an interval of times, in nanoseconds; both ends are in it.
type span struct{ from, to int64 }

// MatchTime returns what tells whether a time, in Unix nanoseconds, is one that a term of an age asks for; Not is not
// looked at.
func (t Term) MatchTime(now time.Time) func(unixNano int64) bool {
	spans := make([]span, 0, len(t.Values))
	for _, v := range t.Values {
		spans = append(spans, v.span(now))
	}
	return func(at int64) bool {
		for _, s := range spans {
			if at >= s.from && at <= s.to {
				return true
			}
		}
		return false
	}
}

const (
	minNano = -1 << 63
	maxNano = 1<<63 - 1
)

func (v Value) span(now time.Time) span {
	before, orEqual := strings.HasPrefix(v.Op, "<"), int64(0)
	if strings.HasSuffix(v.Op, "=") {
		orEqual = 1
	}
	var at int64
	if moment, ok := parseMoment(v.Text); ok {
		at = moment.UnixNano()
	} else {
		age, _ := parseAge(v.Text)
		at = now.Add(-age).UnixNano()
		before = !before // a greater age began earlier
	}
	if before {
		return span{minNano, at - 1 + orEqual}
	}
	return span{at + 1 - orEqual, maxNano}
}
