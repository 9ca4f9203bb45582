// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func testModules() Modules {
	return Modules{
		Receivers:  map[string]string{"otlp": "go.opentelemetry.io/collector/receiver/otlpreceiver v0.155.0", "nop": "example.test/nop v1.0.0"},
		Processors: map[string]string{"batch": "example.test/batch v1.0.0"},
		Exporters:  map[string]string{"debug": "example.test/debug v1.0.0"},
		Extensions: map[string]string{"opamp": "github.com/otel-fleetview/fleetview v0.1.0"},
		Connectors: map[string]string{"forward": "example.test/forward v1.0.0"},
	}
}

func TestComponentsGolden(t *testing.T) {
	requireGolden(t, "components", Components(testModules()))
	requireGolden(t, "components_empty", Components(Modules{}))
}

// The expectation is spelled out by hand, so that a change of the formula cannot
// change the expectation with it.
func TestComponentsHashFormula(t *testing.T) {
	for name, tc := range map[string]struct {
		modules Modules
		text    string
	}{
		"a set": {testModules(), "receiver:" +
			"nop=example.test/nop v1.0.0;" +
			"otlp=go.opentelemetry.io/collector/receiver/otlpreceiver v0.155.0;" +
			"processor:batch=example.test/batch v1.0.0;" +
			"exporter:debug=example.test/debug v1.0.0;" +
			"extension:opamp=github.com/otel-fleetview/fleetview v0.1.0;" +
			"connector:forward=example.test/forward v1.0.0;"},
		"nothing":   {Modules{}, "receiver:processor:exporter:extension:connector:"},
		"one alone": {Modules{Exporters: map[string]string{"nop": "m v1"}}, "receiver:processor:exporter:nop=m v1;extension:connector:"},
	} {
		t.Run(name, func(t *testing.T) {
			want := sha256.Sum256([]byte(tc.text))
			require.Equal(t, hex.EncodeToString(want[:]), hex.EncodeToString(Components(tc.modules).GetHash()))
		})
	}
}

// Other implementations' hash of the empty set, computed outside this program
// (printf ... | sha256sum).
func TestComponentsHashOfNothingIsAKnownValue(t *testing.T) {
	require.Equal(t, emptySetHash, hex.EncodeToString(Components(Modules{}).GetHash()))
}

const emptySetHash = "4e3edaae4978935c30a90ab5ecfb77169dace426d45b725aca813f749ba6be20"
