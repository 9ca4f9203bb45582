// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"sync"
	"time"

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

// partLabels are the attribute sets of parts, each made once: their names are a closed
// set, and a stream of custom messages asks for the same one all the time.
var partLabels sync.Map // of [2]string, direction and part, to metric.MeasurementOption

func labelsOfPart(direction, part string) metric.MeasurementOption {
	key := [2]string{direction, part}
	if found, ok := partLabels.Load(key); ok {
		return found.(metric.MeasurementOption)
	}
	made := labels("direction", direction, "part", part)
	partLabels.Store(key, made)
	return made
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

func (o observer) Reported(part string, bytes int) { o.part("sent", part, bytes) }
func (o observer) Heard(part string, bytes int)    { o.part("received", part, bytes) }

func (o observer) part(direction, part string, bytes int) {
	attrs := labelsOfPart(direction, part)
	o.telemetry.OpampParts.Add(context.Background(), 1, attrs)
	o.telemetry.OpampPartBytes.Add(context.Background(), int64(bytes), attrs)
}

func (o observer) Dropped(what string, reason opampclient.Reason) {
	o.telemetry.OpampDropped.Add(context.Background(), 1, labels("item", what, "reason", string(reason)))
}

func (o observer) Refused(offer string) {
	o.telemetry.OpampRefusedOffers.Add(context.Background(), 1, labels("offer", offer))
}

func (o observer) Renamed() { o.telemetry.OpampInstanceUIDChanges.Add(context.Background(), 1) }

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

// observeClient lets the client's own counts be read when metrics are collected. The
// recorder, which may be nil, has already left out most of what need not be told of
// health, and its counts are the same story.
func observeClient(telemetry *metadata.TelemetryBuilder, client *opampclient.Client, recorder *componenthealth.Recorder) error {
	each := func(of func(opampclient.PartStatus, componenthealth.Stats) uint64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			for _, p := range client.Status().Parts {
				o.Observe(int64(of(p, healthStats(p.Part, recorder))), labels("part", p.Part))
			}
			return nil
		}
	}
	return errors.Join(
		telemetry.RegisterOpampReportsSuppressedCallback(each(func(p opampclient.PartStatus, h componenthealth.Stats) uint64 {
			return p.Suppressed + h.Suppressed
		})),
		telemetry.RegisterOpampReportsCoalescedCallback(each(func(p opampclient.PartStatus, h componenthealth.Stats) uint64 {
			return p.Coalesced + h.Coalesced
		})),
		telemetry.RegisterOpampReportsPendingCallback(each(func(p opampclient.PartStatus, _ componenthealth.Stats) uint64 {
			if p.Pending {
				return 1
			}
			return 0
		})),
		telemetry.RegisterOpampServerSilenceCallback(func(_ context.Context, o metric.Float64Observer) error {
			if last := client.Status().LastMessage; !last.IsZero() {
				o.Observe(time.Since(last).Seconds())
			}
			return nil
		}),
	)
}

// healthStats are the recorder's counts for the part that is made of them.
func healthStats(part string, recorder *componenthealth.Recorder) componenthealth.Stats {
	if part != "health" || recorder == nil {
		return componenthealth.Stats{}
	}
	return recorder.Stats()
}
