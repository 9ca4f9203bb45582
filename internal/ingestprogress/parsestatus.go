// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Status is what a [TypeStatus] says. Times are Unix times in nanoseconds, 0 is none.
type Status struct {
	TelemetryType string // traces, metrics or logs
	State         State  // ingesting, failed or completed
	Position      int64  // the partition that is read; of a completed ingest its end
	Start, End    int64  // the range
	Failure       string // empty unless it failed
}

// Numbers of the fields of OTLP that lead to a status (opentelemetry-proto, logs.proto and common.proto).
const (
	fieldResourceLogs = 1 // of LogsData
	fieldScopeLogs    = 2 // of ResourceLogs
	fieldLogRecords   = 2 // of ScopeLogs
	fieldTime         = 1 // of LogRecord
	fieldAttributes   = 6 // of LogRecord
	fieldKey          = 1 // of KeyValue
	fieldValue        = 2 // of KeyValue
	fieldString       = 1 // of AnyValue
	fieldInt          = 3 // of AnyValue
)

// ParseStatus reads the data of a [TypeStatus]: the first log record of an OTLP LogsData. The error is
// [ErrTooLarge] or [ErrMalformed]. It allocates for what it returns, however the message is made, and
// what it returns is bounded as with [ParseProgress]. Attributes that it doesn't know are passed over.
func ParseStatus(data []byte) (Status, error) {
	if len(data) > MaxMessageBytes {
		return Status{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	record := data
	for _, field := range []protowire.Number{fieldResourceLogs, fieldScopeLogs, fieldLogRecords} {
		var err error
		if record, err = firstMessage(record, field); err != nil {
			return Status{}, err
		}
	}
	var s Status
	if err := eachField(record, s.take); err != nil {
		return Status{}, err
	}
	switch s.State {
	case StateIngesting, StateFailed, StateCompleted:
	default:
		return Status{}, fmt.Errorf("%w: ingest_status %.32q", ErrMalformed, s.State)
	}
	if !isSignal(s.TelemetryType) {
		return Status{}, fmt.Errorf("%w: telemetry_type %.32q is none of %v", ErrMalformed, s.TelemetryType, signals)
	}
	return s, nil
}

// field is one field of a message: a varint or a fixed number in number, else bytes.
type field struct {
	num    protowire.Number
	kind   protowire.Type
	number uint64
	bytes  []byte
}

// take takes one field of the log record.
func (s *Status) take(f field) error {
	switch {
	case f.num == fieldTime && f.kind == protowire.Fixed64Type:
		s.Position = unixNano(f.number)
	case f.num == fieldAttributes && f.kind == protowire.BytesType:
		return s.takeAttribute(f.bytes)
	}
	return nil
}

func (s *Status) takeAttribute(pair []byte) error {
	var key, text []byte
	var number int64
	err := eachField(pair, func(f field) error {
		switch {
		case f.num == fieldKey && f.kind == protowire.BytesType:
			key = f.bytes
		case f.num == fieldValue && f.kind == protowire.BytesType:
			return eachField(f.bytes, func(v field) error {
				switch {
				case v.num == fieldString && v.kind == protowire.BytesType:
					text = v.bytes
				case v.num == fieldInt && v.kind == protowire.VarintType:
					number = unixNano(v.number)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch string(key) {
	case "telemetry_type":
		s.TelemetryType = cut(string(text[:min(len(text), maxName)]), maxName)
	case "ingest_status":
		s.State = State(cut(string(text[:min(len(text), maxName)]), maxName))
	case "start_time":
		s.Start = number
	case "end_time":
		s.End = number
	case "failure_message":
		s.Failure = cut(string(text), maxError)
	}
	return nil
}

// unixNano is a time on the wire, which is negative, or beyond 2262, where somebody made it up.
func unixNano(v uint64) int64 {
	if v > math.MaxInt64 {
		return 0
	}
	return int64(v)
}

// firstMessage is the first field of this number.
func firstMessage(b []byte, num protowire.Number) (found []byte, err error) {
	ok := false
	err = eachField(b, func(f field) error {
		if !ok && f.num == num && f.kind == protowire.BytesType {
			found, ok = f.bytes, true
		}
		return nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("%w: no log record", ErrMalformed)
	}
	return found, err
}

// eachField calls do with every field of a message, in their order. Groups are passed over whole.
func eachField(b []byte, do func(field) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		f := field{num: num, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}
