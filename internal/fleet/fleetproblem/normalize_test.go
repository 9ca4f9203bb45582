// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetproblem

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

var update = flag.Bool("update", false, "write the golden file anew")

// golden has an error, and on the next line, behind a tab, what is left of it.
const golden = "testdata/errors.txt"

func TestNormalize(t *testing.T) {
	raw, err := os.ReadFile(golden)
	require.NoError(t, err)
	var want, got strings.Builder
	errors := 0
	for line := range strings.Lines(string(raw)) {
		want.WriteString(line)
		switch {
		case strings.HasPrefix(line, "\t"):
			continue
		case strings.HasPrefix(line, "#"):
			got.WriteString(line)
			continue
		}
		errors++
		normal := Normalize(line)
		got.WriteString(line + "\t" + normal + "\n")
		assert.Equal(t, normal, Normalize(normal), "normalizing again changes something")
	}
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o600))
		return
	}
	assert.Equal(t, want.String(), got.String())
	assert.GreaterOrEqual(t, errors, 60)
}

func TestTheSameProblem(t *testing.T) {
	for _, same := range [][]string{
		{"dial tcp 10.0.0.1:4317: connect: connection refused", "dial tcp [::1]:4318: connect: connection refused"},
		{"pods \"a\" not found", "pods 'b-c' not found"},
		{"open /a/b: denied", `open C:\x\y: denied`},
		{"took 5s", "took 1m3.5s"},
		{"took 5", "took 12.25"},
		{"at 2026-01-02T03:04:05Z", "at 2027-01-02T03:04:05.123Z"},
		{"pod web-5d8f7b9c6d-x2x4z", "pod web-7d9f8b6c5d-abc12d"},
		{"id 1f0c2d3e-4b5a-6978-8796-a5b4c3d2e1f0", "id 0xc000123", "id 9f86d081884c7d659a2feaa0c55ad015"},
		{"lookup a on 10.0.0.1:53", "lookup b.c.d on 10.0.0.2:53"},
		{"x; x; x", "x"},
	} {
		for _, other := range same[1:] {
			assert.Equal(t, Normalize(same[0]), Normalize(other))
		}
	}
	for _, different := range [][2]string{
		{"HTTP Status Code 401", "HTTP Status Code 503"},
		{"code = Unavailable", "code = Unauthenticated"},
		{"x509: bad", "http2: bad"},
		{"connection refused", "connection reset"},
	} {
		assert.NotEqual(t, Normalize(different[0]), Normalize(different[1]))
	}
}

func TestOf(t *testing.T) {
	a := Of(fleet.Problem{Kind: "exporter", ID: "otlp/2", Status: "StatusRecoverableError", Error: "dial 10.0.0.1:1: refused"})
	b := Of(fleet.Problem{Kind: "exporter", ID: "otlp", Status: "StatusPermanentError", Error: "dial 10.0.0.2:1: refused"})
	assert.Equal(t, a, b)
	assert.Equal(t, Key{Kind: "exporter", Type: "otlp", Error: "dial <addr>: refused"}, a)
	assert.Equal(t, "exporter:otlp", a.Component())
	assert.Len(t, a.ID(), 16)
	assert.Equal(t, a.ID(), b.ID())

	silent := Of(fleet.Problem{Kind: "receiver", ID: "otlp", Status: "StatusStopped"})
	assert.Equal(t, "StatusStopped", silent.Error)
	assert.NotEqual(t, a.ID(), silent.ID())
	assert.Equal(t, Key{Type: "shard-<n>", Error: "x"}, Of(fleet.Problem{ID: "shard-17", Error: "x"}))
	assert.Empty(t, Of(fleet.Problem{Error: "x"}).Component())
}

func FuzzNormalize(f *testing.F) {
	raw, err := os.ReadFile(golden)
	require.NoError(f, err)
	for line := range strings.Lines(string(raw)) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Normalize(text)
		require.LessOrEqual(t, len(got), maxOutput)
		require.Equal(t, got, Normalize(text))
		require.False(t, strings.ContainsAny(got, "\n\t\x00"), "%q", got)
	})
}

func BenchmarkNormalize(b *testing.B) {
	const text = `rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: ` +
		`dial tcp 10.1.2.3:4317: connect: connection refused" after 4.5s, 17 of 20 in /var/lib/otelcol/queue`
	b.ReportAllocs()
	for b.Loop() {
		Normalize(text)
	}
}
