// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package s3sample

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
)

var minute = time.Date(2026, time.November, 1, 9, 30, 12, 0, time.UTC)

func TestEveryRecordSaysWhichItIs(t *testing.T) {
	const records = 3
	tests := []struct {
		signal    pipeline.Signal
		key       string
		sequences func(t *testing.T, body []byte) []pcommon.Map
	}{
		{
			pipeline.SignalTraces, "p/year=2026/month=11/day=01/hour=09/minute=30/traces_793525400.json.gz",
			func(t *testing.T, body []byte) (all []pcommon.Map) {
				td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(body)
				require.NoError(t, err)
				for _, rs := range td.ResourceSpans().All() {
					all = append(all, rs.ScopeSpans().At(0).Spans().At(0).Attributes())
				}
				return all
			},
		},
		{
			pipeline.SignalMetrics, "p/year=2026/month=11/day=01/hour=09/minute=30/metrics_793525400.binpb.gz",
			func(t *testing.T, body []byte) (all []pcommon.Map) {
				md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
				require.NoError(t, err)
				for _, rm := range md.ResourceMetrics().All() {
					all = append(all, rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes())
				}
				return all
			},
		},
		{
			pipeline.SignalLogs, "p/year=2026/month=11/day=01/hour=09/minute=30/logs_793525400.json.gz",
			func(t *testing.T, body []byte) (all []pcommon.Map) {
				ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(body)
				require.NoError(t, err)
				for _, rl := range ld.ResourceLogs().All() {
					all = append(all, rl.ScopeLogs().At(0).LogRecords().At(0).Attributes())
				}
				return all
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.signal.String(), func(t *testing.T) {
			o, err := Make(tt.signal, "p", minute, records)
			require.NoError(t, err)
			assert.Equal(t, tt.key, o.Key)
			unzip, err := gzip.NewReader(bytes.NewReader(o.Body))
			require.NoError(t, err)
			body, err := io.ReadAll(unzip)
			require.NoError(t, err)
			all := tt.sequences(t, body)
			require.Len(t, all, records)
			for n, attributes := range all {
				got, ok := attributes.Get(SequenceKey)
				require.True(t, ok)
				assert.Equal(t, Sequence(minute, n), got.Str())
			}
		})
	}
}

func TestOtherSignals(t *testing.T) {
	_, err := Make(pipeline.Signal{}, "p", minute, 1)
	assert.Error(t, err)
}
