// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// contribStatus is what contrib's receiver sent, byte for byte.
const contribStatus = "0a8d0112880112830152004a00321a12080a067472616365730a0e74656c656d657472795f74797065321c120b0a09696e676573" +
	"74696e670a0d696e676573745f7374617475733218120a1880c0e19bced3ddd7170a0a73746172745f74696d653216120a188080c4a1b1bcded717" +
	"0a08656e645f74696d652a080a06737461747573090018ddbce276af170a000a00"

var rangeStart = time.Date(2024, 1, 31, 15, 0, 0, 0, time.UTC)

func TestStatusOfContrib(t *testing.T) {
	data, err := hex.DecodeString(contribStatus)
	require.NoError(t, err)
	s, err := ParseStatus(data)
	require.NoError(t, err)
	assert.Equal(t, Status{
		TelemetryType: "traces", State: StateIngesting,
		Position: rangeStart.Add(5 * time.Minute).UnixNano(),
		Start:    rangeStart.UnixNano(), End: rangeStart.Add(time.Hour).UnixNano(),
	}, s)
}

// statusLogs is a status as the Collector's own encoder writes it.
func statusLogs(attributes map[string]any) plog.Logs {
	logs := plog.NewLogs()
	record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.Body().SetStr("status")
	record.SetTimestamp(pcommon.NewTimestampFromTime(rangeStart))
	if err := record.Attributes().FromRaw(attributes); err != nil {
		panic(err)
	}
	return logs
}

func marshalled(t testing.TB, logs plog.Logs) []byte {
	t.Helper()
	b, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return b
}

func TestStatusOfTheCollectorsEncoder(t *testing.T) {
	logs := statusLogs(map[string]any{
		"telemetry_type": "logs", "ingest_status": "failed", "failure_message": "no such bucket \x1b[31m",
		"start_time": rangeStart.UnixNano(), "end_time": int64(-1), "of_a_later_version": []any{"x", map[string]any{"y": 1.5}},
	})
	logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	s, err := ParseStatus(marshalled(t, logs))
	require.NoError(t, err)
	assert.Equal(t, Status{
		TelemetryType: "logs", State: StateFailed, Failure: "no such bucket \x1b[31m",
		Position: rangeStart.UnixNano(), Start: rangeStart.UnixNano(),
	}, s)
}

