// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

// contribs is what contrib's receiver sends in the middle of an hour of traces.
const contribs = "0a8d0112880112830152004a00321a12080a067472616365730a0e74656c656d657472795f74797065321c120b0a09696e67" +
	"657374696e670a0d696e676573745f7374617475733218120a1880c0e19bced3ddd7170a0a73746172745f74696d653216120a188080c4a1b1" +
	"bcded7170a08656e645f74696d652a080a06737461747573090018ddbce276af170a000a00"

func decoded(t *testing.T, data []byte) (plog.LogRecord, plog.Logs) {
	t.Helper()
	logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(data)
	require.NoError(t, err)
	require.Equal(t, 1, logs.LogRecordCount())
	return logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0), logs
}

func replay() Progress {
	start := time.Date(2024, 1, 31, 15, 0, 0, 0, time.UTC)
	return Progress{
		Receiver: "aws_s3", TelemetryType: "traces", Mode: "time_range", State: StateIngesting,
		Start: start.UnixNano(), End: start.Add(time.Hour).UnixNano(), Position: start.Add(5 * time.Minute).UnixNano(),
		Percent: 12.5, ETASeconds: -1,
	}
}

// Marshalers put fields in another order with each version, so that what is compared is what a reader
// sees.
func TestStatusIsContribs(t *testing.T) {
	raw, err := hex.DecodeString(contribs)
	require.NoError(t, err)
	_, want := decoded(t, raw)
	wantRecord := want.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)

	p := replay()
	p.Start, p.End = attributeInt(t, wantRecord, "start_time"), attributeInt(t, wantRecord, "end_time")
	p.Position = int64(wantRecord.Timestamp())
	data, err := EncodeStatus(p)
	require.NoError(t, err)
	_, got := decoded(t, data)

	marshaler := plog.JSONMarshaler{}
	wantJSON, err := marshaler.MarshalLogs(want)
	require.NoError(t, err)
	gotJSON, err := marshaler.MarshalLogs(got)
	require.NoError(t, err)
	require.JSONEq(t, string(wantJSON), string(gotJSON))
}

func attributeInt(t *testing.T, record plog.LogRecord, name string) int64 {
	t.Helper()
	value, ok := record.Attributes().Get(name)
	require.True(t, ok)
	return value.Int()
}

func TestStatusOfEachState(t *testing.T) {
	for state, want := range map[State]string{
		StateListing: "ingesting", StateIngesting: "ingesting", StateRetrying: "ingesting", StateWaiting: "ingesting",
		StateFailed: "failed", StateCompleted: "completed",
	} {
		p := replay()
		p.State, p.Error = state, "bucket is gone"
		data, err := EncodeStatus(p)
		require.NoError(t, err)
		record, _ := decoded(t, data)
		status, _ := record.Attributes().Get("ingest_status")
		require.Equal(t, want, status.Str())
		_, failed := record.Attributes().Get("failure_message")
		require.Equal(t, state == StateFailed, failed)
		at := p.Position
		if state == StateCompleted {
			at = p.End
		}
		require.EqualValues(t, at, record.Timestamp())
	}
	p := replay()
	p.Position = 0
	data, err := EncodeStatus(p)
	require.NoError(t, err)
	record, _ := decoded(t, data)
	require.EqualValues(t, p.Start, record.Timestamp(), "before anything is read")
}

func TestProgressIsJSON(t *testing.T) {
	p := replay()
	p.Failures = map[string]uint64{"decode_failed": 2}
	data, err := EncodeProgress(p)
	require.NoError(t, err)
	var back Progress
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, p, back)
}

func TestProgressIsBounded(t *testing.T) {
	p := replay()
	p.Percent, p.ETASeconds, p.BytesPerSecond = math.NaN(), math.Inf(1), math.Inf(-1)
	p.Error = strings.Repeat("ä", 5000)
	data, err := EncodeProgress(p)
	require.NoError(t, err)
	var back Progress
	require.NoError(t, json.Unmarshal(data, &back))
	require.InDelta(t, -1, back.Percent, 0)
	require.InDelta(t, -1, back.ETASeconds, 0)
	require.Zero(t, back.BytesPerSecond)
	require.LessOrEqual(t, len(back.Error), maxError)
	require.True(t, utf8.ValidString(back.Error))
}
