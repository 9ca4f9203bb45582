// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/xreceiver"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/decode"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
)

// formerType is what contrib's receiver was called at first, and what many configurations still say.
var formerType = component.MustNewType("awss3")

// NewFactory is the factory of the aws_s3 receiver, which answers to awss3 as well.
func NewFactory() receiver.Factory {
	return xreceiver.NewFactory(metadata.Type, createDefaultConfig,
		xreceiver.WithTraces(createTraces, metadata.TracesStability),
		xreceiver.WithMetrics(createMetrics, metadata.MetricsStability),
		xreceiver.WithLogs(createLogs, metadata.LogsStability),
		xreceiver.WithDeprecatedTypeAlias(formerType))
}

func createTraces(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	return newReceiver(cfg.(*Config), set, pipeline(decode.Traces(), next.ConsumeTraces, next.Capabilities()))
}

func createMetrics(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	return newReceiver(cfg.(*Config), set, pipeline(decode.Metrics(), next.ConsumeMetrics, next.Capabilities()))
}

func createLogs(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
	return newReceiver(cfg.(*Config), set, pipeline(decode.Logs(), next.ConsumeLogs, next.Capabilities()))
}
