// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// BenchmarkExamine says what it costs to read configs: one as a Collector writes it, a long one of that kind, and one that
// has to go through the parser, as JSON does.
func BenchmarkExamine(b *testing.B) {
	long, err := os.ReadFile("../../../testdata/fleetview.yaml")
	require.NoError(b, err)
	var tree any
	require.NoError(b, yaml.Unmarshal([]byte(plain), &tree))
	flow, err := json.Marshal(tree)
	require.NoError(b, err)
	for _, kind := range []struct{ name, body string }{{"plain", plain}, {"long", string(long)}, {"json", string(flow)}} {
		b.Run(kind.name, func(b *testing.B) {
			c := configOf(b, map[string]string{"": kind.body})
			b.SetBytes(int64(len(kind.body)))
			b.ReportAllocs()
			for b.Loop() {
				Examine(c)
			}
		})
	}
}
