// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pipeline"
)

func TestClaimHolds(t *testing.T) {
	tests := []struct {
		prefix, key string
		want        bool
	}{
		{"", "anything", true},
		{"/", "anything", true},
		{"trace", "trace/x", true},
		{"trace", "traces2/x", false},
		{"trace", "trace", false},
		{"trace/", "trace/x", true},
		{"a/b", "a/b/c/d", true},
		{"a/b", "a/bc", false},
		{"a//b", "a//b/c", true},
		{"a//b/", "a/b/c", true}, // as the exporter cleans it
		{"/raw", "/raw/x", true},
		{"/raw", "raw/x", true},
		{"raw", "/raw/x", false},
	}
	for _, tt := range tests {
		t.Run(tt.prefix+" holds "+tt.key, func(t *testing.T) {
			c := Claim{Prefix: tt.prefix}
			assert.Equal(t, tt.want, c.holds(tt.key))
		})
	}
}

func TestClaimSignal(t *testing.T) {
	none := pipeline.Signal{}
	tests := []struct {
		name  string
		claim Claim
		key   string
		want  pipeline.Signal
	}{
		{"traces", Claim{NamesSignal: true}, "p/year=2024/traces_1.json.gz", pipeline.SignalTraces},
		{"metrics", Claim{NamesSignal: true}, "metrics_1.binpb", pipeline.SignalMetrics},
		{"logs", Claim{NamesSignal: true}, "p/logs_1", pipeline.SignalLogs},
		{"file prefix", Claim{NamesSignal: true, FilePrefix: "eu-"}, "p/eu-logs_1", pipeline.SignalLogs},
		{"file prefix with a folder", Claim{NamesSignal: true, FilePrefix: "eu/x-"}, "p/eu/x-logs_1", pipeline.SignalLogs},
		{"without the file prefix", Claim{NamesSignal: true, FilePrefix: "eu-"}, "p/logs_1", pipeline.SignalLogs},
		{"a folder is no file", Claim{NamesSignal: true}, "logs_1/file.json", none},
		{"inside a name", Claim{NamesSignal: true}, "p/my_logs_1.json", none},
		{"nothing said", Claim{NamesSignal: true}, "p/cloudtrail.json.gz", none},
		{"names say nothing", Claim{}, "p/logs_1.json", none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.claim.signal(tt.key)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != none, ok)
		})
	}
}

func TestDoneSetForgetsTheOldest(t *testing.T) {
	d := newDoneSet(3)
	d.add("a", 0)
	d.add("b", 0)
	d.add("b", 2)
	d.add("b", 2)
	assert.True(t, d.has("a", 0))

	d.add("a", 1) // one too many: b is the one that was not seen for longest

	assert.True(t, d.has("a", 0))
	assert.True(t, d.has("a", 1))
	assert.False(t, d.has("b", 0))
	assert.False(t, d.has("b", 2))
	assert.False(t, d.has("c", 0))
	assert.Equal(t, 2, d.records)
}
