// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-fleetview/fleetview/internal/s3test"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/decode"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

const logsJSON = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}}]}]}]}`

// heard counts what an Observer is told.
type heard struct{ retries, accepted atomic.Int64 }

func (*heard) Got(int64, time.Duration) {}
func (h *heard) Retry(string, error)    { h.retries.Add(1) }
func (*heard) Recovered(string)         {}
func (h *heard) Accepted(records int)   { h.accepted.Add(int64(records)) }

func quick() configretry.BackOffConfig {
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval, retry.MaxInterval, retry.MaxElapsedTime = time.Millisecond, 5*time.Millisecond, 0
	return retry
}

type rig struct {
	*s3test.Server

	heard   heard
	consume func(context.Context, plog.Logs) error
	bodies  []string // of the records that were taken, in order
	set     Settings[plog.Logs]
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s3test.Credentials(t)
	r := &rig{Server: s3test.New(t, "bucket")}
	api, err := store.NewS3(t.Context(), store.Settings{Region: "us-east-1", Endpoint: r.URL, PathStyle: true, RetryMaxAttempts: 1, RetryMaxBackoff: time.Second})
	require.NoError(t, err)
	t.Cleanup(api.Close)
	r.consume = func(_ context.Context, logs plog.Logs) error {
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					r.bodies = append(r.bodies, record.Body().AsString())
				}
			}
		}
		return nil
	}
	r.set = Settings[plog.Logs]{
		Kind:     decode.Logs(),
		Codecs:   decode.NewCodecs(decode.Logs()),
		Fetcher:  &fetch.Fetcher{API: api, Retry: quick(), Observer: &r.heard},
		Limits:   decode.Limits{ObjectBytes: 1 << 30, DocumentBytes: 1 << 20},
		Retry:    quick(),
		Consume:  func(ctx context.Context, logs plog.Logs) error { return r.consume(ctx, logs) },
		Began:    func(ctx context.Context) context.Context { return ctx },
		Ended:    func(context.Context, string, int, error) {},
		Observer: &r.heard,
	}
	return r
}

func (r *rig) ingest(t *testing.T, key string) Outcome {
	t.Helper()
	return New(r.set).Ingest(t.Context(), store.Object{Bucket: r.Bucket, Key: key, Size: store.SizeUnknown})
}

func zipped(t *testing.T, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(data))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestOutcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		key     string
		data    []byte // nil stores nothing
		want    Reason
		records int
	}{
		"JSON":                      {"a/logs_1.json", []byte(logsJSON), Delivered, 2},
		"two documents, gzip":       {"a/logs_1.json.gz", zipped(t, logsJSON+"\n"+logsJSON), Delivered, 4},
		"gzip without its suffix":   {"a/logs_1.json", zipped(t, logsJSON), Delivered, 2},
		"a suffix without gzip":     {"a/logs_1.json.gz", []byte(logsJSON), Delivered, 2},
		"nothing in it":             {"a/logs_1.json", []byte{}, Delivered, 0},
		"another format":            {"a/logs_1.parquet", []byte("PAR1"), Unsupported, 0},
		"another signal":            {"a/logs_1.json", []byte(`{"resourceSpans":[{"scopeSpans":[]}]}`), WrongSignal, 0},
		"no telemetry":              {"a/logs_1.json", []byte(`{"hello":"world"}`), Undecodable, 0},
		"good and then bad":         {"a/logs_1.json", []byte(logsJSON + `{"resourceLogs":[{"scopeLogs":7}]}`), Undecodable, 2},
		"broken gzip":               {"a/logs_1.json.gz", zipped(t, logsJSON)[:40], Uncompressed, 0},
		"no such object":            {"a/logs_1.json", nil, NotFound, 0},
		"a document over the limit": {"a/logs_1.json", []byte(`{"resourceLogs":[{"x":"` + string(bytes.Repeat([]byte("y"), 1<<20)) + `"}]}`), TooLarge, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if tc.data != nil {
				r.Put(t, tc.key, tc.data)
			}
			out := r.ingest(t, tc.key)
			require.Equal(t, tc.want, out.Reason, "%v", out.Err)
			require.Equal(t, tc.records, out.Records)
			require.Len(t, r.bodies, tc.records)
			require.Equal(t, tc.want == Delivered, out.Err == nil)
			if out.Err != nil {
				require.ErrorContains(t, out.Err, tc.key)
			}
		})
	}
}

func TestARefusedBatchIsOfferedAgain(t *testing.T) {
	r := newRig(t)
	r.Put(t, "logs_1.json", []byte(logsJSON))
	take := r.consume
	refusals := 5
	r.consume = func(ctx context.Context, logs plog.Logs) error {
		if refusals > 0 {
			refusals--
			return errors.New("memory limit")
		}
		return take(ctx, logs)
	}
	require.Equal(t, Delivered, r.ingest(t, "logs_1.json").Reason)
	require.Equal(t, []string{"a", "b"}, r.bodies)
	require.EqualValues(t, 5, r.heard.retries.Load())
}

func TestAPermanentRefusalIsNot(t *testing.T) {
	r := newRig(t)
	r.Put(t, "logs_1.json", []byte(logsJSON))
	calls := 0
	r.consume = func(context.Context, plog.Logs) error {
		calls++
		return consumererror.NewPermanent(errors.New("no"))
	}
	require.Equal(t, Refused, r.ingest(t, "logs_1.json").Reason)
	require.Equal(t, 1, calls)
}

func TestALargeObjectThroughABadNetwork(t *testing.T) {
	r := newRig(t)
	var data bytes.Buffer
	want := []string{}
	for i := range 3000 {
		body := string(rune('a'+i%26)) + "-" + time.Duration(i).String()
		want = append(want, body)
		data.WriteString(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"` + body + `"}}]}]}]}` + "\n")
	}
	r.Put(t, "logs_1.json", data.Bytes())
	r.set.Fetcher.PartBytes = 16 << 10
	var n atomic.Int64
	r.Fail(func(*http.Request) s3test.Fault {
		return s3test.Fault(n.Add(1) % 4)
	})
	out := r.ingest(t, "logs_1.json")
	require.Equal(t, Delivered, out.Reason, "%v", out.Err)
	require.Equal(t, want, r.bodies)
	require.Positive(t, r.heard.retries.Load())
	require.EqualValues(t, data.Len(), out.Bytes)
}
