// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/componenthealth"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
)

// observer turns what the client does into the extension's metrics.
type observer struct{ telemetry *metadata.TelemetryBuilder }

var _ opampclient.Observer = observer{}

// Attribute sets that each message needs.
var (
	sent     = labels("direction", "sent")
	received = labels("direction", "received")
)

func labels(keysAndValues ...string) metric.MeasurementOption {
	attrs := make([]attribute.KeyValue, 0, len(keysAndValues)/2)
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		attrs = append(attrs, attribute.String(keysAndValues[i], keysAndValues[i+1]))
	}
	return metric.WithAttributeSet(attribute.NewSet(attrs...))
}

func (o observer) Connected(up bool) {
	value := int64(0)
	if up {
		value = 1
	}
	o.telemetry.OpampConnected.Record(context.Background(), value)
}

func (o observer) ConnectAttempt(result string) {
	o.telemetry.OpampConnects.Add(context.Background(), 1, labels("result", result))
}

func (o observer) Disconnected(reason opampclient.Reason) {
	o.telemetry.OpampDisconnects.Add(context.Background(), 1, labels("reason", string(reason)))
}

func (o observer) Sent(bytes int)     { o.message(bytes, sent) }
func (o observer) Received(bytes int) { o.message(bytes, received) }

func (o observer) message(bytes int, direction metric.MeasurementOption) {
	o.telemetry.OpampMessages.Add(context.Background(), 1, direction)
	o.telemetry.OpampMessageBytes.Add(context.Background(), int64(bytes), direction)
}

func (o observer) Reported(part string) {
	o.telemetry.OpampReportedParts.Add(context.Background(), 1, labels("part", part))
}

func (o observer) Dropped(what string, reason opampclient.Reason) {
	o.telemetry.OpampDropped.Add(context.Background(), 1, labels("item", what, "reason", string(reason)))
}

func (o observer) Refused(offer string) {
	o.telemetry.OpampRefusedOffers.Add(context.Background(), 1, labels("offer", offer))
}

// observeHealth lets the recorder's own counts be read when metrics are collected,
// so that counting costs a status event nothing.
func observeHealth(telemetry *metadata.TelemetryBuilder, recorder *componenthealth.Recorder) error {
	count := func(of func(componenthealth.Stats) uint64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(of(recorder.Stats())))
			return nil
		}
	}
	return errors.Join(
		telemetry.RegisterOpampStatusEventsCallback(count(func(s componenthealth.Stats) uint64 { return s.Events })),
		telemetry.RegisterOpampHealthReportsCallback(count(func(s componenthealth.Stats) uint64 { return s.Reports })),
		telemetry.RegisterOpampStatusEventsDroppedCallback(count(func(s componenthealth.Stats) uint64 { return s.Dropped })),
	)
}
