// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// ingestsPart shows the replays.
type ingestsPart struct {
	Rows    []ingestRow
	Running int
	Ask     *askPart // nil where nothing can be asked
}

type ingestRow struct {
	ID       string
	Name     string // of the receiver
	Signal   string
	State    badge
	Percent  string // a number for programs; "" where nobody knows
	Width    string // the same in tenths of a percent
	Progress string // the same for people
	Spoken   string // what the bar says to who can't see it
	Moves    bool   // it is not over
	Stale    bool   // nobody knows whether it goes on
	Figures  []figure
	Key      string
	Failures []count
	Error    string
	Note     string // why there is no more to see
	Heard    moment
	Began    moment
}

// figure is a name and what it is.
type figure struct{ Name, Value string }

// count is how often something happened.
type count struct {
	Name string
	N    string
}

var ingestBadges = map[ingestprogress.State]badge{
	ingestprogress.StateListing:   {"Listing", "busy", "It looks up what there is to replay."},
	ingestprogress.StateIngesting: {"Replaying", "busy", "Objects are read and delivered."},
	ingestprogress.StateRetrying:  {"Retrying", "warn", "The store or the pipeline refuses, and is tried again."},
	ingestprogress.StateWaiting:   {"Waiting", "none", "Nothing to do until something new is stored."},
	ingestprogress.StateFailed:    {"Failed", "bad", "It gave up."},
	ingestprogress.StateCompleted: {"Completed", "ok", "All of the range is delivered."},
}

var recordWords = map[string]string{"traces": "spans", "metrics": "data points", "logs": "log records"}

