// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// maxIngests bounds the ingests that are kept of one agent. One that is over makes room before one that runs, and
// before others the one that was not heard of for the longest time.
const maxIngests = 32

// Ingest is one replay of an agent, running or over: one receiver, one signal, its last run. It never changes.
type Ingest struct {
	// Progress is what the agent told last. Its times are the agent's.
	ingestprogress.Progress
	// Detailed is whether the agent tells progress. One that tells only the status of contrib's receiver names no
	// receiver and no figures; Percent and ETASeconds are then reckoned from the position in the range.
	Detailed bool
	// Since is when this run was first heard of, and Heard when it was last.
	Since, Heard time.Time

	from int64 // the position that was heard first
}

// ingestNews is what a message tells of an ingest: one of the two.
type ingestNews struct {
	progress *ingestprogress.Progress
	status   *ingestprogress.Status
}

// decodeIngest reads what a message tells of an ingest, if it does. A message that can't be read is one like any other.
func decodeIngest(c *cutter, m *protobufs.CustomMessage) (news ingestNews) {
	if m.GetCapability() != ingestprogress.Capability {
		return ingestNews{}
	}
	switch m.GetType() {
	case ingestprogress.TypeProgress:
		p, err := ingestprogress.ParseProgress(m.GetData())
		if err == nil {
			return ingestNews{progress: &p}
		}
		c.note(CutIngest)
	case ingestprogress.TypeStatus:
		s, err := ingestprogress.ParseStatus(m.GetData())
		if err == nil {
			return ingestNews{status: &s}
		}
		c.note(CutIngest)
	}
	return ingestNews{}
}

// staleWithin is how much older than what is known a message may be and still count as one that came again. What is
// older than that is of a clock that was set back.
const staleWithin = 5 * time.Minute

func (a *Agent) foldIngest(news ingestNews, now time.Time) {
	switch {
	case news.progress != nil:
		a.foldProgress(*news.progress, now)
	case news.status != nil:
		a.foldStatus(*news.status, now)
	}
}

// foldProgress takes what a receiver tells of its ingest. Who tells this needs no status: the one that came with it, or
// before it, says the same.
func (a *Agent) foldProgress(p ingestprogress.Progress, now time.Time) {
	next := &Ingest{Progress: p, Detailed: true, Since: now, Heard: now, from: p.Position}
	kept := make([]*Ingest, 0, len(a.Ingests)+1)
	for _, in := range a.Ingests {
		switch {
		case !in.Detailed && in.TelemetryType == p.TelemetryType:
			continue
		case in.Receiver != p.Receiver || in.TelemetryType != p.TelemetryType:
			kept = append(kept, in)
			continue
		}
		if in.Began != p.Began {
			continue // another run
		}
		if behind := time.Duration(in.Updated - p.Updated); behind > 0 && behind < staleWithin {
			return
		}
		next.Since, next.from = in.Since, in.from
	}
	a.Ingests = withIngest(kept, next)
}

// foldStatus takes contrib's status, for agents that tell no more. It names no receiver, so the signal and the range
// tell ingests apart.
func (a *Agent) foldStatus(s ingestprogress.Status, now time.Time) {
	next := &Ingest{Since: now, Heard: now, from: s.Position, Progress: ingestprogress.Progress{
		TelemetryType: s.TelemetryType, Mode: "time_range", State: s.State,
		Start: s.Start, End: s.End, Position: s.Position, Error: s.Failure,
	}}
	kept := make([]*Ingest, 0, len(a.Ingests)+1)
	for _, in := range a.Ingests {
		switch {
		case in.TelemetryType != s.TelemetryType:
			kept = append(kept, in)
		case in.Detailed:
			return
		case in.Start != s.Start || in.End != s.End:
			kept = append(kept, in)
		case !in.State.Final():
			next.Since, next.from = in.Since, in.from
		}
	}
	next.reckon(now)
	a.Ingests = withIngest(kept, next)
}

// maxReckoned is the longest time left that is told, in seconds: some thirty years.
const maxReckoned = 1e9

// reckon finds Percent and ETASeconds from the position in the range and how fast it moved.
func (in *Ingest) reckon(now time.Time) {
	in.Percent, in.ETASeconds = -1, -1
	switch total := in.End - in.Start; {
	case in.State == ingestprogress.StateCompleted:
		in.Percent, in.ETASeconds = 100, 0
	case total > 0 && in.Position >= in.Start:
		done := min(in.Position, in.End) - in.Start
		in.Percent = 100 * float64(done) / float64(total)
		moved, passed := in.Position-in.from, now.Sub(in.Since).Seconds()
		if moved > 0 && passed >= 1 && !in.State.Final() {
			in.ETASeconds = min(float64(in.End-in.Start-done)/float64(moved)*passed, maxReckoned)
		}
	}
}

// withIngest adds in to list, which is the caller's, in its place.
func withIngest(list []*Ingest, in *Ingest) []*Ingest {
	if len(list) >= maxIngests {
		least := slices.MinFunc(list, leastWanted)
		list = slices.DeleteFunc(list, func(i *Ingest) bool { return i == least })
	}
	at, _ := slices.BinarySearchFunc(list, in, ingestOrder)
	return slices.Insert(list, at, in)
}

// ingestOrder is by what an ingest is, not by how it is: so that none moves while people look.
func ingestOrder(a, b *Ingest) int {
	return cmp.Or(
		strings.Compare(a.Receiver, b.Receiver), strings.Compare(a.TelemetryType, b.TelemetryType),
		cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End),
	)
}

func leastWanted(a, b *Ingest) int {
	return cmp.Or(over(b)-over(a), a.Heard.Compare(b.Heard))
}

func over(in *Ingest) int {
	if in.State.Final() {
		return 1
	}
	return 0
}

// ingestsBytes is what the ingests take.
func (a *Agent) ingestsBytes() (n int) {
	for _, in := range a.Ingests {
		n += ingestBytes + len(in.Receiver) + len(in.Mode) + len(in.Key) + len(in.Error)
		for reason := range in.Failures {
			n += len(reason) + attributeBytes
		}
	}
	return n
}
