// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"
)

// TestStartWaitsForNoServer starts the collector without the extension and with a server of each
// hopeless kind. It tells how long that took; that it becomes ready at all, while nobody answers, is
// what is asserted. It runs beside no other test, for the sake of the figures.
func TestStartWaitsForNoServer(t *testing.T) {
	kinds := []struct {
		name   string
		config func() string
	}{
		{"no extension", func() string { return "extensions: {}" }},
		{"nobody listens", func() string { return outageConfig("ws", false, nobodyListens(t)) }},
		{"401", func() string { return outageConfig("ws", false, unauthorized(t)) }},
		{"hangs", func() string { return outageConfig("ws", false, hangs(t)) }},
		{"unknown authority", func() string { return outageConfig("ws", true, unknownAuthority(t)) }},
	}
	const rounds = 5
	took := make(map[string][]time.Duration)
	for range rounds {
		for _, kind := range kinds {
			c := startCollector(t, distribution(t), kind.config())
			c.waitReady(t, 1)
			took[kind.name] = append(took[kind.name], time.Since(c.began))
			c.kill()
		}
	}
	for _, kind := range kinds {
		slices.Sort(took[kind.name])
		t.Logf("%-18s ready after %v (median of %d)", kind.name, took[kind.name][rounds/2].Round(time.Millisecond), rounds)
	}
}
