// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
)

// NewFactory is the factory of the opamp extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	return newExtension(cfg.(*Config), set)
}
