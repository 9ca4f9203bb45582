// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package statusexporter

import (
	"context"
	"errors"
	"net"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
)

var componentType = component.MustNewType("status")

// Config is where the exporter takes its orders.
type Config struct {
	// Endpoint is a host and port of the loopback interface.
	Endpoint string `mapstructure:"endpoint"`
}

var errNotLoopback = errors.New("endpoint: must be a loopback address and a port")

// Validate refuses an endpoint that others could reach: whoever reaches it sets a component's status.
func (c *Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Endpoint)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return errNotLoopback
	}
	return nil
}

// NewFactory makes exporters of every signal. Each needs an endpoint of its own.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		componentType,
		func() component.Config { return &Config{} },
		exporter.WithTraces(func(_ context.Context, _ exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			return newExporter(cfg.(*Config)), nil
		}, component.StabilityLevelDevelopment),
		exporter.WithMetrics(func(_ context.Context, _ exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
			return newExporter(cfg.(*Config)), nil
		}, component.StabilityLevelDevelopment),
		exporter.WithLogs(func(_ context.Context, _ exporter.Settings, cfg component.Config) (exporter.Logs, error) {
			return newExporter(cfg.(*Config)), nil
		}, component.StabilityLevelDevelopment),
	)
}
