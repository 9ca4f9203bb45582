// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// ingest is a replay. What nobody can know is null.
type ingest struct {
	Receiver      string               `json:"receiver"`
	TelemetryType string               `json:"telemetry_type"`
	Mode          string               `json:"mode"`
	State         ingestprogress.State `json:"state"`
	Detailed      bool                 `json:"detailed"`

	Start    *time.Time `json:"start"`
	End      *time.Time `json:"end"`
	Position *time.Time `json:"position"`
	Began    *time.Time `json:"began"`
	Updated  *time.Time `json:"updated"`
	Since    time.Time  `json:"since"`
	Heard    time.Time  `json:"heard"`

	Percent          *float64 `json:"percent"`
	ETASeconds       *float64 `json:"eta_seconds"`
	Listed           bool     `json:"listed"`
	ObjectsListed    uint64   `json:"objects_listed"`
	ObjectsDone      uint64   `json:"objects_done"`
	ObjectsSkipped   uint64   `json:"objects_skipped"`
	ObjectsFailed    uint64   `json:"objects_failed"`
	BytesListed      uint64   `json:"bytes_listed"`
	BytesDone        uint64   `json:"bytes_done"`
	Records          uint64   `json:"records"`
	ObjectsPerSecond float64  `json:"objects_per_second"`
	BytesPerSecond   float64  `json:"bytes_per_second"`

	Key      string            `json:"key"`
	Retries  uint64            `json:"retries"`
	Failures map[string]uint64 `json:"failures"`
	Error    string            `json:"error"`
}

func newIngests(list []*fleet.Ingest) []ingest {
	out := make([]ingest, 0, len(list))
	for _, in := range list {
		out = append(out, newIngest(in))
	}
	return out
}

func newIngest(in *fleet.Ingest) ingest {
	failures := in.Failures
	if failures == nil {
		failures = map[string]uint64{}
	}
	return ingest{
		Receiver: in.Receiver, TelemetryType: in.TelemetryType, Mode: in.Mode, State: in.State, Detailed: in.Detailed,
		Start: unixTime(in.Start), End: unixTime(in.End), Position: unixTime(in.Position),
		Began: unixTime(in.Began), Updated: unixTime(in.Updated), Since: in.Since.UTC(), Heard: in.Heard.UTC(),
		Percent: knownFigure(in.Percent), ETASeconds: knownFigure(in.ETASeconds),
		Listed: in.Listed, ObjectsListed: in.ObjectsListed, ObjectsDone: in.ObjectsDone,
		ObjectsSkipped: in.ObjectsSkipped, ObjectsFailed: in.ObjectsFailed,
		BytesListed: in.BytesListed, BytesDone: in.BytesDone, Records: in.Records,
		ObjectsPerSecond: in.ObjectsPerSecond, BytesPerSecond: in.BytesPerSecond,
		Key: in.Key, Retries: in.Retries, Failures: failures, Error: in.Error,
	}
}

// unixTime is null for a time that is none.
func unixTime(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}

// knownFigure is null for one that nobody can know.
func knownFigure(v float64) *float64 {
	if v < 0 {
		return nil
	}
	return &v
}
