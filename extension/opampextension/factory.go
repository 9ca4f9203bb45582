// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/featuregate"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
)

// remoteRestartsGate is a feature gate of contrib's extension. It is known here so
// that a command line which names it still starts. It changes nothing.
const remoteRestartsGate = "extension.opampextension.RemoteRestarts"

// NewFactory is the factory of the opamp extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

// The command line is read before any factory is asked for, so that the gate has to
// be there when the package is.
func init() { registerGate() }

// registerGate tolerates a gate that is there already: another extension in the
// same binary may have registered it.
func registerGate() {
	_, _ = featuregate.GlobalRegistry().Register(remoteRestartsGate, featuregate.StageAlpha,
		featuregate.WithRegisterDescription("Accepted and without effect: nothing that an OpAMP server says can restart this collector"),
		featuregate.WithRegisterFromVersion("v0.1.0"))
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	return newExtension(cfg.(*Config), set)
}