func (u *UI) newIngestsPart(a *fleet.Agent) *ingestsPart {
	announced := a.Announces(ingestprogress.Capability)
	if !announced && len(a.Ingests) == 0 {
		return nil
	}
	out := &ingestsPart{Ask: u.newAskPart(a, announced)}
	for _, in := range a.Ingests {
		row := newIngestRow(in, a.Present(), u.now())
		if row.Moves {
			out.Running++
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

func newIngestRow(in *fleet.Ingest, present bool, now time.Time) ingestRow {
	row := ingestRow{
		ID:     "ingest-" + shortSum(in.Receiver, in.TelemetryType, fmt.Sprint(in.Detailed, rangeOf(in))),
		Name:   clean(in.Receiver),
		Signal: in.TelemetryType,
		State:  ingestBadges[in.State],
		Moves:  !in.State.Final() && present,
		Stale:  !in.State.Final() && !present,
		Key:    clean(in.Key),
		Error:  clean(in.Error),
		Heard:  ago(in.Heard, now),
		Began:  ago(unix(in.Began), now),
	}
	if in.Began == 0 {
		row.Began = ago(in.Since, now)
	}
	if row.Stale {
		row.Note = "The collector is gone; nobody knows whether this went on."
		row.State = badge{"Unknown", "off", "The collector is gone. It was last heard " + strings.ToLower(row.State.Word) + "."}
	}
	if in.State.Final() {
		row.Key = ""
	}
	row.setProgress(in)
	row.Figures = ingestFigures(in, row.Moves)
	for _, reason := range slices.Sorted(maps.Keys(in.Failures)) {
		row.Failures = append(row.Failures, count{Name: clean(reason), N: thousands(in.Failures[reason])})
	}
	if !in.Detailed && !row.Stale {
		row.Note = "The receiver tells no more than its position in the range."
	}
	return row
}

// rangeOf tells apart the ingests of those who name no receiver.
func rangeOf(in *fleet.Ingest) [2]int64 {
	if in.Detailed {
		return [2]int64{}
	}
	return [2]int64{in.Start, in.End}
}

func (row *ingestRow) setProgress(in *fleet.Ingest) {
	row.Progress, row.Spoken = "–", row.State.Word
	if in.Percent < 0 {
		return
	}
	row.Percent = strconv.FormatFloat(math.Floor(in.Percent*10)/10, 'f', -1, 64)
	row.Width = strconv.Itoa(int(in.Percent * 10))
	row.Progress = strconv.FormatFloat(math.Floor(in.Percent*10)/10, 'f', 1, 64) + " %"
	if in.State == ingestprogress.StateCompleted && in.Percent == 100 {
		row.Progress = "100 %"
	}
	row.Spoken = row.State.Word + ", " + row.Progress
	if left := timeLeft(in); left != "" && row.Moves {
		row.Spoken += ", " + left + " left"
	}
}

// timeLeft is empty where nobody knows.
func timeLeft(in *fleet.Ingest) string {
	if in.ETASeconds < 0 || in.State.Final() {
		return ""
	}
	return amount(time.Duration(in.ETASeconds) * time.Second)
}

// ingestFigures are what is worth knowing of in. A figure that says nothing is left out.
func ingestFigures(in *fleet.Ingest, moves bool) (out []figure) {
	add := func(name, value string) {
		if value != "" {
			out = append(out, figure{name, value})
		}
	}
	if in.Detailed {
		add("Objects", ofListed(thousands(in.ObjectsDone), thousands(in.ObjectsListed), in))
		add("Data", ofListed(byteSize(float64(in.BytesDone)), byteSize(float64(in.BytesListed)), in))
		add("Delivered", thousands(in.Records)+" "+recordWords[in.TelemetryType])
	}
	if moves {
		add("Rate", rates(in))
		add("Time left", timeLeft(in))
	} else if took := in.Updated - in.Began; in.State.Final() && in.Began > 0 && took > 0 {
		add("Took", amount(time.Duration(took)))
	}
	add("Position", utc(in.Position))
	add("Range", rangeText(in))
	add("Retries", unlessZero(in.Retries))
	add("Skipped", unlessZero(in.ObjectsSkipped))
	add("Given up", unlessZero(in.ObjectsFailed))
	return out
}

func ofListed(done, listed string, in *fleet.Ingest) string {
	switch {
	case in.ObjectsListed == 0:
		return done
	case in.Listed:
		return done + " of " + listed
	default:
		return done + " of " + listed + " listed so far"
	}
}

func rates(in *fleet.Ingest) string {
	if in.ObjectsPerSecond == 0 && in.BytesPerSecond == 0 {
		return ""
	}
	return perSecond(in.ObjectsPerSecond) + " objects/s, " + byteSize(in.BytesPerSecond) + "/s"
}

func perSecond(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return thousands(uint64(v))
}

func rangeText(in *fleet.Ingest) string {
	switch {
	case in.Start == 0 && in.End == 0:
		return ""
	case in.Start == 0:
		return "to " + utc(in.End)
	case in.End == 0:
		return "from " + utc(in.Start) + " on"
	}
	from, to := utc(in.Start), utc(in.End)
	const day = len("2006-01-02 ")
	if from[:day] == to[:day] {
		to = to[day:]
	}
	return strings.TrimSuffix(from, " UTC") + " to " + to
}

func unlessZero(n uint64) string {
	if n == 0 {
		return ""
	}
	return thousands(n)
}

func unix(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// utc is a time of the telemetry, to the second where it has any.
func utc(ns int64) string {
	if ns == 0 {
		return ""
	}
	t := time.Unix(0, ns).UTC()
	if t.Second() == 0 {
		return t.Format("2006-01-02 15:04 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

// thousands groups the digits of n.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// byteSize is in decimal units, as S3 bills.
func byteSize(n float64) string {
	if n < 1000 {
		return strconv.FormatFloat(n, 'f', 0, 64) + " B"
	}
	unit := -1
	for n >= 999.95 && unit < len(byteUnits)-1 {
		n /= 1000
		unit++
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " " + byteUnits[unit]
}

var byteUnits = []string{"kB", "MB", "GB", "TB", "PB", "EB"}
