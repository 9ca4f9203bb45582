// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come. It decides how long a failing test takes,
// nothing else.
const patience = 40 * time.Second

var update = flag.Bool("update", false, "rewrite the golden files")

// distribution is the binary that users get.
func distribution(t *testing.T) string {
	t.Helper()
	return binary(t, "FLEETVIEW_BINARY", "otelcol-fleetview")
}

// testDistribution is the same with the exporter whose status a test sets, and the processor that
// answers pings.
func testDistribution(t *testing.T) string {
	t.Helper()
	return binary(t, "FLEETVIEW_E2E_BINARY", "otelcol-fleetview-e2e")
}

func binary(t *testing.T, variable, name string) string {
	t.Helper()
	file := os.Getenv(variable)
	if file == "" {
		file = filepath.Join("..", "..", "bin", name)
	}
	file, err := filepath.Abs(file)
	require.NoError(t, err)
	require.FileExists(t, file, "build it first: make build build-e2e")
	return file
}

// golden compares got with a file below testdata, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// eventually asks until ok says yes: for what can only be looked at from outside.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for again := time.NewTicker(50 * time.Millisecond); !ok(); {
		select {
		case <-again.C:
		case <-deadline.C:
			require.Fail(t, "it does not come to pass: "+what)
		}
	}
}
