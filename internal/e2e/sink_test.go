// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-fleetview/fleetview/internal/s3sample"
)

// sampleStart is the minute that samples begin at.
var sampleStart = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// sequences are those of the samples of a signal, in order.
func sequences(minutes, records int) []string {
	all := make([]string, 0, minutes*records)
	for i := range minutes {
		for n := range records {
			all = append(all, s3sample.Sequence(sampleStart.Add(time.Duration(i)*time.Minute), n))
		}
	}
	return all
}

// putSample stores the sample of a signal and a minute.
func (b *bucket) putSample(t *testing.T, signal pipeline.Signal, minute time.Time, records int) {
	t.Helper()
	o, err := s3sample.Make(signal, "telemetry", minute, records)
	require.NoError(t, err)
	b.put(t, o.Key, o.Body)
}

// sink is where pipelines end: it takes OTLP over HTTP and remembers which samples came, in order.
type sink struct {
	// Fixed at construction.
	url  string
	take func(ctx context.Context, request int) bool // nil takes all

	mu       sync.Mutex
	came     map[pipeline.Signal][]string // guarded by mu: sequences
	received int                          // guarded by mu: requests
}

// startSink starts a sink that ends with the test. take may delay a request, or refuse it.
func startSink(t *testing.T, take func(ctx context.Context, request int) bool) *sink {
	t.Helper()
	s := &sink{take: take, came: make(map[pipeline.Signal][]string)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.received++
	request := s.received
	s.mu.Unlock()
	if s.take != nil && !s.take(r.Context(), request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	signal, came, err := samplesIn(r.URL.Path, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.came[signal] = append(s.came[signal], came...)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty body is a whole success
}

func samplesIn(path string, body []byte) (signal pipeline.Signal, came []string, err error) {
	add := func(attributes pcommon.Map) {
		if v, ok := attributes.Get(s3sample.SequenceKey); ok {
			came = append(came, v.Str())
		}
	}
	switch path {
	case "/v1/traces":
		td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return signal, nil, err
		}
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					add(span.Attributes())
				}
			}
		}
		return pipeline.SignalTraces, came, nil
	case "/v1/metrics":
		md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return signal, nil, err
		}
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					for _, point := range m.Gauge().DataPoints().All() {
						add(point.Attributes())
					}
				}
			}
		}
		return pipeline.SignalMetrics, came, nil
	default:
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return signal, nil, err
		}
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					add(record.Attributes())
				}
			}
		}
		return pipeline.SignalLogs, came, nil
	}
}

// of is what came of a signal, in the order in which it came.
func (s *sink) of(signal pipeline.Signal) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.came[signal])
}

func (s *sink) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received
}
