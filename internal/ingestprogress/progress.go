// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

// Capability is the custom capability that all messages of this package belong to. It is the one of
// contrib's S3 receiver, whose servers go on to understand [TypeStatus].
const Capability = "org.opentelemetry.collector.receiver.awss3"

// Types of the messages of [Capability].
const (
	// TypeStatus is an OTLP LogsData with one log record (contrib's receiver/awss3receiver).
	TypeStatus = "TimeBasedIngestStatus"
	// TypeProgress is a [Progress] as JSON.
	TypeProgress = "IngestProgress"
	// TypeReport asks the agent for a TypeStatus and a TypeProgress of each ingest, now. Its data is
	// not looked at.
	TypeReport = "ReportIngestProgress"
)

// State is what an ingest is doing.
type State string

// The states of an ingest. The last two are final.
const (
	StateListing   State = "listing"   // it is not known yet how much there is
	StateIngesting State = "ingesting" // objects are read and delivered
	StateRetrying  State = "retrying"  // the store or the pipeline refuses, and is tried again
	StateWaiting   State = "waiting"   // nothing to do until something new is stored (follow, SQS)
	StateFailed    State = "failed"
	StateCompleted State = "completed"
)

// Progress is how far one ingest is: one receiver, one signal, one run. Times are Unix times in
// nanoseconds, 0 is none. Counts are of this run.
type Progress struct {
	// Receiver is the component's id, such as aws_s3/replay. With TelemetryType it tells the ingests
	// of one agent apart.
	Receiver string `json:"receiver"`
	// TelemetryType is traces, metrics or logs.
	TelemetryType string `json:"telemetry_type"`
	// Mode is time_range, follow or sqs.
	Mode  string `json:"mode"`
	State State  `json:"state"`

	// Start and End are the range, end exclusive; End is 0 where it is open.
	Start int64 `json:"start_time_unix_nano,omitempty"`
	End   int64 `json:"end_time_unix_nano,omitempty"`
	// Position is the time of the partition that was last delivered.
	Position int64 `json:"position_unix_nano,omitempty"`
	// Began is when this run began, Updated when this was true.
	Began   int64 `json:"began_unix_nano"`
	Updated int64 `json:"updated_unix_nano"`

	// Listed is whether all of the range is listed: ObjectsListed and BytesListed are then final.
	Listed         bool   `json:"listed"`
	ObjectsListed  uint64 `json:"objects_listed"`
	ObjectsDone    uint64 `json:"objects_done"` // delivered, skipped or given up
	ObjectsSkipped uint64 `json:"objects_skipped"`
	ObjectsFailed  uint64 `json:"objects_failed"`
	BytesListed    uint64 `json:"bytes_listed"` // as stored
	BytesDone      uint64 `json:"bytes_done"`
	Records        uint64 `json:"records"` // spans, data points or log records that the pipeline took

	// Percent is 0 to 100, by bytes where all is listed, else by time; -1 where nobody can know.
	Percent float64 `json:"percent"`
	// ObjectsPerSecond and BytesPerSecond are of the last half minute or so.
	ObjectsPerSecond float64 `json:"objects_per_second"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
	// ETASeconds is how long it will still take; -1 where nobody can know.
	ETASeconds float64 `json:"eta_seconds"`

	// Key is the object in hand.
	Key     string `json:"key,omitempty"`
	Retries uint64 `json:"retries"`
	// Failures counts what was not delivered, by reason: a short, closed set.
	Failures map[string]uint64 `json:"failures,omitempty"`
	// Error is the last thing that went wrong, without secrets.
	Error string `json:"error,omitempty"`
}
