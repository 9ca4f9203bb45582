// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package pingprocessor

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
)

// Config is what the user writes under the processor's id.
type Config struct {
	// OpAMP is the extension to talk through.
	OpAMP component.ID `mapstructure:"opamp"`
	// Hellos is how often it says hello.
	Hellos int `mapstructure:"hellos"`

	_ struct{}
}

// NewFactory is the factory of the ping processor.
func NewFactory() processor.Factory {
	return processor.NewFactory(
		component.MustNewType("ping"),
		func() component.Config { return &Config{OpAMP: component.MustNewID("opamp")} },
		processor.WithMetrics(func(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
			return &pingProcessor{config: cfg.(*Config), logger: set.Logger, Metrics: next}, nil
		}, component.StabilityLevelDevelopment),
	)
}
