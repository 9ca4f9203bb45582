// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"reflect"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Kind is all that the signals differ in.
type Kind[T any] struct {
	// Signal is traces, metrics or logs.
	Signal string

	field     string // that holds everything in OTLP JSON
	fromJSON  func([]byte) (T, error)
	fromProto func([]byte) (T, error)
	// fromExtension finds the method of an encoding extension that makes a T of a whole object.
	fromExtension func(extension any) func([]byte) (T, error)
	// newDecoder is the name of the method by which an extension gives a decoder that streams,
	// decoderType what such a decoder has at least, and next its method that makes the next T.
	newDecoder  string
	decoderType reflect.Type
	next        func(decoder any) func() (T, error)

	// Count is how many records there are: spans, data points or log records.
	Count func(T) int
	// Clone copies what a consumer may change.
	Clone func(T) T
}

// What decoders of extensions have; whatever else they have is theirs.
type (
	tracesDecoder  interface{ DecodeTraces() (ptrace.Traces, error) }
	metricsDecoder interface {
		DecodeMetrics() (pmetric.Metrics, error)
	}
	logsDecoder interface{ DecodeLogs() (plog.Logs, error) }
)

// Traces is the kind of spans.
func Traces() Kind[ptrace.Traces] {
	return Kind[ptrace.Traces]{
		Signal:    "traces",
		field:     "resourceSpans",
		fromJSON:  (&ptrace.JSONUnmarshaler{}).UnmarshalTraces,
		fromProto: (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces,
		fromExtension: func(extension any) func([]byte) (ptrace.Traces, error) {
			if e, ok := extension.(ptrace.Unmarshaler); ok {
				return e.UnmarshalTraces
			}
			return nil
		},
		newDecoder:  "NewTracesDecoder",
		decoderType: reflect.TypeFor[tracesDecoder](),
		next:        func(d any) func() (ptrace.Traces, error) { return d.(tracesDecoder).DecodeTraces },
		Count:       ptrace.Traces.SpanCount,
		Clone: func(from ptrace.Traces) ptrace.Traces {
			to := ptrace.NewTraces()
			from.CopyTo(to)
			return to
		},
	}
}

// Metrics is the kind of data points.
func Metrics() Kind[pmetric.Metrics] {
	return Kind[pmetric.Metrics]{
		Signal:    "metrics",
		field:     "resourceMetrics",
		fromJSON:  (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics,
		fromProto: (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics,
		fromExtension: func(extension any) func([]byte) (pmetric.Metrics, error) {
			if e, ok := extension.(pmetric.Unmarshaler); ok {
				return e.UnmarshalMetrics
			}
			return nil
		},
		newDecoder:  "NewMetricsDecoder",
		decoderType: reflect.TypeFor[metricsDecoder](),
		next:        func(d any) func() (pmetric.Metrics, error) { return d.(metricsDecoder).DecodeMetrics },
		Count:       pmetric.Metrics.DataPointCount,
		Clone: func(from pmetric.Metrics) pmetric.Metrics {
			to := pmetric.NewMetrics()
			from.CopyTo(to)
			return to
		},
	}
}

// Logs is the kind of log records.
func Logs() Kind[plog.Logs] {
	return Kind[plog.Logs]{
		Signal:    "logs",
		field:     "resourceLogs",
		fromJSON:  (&plog.JSONUnmarshaler{}).UnmarshalLogs,
		fromProto: (&plog.ProtoUnmarshaler{}).UnmarshalLogs,
		fromExtension: func(extension any) func([]byte) (plog.Logs, error) {
			if e, ok := extension.(plog.Unmarshaler); ok {
				return e.UnmarshalLogs
			}
			return nil
		},
		newDecoder:  "NewLogsDecoder",
		decoderType: reflect.TypeFor[logsDecoder](),
		next:        func(d any) func() (plog.Logs, error) { return d.(logsDecoder).DecodeLogs },
		Count:       plog.Logs.LogRecordCount,
		Clone: func(from plog.Logs) plog.Logs {
			to := plog.NewLogs()
			from.CopyTo(to)
			return to
		},
	}
}

// fields are those of all kinds, in both spellings that OTLP JSON knows.
var fields = map[string]string{
	"resourceSpans": "traces", "resource_spans": "traces",
	"resourceMetrics": "metrics", "resource_metrics": "metrics",
	"resourceLogs": "logs", "resource_logs": "logs",
	"resourceProfiles": "profiles", "resource_profiles": "profiles",
}

// othersRead names the signal that protobuf data is of, if another kind than this can read it.
func (k Kind[T]) othersRead(data []byte) string {
	if k.Signal != "traces" {
		if _, err := Traces().fromProto(data); err == nil {
			return "traces"
		}
	}
	if k.Signal != "metrics" {
		if _, err := Metrics().fromProto(data); err == nil {
			return "metrics"
		}
	}
	if k.Signal != "logs" {
		if _, err := Logs().fromProto(data); err == nil {
			return "logs"
		}
	}
	return ""
}