func TestWhatIsNoStatus(t *testing.T) {
	good := map[string]any{"telemetry_type": "logs", "ingest_status": "completed"}
	with := func(k string, v any) []byte {
		m := maps.Clone(good)
		m[k] = v
		return marshalled(t, statusLogs(m))
	}
	whole := marshalled(t, statusLogs(good))
	for name, data := range map[string][]byte{
		"empty":               nil,
		"text":                []byte("status"),
		"no_record":           marshalled(t, plog.NewLogs()),
		"truncated":           whole[:len(whole)-3],
		"signal":              with("telemetry_type", "profiles"),
		"state":               with("ingest_status", "listing"), // not one of this message's
		"state_of_no_text":    with("ingest_status", 7),
		"group_without_end":   {0x0b},
		"length_beyond":       {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"attribute_truncated": {0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x32, 0x05},
	} {
		_, err := ParseStatus(data)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	_, err := ParseStatus(make([]byte, MaxMessageBytes+1))
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestTextsOfAStatusAreCut(t *testing.T) {
	s, err := ParseStatus(marshalled(t, statusLogs(map[string]any{
		"telemetry_type": "logs", "ingest_status": "failed", "failure_message": strings.Repeat("é", 10_000),
	})))
	require.NoError(t, err)
	requireCut(t, s.Failure, maxError)
}

func requireCut(t *testing.T, s string, limit int) {
	t.Helper()
	require.LessOrEqual(t, len(s), limit)
	require.Greater(t, len(s), limit-len(marker)-utf8.UTFMax)
	require.True(t, strings.HasSuffix(s, marker), s[max(0, len(s)-20):])
	require.True(t, utf8.ValidString(s))
}

func runningProgress() Progress {
	return Progress{
		Receiver: "aws_s3/replay", TelemetryType: "traces", Mode: "time_range", State: StateIngesting,
		Start: rangeStart.UnixNano(), End: rangeStart.Add(time.Hour).UnixNano(), Position: rangeStart.Add(time.Minute).UnixNano(),
		Began: 1, Updated: 2, Listed: true, ObjectsListed: 10, ObjectsDone: 4, ObjectsSkipped: 1, ObjectsFailed: 1,
		BytesListed: 1000, BytesDone: 400, Records: 7, Percent: 40, ObjectsPerSecond: 1.5, BytesPerSecond: 20, ETASeconds: 30,
		Key: "year=2024/x.json", Retries: 3, Failures: map[string]uint64{"decode": 1}, Error: "slow down",
	}
}

func TestProgressRoundTrip(t *testing.T) {
	data, err := json.Marshal(runningProgress())
	require.NoError(t, err)
	p, err := ParseProgress(data)
	require.NoError(t, err)
	assert.Equal(t, runningProgress(), p)

	p, err = ParseProgress([]byte(`{"receiver":"r","telemetry_type":"logs","state":"listing","of_a_later_version":{"a":[1]}}`))
	require.NoError(t, err)
	assert.Equal(t, Progress{Receiver: "r", TelemetryType: "logs", State: StateListing}, p)
}

func TestWhatIsNoProgress(t *testing.T) {
	for _, data := range []string{
		"", "null", "[]", "{}", `"x"`, "\xff", strings.Repeat("[", 50_000),
		`{"receiver":"r","telemetry_type":"logs","state":"dancing"}`,
		`{"receiver":"r","telemetry_type":"<b>","state":"listing"}`,
		`{"telemetry_type":"logs","state":"listing"}`,
		`{"receiver":"r","telemetry_type":"logs","state":"listing","records":-1}`,
		`{"receiver":"r","telemetry_type":"logs","state":"listing","records":1e40}`,
		`{"receiver":"r","telemetry_type":"logs","state":"listing","percent":"12"}`,
		`{"receiver":"r","telemetry_type":"logs","state":"listing","percent":1e999}`,
		`{"receiver":"r","telemetry_type":"logs","state":"listing"} more`,
	} {
		_, err := ParseProgress([]byte(data))
		require.ErrorIs(t, err, ErrMalformed, "%.60s", data)
	}
	_, err := ParseProgress(make([]byte, MaxMessageBytes+1))
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestProgressIsHeldToItsBounds(t *testing.T) {
	wild := runningProgress()
	wild.Receiver, wild.Mode = strings.Repeat("é", 500), strings.Repeat("m", 500)
	wild.Key, wild.Error = strings.Repeat("k", 5000), strings.Repeat("e", 9000)
	wild.Start, wild.Position, wild.Updated = -5, -1, -1<<63
	wild.Percent, wild.ETASeconds, wild.ObjectsPerSecond, wild.BytesPerSecond = 1e300, 1e300, -1, 1e300
	wild.Failures = map[string]uint64{"a": 1}
	for i := range 200 {
		wild.Failures[fmt.Sprintf("%03d%s", i, strings.Repeat("x", 100))] = uint64(i)
	}
	data, err := json.Marshal(wild)
	require.NoError(t, err)
	p, err := ParseProgress(data)
	require.NoError(t, err)
	requireCut(t, p.Receiver, maxName)
	requireCut(t, p.Mode, maxName)
	requireCut(t, p.Key, maxKey)
	requireCut(t, p.Error, maxError)
	assert.Zero(t, p.Start+p.Position+p.Updated)
	assert.InDelta(t, 100, p.Percent, 0)
	assert.InDelta(t, maxETA, p.ETASeconds, 0)
	assert.Zero(t, p.ObjectsPerSecond)
	assert.InDelta(t, maxRate, p.BytesPerSecond, 0)
	assert.Len(t, p.Failures, maxFailures)
	for reason := range p.Failures {
		assert.LessOrEqual(t, len(reason), maxReason)
	}
	assert.True(t, strings.HasPrefix(slices.Sorted(maps.Keys(p.Failures))[0], "000x"))

	wild.Percent, wild.ETASeconds = -7, -0.5
	data, err = json.Marshal(wild)
	require.NoError(t, err)
	p, err = ParseProgress(data)
	require.NoError(t, err)
	assert.InDelta(t, -1, p.Percent, 0)
	assert.InDelta(t, -1, p.ETASeconds, 0)
}

func FuzzParseStatus(f *testing.F) {
	data, err := hex.DecodeString(contribStatus)
	require.NoError(f, err)
	f.Add(data)
	f.Add(marshalled(f, statusLogs(map[string]any{"telemetry_type": "logs", "ingest_status": "failed", "failure_message": "x"})))
	f.Add([]byte{0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x32, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatus(data)
		if err != nil {
			require.Zero(t, s)
			return
		}
		require.True(t, isSignal(s.TelemetryType))
		require.True(t, s.State.known())
		require.GreaterOrEqual(t, min(s.Position, s.Start, s.End), int64(0))
		require.LessOrEqual(t, len(s.Failure), maxError)
		require.True(t, utf8.ValidString(s.Failure))
		// What the Collector's own decoder refuses may be read here, but what both read is the same.
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(data)
		if err != nil || logs.ResourceLogs().Len() == 0 || logs.ResourceLogs().At(0).ScopeLogs().Len() == 0 ||
			logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().Len() == 0 {
			return
		}
		record := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		require.Equal(t, unixNano(uint64(record.Timestamp())), s.Position)
	})
}

func FuzzParseProgress(f *testing.F) {
	data, err := json.Marshal(runningProgress())
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"receiver":"r","telemetry_type":"logs","state":"listing","failures":{"a":1,"b":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProgress(data)
		if err != nil {
			require.Zero(t, p)
			return
		}
		again := p
		again.bound()
		require.Equal(t, p, again, "what is bounded is within its bounds")
		back, err := json.Marshal(p)
		require.NoError(t, err)
		require.LessOrEqual(t, len(back), MaxMessageBytes)
		for _, s := range []string{p.Receiver, p.Mode, p.Key, p.Error} {
			require.True(t, utf8.ValidString(s))
		}
	})
}
