// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleethistory

import (
	"context"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Outage is a time in which the server itself heard nobody.
type Outage struct {
	From, Until time.Time
	Why         OutageKind
}

// OutageKind says why the server was away.
type OutageKind string

const (
	OutageStopped OutageKind = "stopped" // it was stopped and started again
	OutageKilled  OutageKind = "killed"  // it ended without a word; From is the last that it wrote before
	OutageAsleep  OutageKind = "asleep"  // the process, or its host, stood still
)

// Meets reports whether a span of time has a part in the outage, or begins so soon after it that it may have to do
// with it.
func (o Outage) Meets(from, until time.Time) bool {
	const after = 10 * time.Second
	return !until.Before(o.From) && !from.After(o.Until.Add(after))
}

// maxOutages bounds what is told of them.
const maxOutages = 50

// Outages of the server since a moment, the last first. Without a database none is known but those in which it stood
// still.
func (r *Reader) Outages(ctx context.Context, since time.Time) ([]Outage, error) {
	page, err := r.log.Events(ctx, fleet.EventQuery{Kinds: []fleet.EventKind{fleet.EventServer}, From: since, Limit: 4 * maxOutages})
	if err != nil {
		return nil, err
	}
	var out []Outage
	for i, e := range page.Events {
		if len(out) == maxOutages {
			break
		}
		var before *fleet.Event // the one of the server right before
		if i+1 < len(page.Events) {
			before = &page.Events[i+1]
		}
		o, ok, err := r.outage(ctx, e, before)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, o)
		}
	}
	return out, nil
}

func (r *Reader) outage(ctx context.Context, e fleet.Event, before *fleet.Event) (Outage, bool, error) {
	o := Outage{Until: e.At}
	switch {
	case e.To == "resumed":
		from, err := time.Parse(time.RFC3339Nano, e.From)
		o.From, o.Why = from, OutageAsleep
		return o, err == nil, nil
	case e.To != "started":
		return o, false, nil
	case before != nil && before.To == "stopped":
		o.From, o.Why = before.At, OutageStopped
		return o, true, nil
	}
	// Who was killed wrote no last word. The last that it wrote at all tells when it was still there.
	last, err := r.last(ctx, fleet.EventQuery{Before: e.ID, Limit: 1})
	if err != nil || last == nil {
		return o, false, err
	}
	o.From, o.Why = last.At, OutageKilled
	return o, true, nil
}

// During is the outage that has a part of a span of time, nil for none.
func During(list []Outage, from, until time.Time) *Outage {
	i := slices.IndexFunc(list, func(o Outage) bool { return o.Meets(from, until) })
	if i < 0 {
		return nil
	}
	return &list[i]
}
