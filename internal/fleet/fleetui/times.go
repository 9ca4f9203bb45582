// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"time"
)

// moment is a point in time as a page shows it: how long it is past, with the time itself on demand. The script keeps
// the words true; both must count alike.
type moment struct {
	Machine string // for <time datetime>
	Full    string // for people who want to know exactly
	Words   string
	Style   string // "ago" or "for"
}

func ago(t, now time.Time) moment   { return newMoment(t, now, "ago") }
func lasts(t, now time.Time) moment { return newMoment(t, now, "for") }

func newMoment(t, now time.Time, style string) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{
		Machine: t.Format(time.RFC3339),
		Full:    t.Format("2006-01-02 15:04:05 UTC"),
		Words:   words(now.Sub(t), style),
		Style:   style,
	}
}

func words(d time.Duration, style string) string {
	if d < 5*time.Second {
		if style == "for" {
			return "for a moment"
		}
		return "just now"
	}
	if style == "for" {
		return "for " + amount(d)
	}
	return amount(d) + " ago"
}

func amount(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d/day))
	}
}
