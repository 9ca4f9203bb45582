// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package s3sample

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"path"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
)

// Signals are all that there are samples of.
var Signals = [...]pipeline.Signal{pipeline.SignalTraces, pipeline.SignalMetrics, pipeline.SignalLogs}

// SequenceKey is the attribute of each span, data point and log record that says which one it is: the
// minute and the number in it, as in 2026-11-01T09:30#7. In the order of time and number the values
// are sorted.
const SequenceKey = "sample.sequence"

const partitionLayout = "year=2006/month=01/day=02/hour=15/minute=04"

// services are where the records come from, in turn.
var services = [...]string{"cart", "checkout", "payment"}

// Object is one object of a bucket.
type Object struct {
	Key  string
	Body []byte
}

// Sequence is the value of [SequenceKey] of a record of a minute.
func Sequence(minute time.Time, n int) string {
	return fmt.Sprintf("%s#%d", minute.UTC().Format("2006-01-02T15:04"), n)
}

// Make makes the object of a signal and a minute, with as many records, at most 10. prefix is the
// folder that it is in. Traces and logs are JSON, metrics protobuf; all are zipped.
func Make(signal pipeline.Signal, prefix string, minute time.Time, records int) (Object, error) {
	minute = minute.UTC().Truncate(time.Minute)
	body, format, err := marshal(signal, minute, records)
	if err != nil {
		return Object{}, err
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(body); err != nil {
		return Object{}, err
	}
	if err := w.Close(); err != nil {
		return Object{}, err
	}
	name := fmt.Sprintf("%s_%09d.%s.gz", signal, minute.Unix()%1e9, format)
	return Object{Key: path.Join(prefix, minute.Format(partitionLayout), name), Body: zipped.Bytes()}, nil
}

func marshal(signal pipeline.Signal, minute time.Time, records int) (body []byte, format string, err error) {
	switch signal {
	case pipeline.SignalTraces:
		body, err = (&ptrace.JSONMarshaler{}).MarshalTraces(traces(minute, records))
		return body, "json", err
	case pipeline.SignalMetrics:
		body, err = (&pmetric.ProtoMarshaler{}).MarshalMetrics(metrics(minute, records))
		return body, "binpb", err
	case pipeline.SignalLogs:
		body, err = (&plog.JSONMarshaler{}).MarshalLogs(logs(minute, records))
		return body, "json", err
	default:
		return nil, "", fmt.Errorf("no samples of %s", signal)
	}
}

// at spreads the records of a minute evenly.
func at(minute time.Time, n, records int) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(minute.Add(time.Duration(n) * time.Minute / time.Duration(records)))
}

func service(n int) string { return services[n%len(services)] }

func traces(minute time.Time, records int) ptrace.Traces {
	td := ptrace.NewTraces()
	for n := range records {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", service(n))
		span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetTraceID(traceID(minute, n))
		span.SetSpanID(pcommon.SpanID{byte(n + 1), 2, 3, 4, 5, 6, 7, 8})
		span.SetName("POST /" + service(n))
		span.SetKind(ptrace.SpanKindServer)
		start := at(minute, n, records)
		span.SetStartTimestamp(start)
		span.SetEndTimestamp(start + pcommon.Timestamp(time.Duration(20+7*n)*time.Millisecond))
		span.Attributes().PutInt("http.response.status_code", 200)
		span.Attributes().PutStr(SequenceKey, Sequence(minute, n))
	}
	return td
}

func traceID(minute time.Time, n int) pcommon.TraceID {
	id := pcommon.TraceID{15: byte(n + 1)}
	for i, seconds := 0, minute.Unix(); i < 8; i++ {
		id[i] = byte(seconds >> (8 * i))
	}
	return id
}

func metrics(minute time.Time, records int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	for n := range records {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", service(n))
		m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		m.SetName("http.server.active_requests")
		m.SetUnit("{request}")
		point := m.SetEmptyGauge().DataPoints().AppendEmpty()
		point.SetTimestamp(at(minute, n, records))
		point.SetIntValue(int64(minute.Minute()+n) % 40)
		point.Attributes().PutStr(SequenceKey, Sequence(minute, n))
	}
	return md
}

func logs(minute time.Time, records int) plog.Logs {
	ld := plog.NewLogs()
	for n := range records {
		rl := ld.ResourceLogs().AppendEmpty()
		rl.Resource().Attributes().PutStr("service.name", service(n))
		record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		record.SetTimestamp(at(minute, n, records))
		record.SetSeverityNumber(plog.SeverityNumberInfo)
		record.SetSeverityText("INFO")
		record.Body().SetStr(fmt.Sprintf("%s: order %d accepted", service(n), minute.Unix()/60*10+int64(n)))
		record.SetTraceID(traceID(minute, n))
		record.Attributes().PutStr(SequenceKey, Sequence(minute, n))
	}
	return ld
}
