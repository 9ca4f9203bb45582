// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-fleetview/fleetview/extension/opampgatewayextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// observer records what happens. The attributes of what happens with every message are
// made beforehand.
type observer struct {
	metrics  *metadata.TelemetryBuilder
	up, down []metric.RecordOption
}

func newObserver(metrics *metadata.TelemetryBuilder) *observer {
	of := func(d gateway.Direction) []metric.RecordOption {
		return []metric.RecordOption{with("direction", string(d))}
	}
	return &observer{metrics: metrics, up: of(gateway.Up), down: of(gateway.Down)}
}

// Forwarded implements gateway.Observer.
func (o *observer) Forwarded(d gateway.Direction, took time.Duration) {
	way := o.down
	if d == gateway.Up {
		way = o.up
	}
	o.metrics.OpampGatewayLatency.Record(context.Background(), took.Seconds(), way...)
}

// Dialled implements gateway.Observer.
func (o *observer) Dialled(result string) {
	o.metrics.OpampGatewayConnects.Add(context.Background(), 1, with("result", result))
}

// Lost implements gateway.Observer.
func (o *observer) Lost(reason string) {
	o.metrics.OpampGatewayDisconnects.Add(context.Background(), 1, with("reason", reason))
}

// Authenticated implements gateway.Observer.
func (o *observer) Authenticated(result string) {
	o.metrics.OpampGatewayAuthentications.Add(context.Background(), 1, with("result", result))
}

// observe makes the counts of the gateway readable as metrics. They are read when a reader
// asks, so that a message pays nothing for them.
func observe(b *metadata.TelemetryBuilder, g *gateway.Gateway) error {
	one := func(read func(gateway.Stats) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(read(g.Stats()))
			return nil
		}
	}
	many := func(read func(gateway.Stats, metric.Int64Observer)) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			read(g.Stats(), o)
			return nil
		}
	}
	return errors.Join(
		b.RegisterOpampGatewayAgentsCallback(one(func(s gateway.Stats) int64 { return s.Agents })),
		b.RegisterOpampGatewayAgentsAnnouncedCallback(one(func(s gateway.Stats) int64 { return int64(s.Announced) })),
		b.RegisterOpampGatewayAgentsReturnedCallback(one(func(s gateway.Stats) int64 { return int64(s.Returned) })),
		b.RegisterOpampGatewayAgentsMovedCallback(one(func(s gateway.Stats) int64 { return int64(s.Moved) })),
		b.RegisterOpampGatewayAgentsRenamedCallback(one(func(s gateway.Stats) int64 { return int64(s.Renamed) })),
		b.RegisterOpampGatewayAgentsUnannouncedCallback(one(func(s gateway.Stats) int64 { return int64(s.Unannounced) })),
		b.RegisterOpampGatewayServerErrorsCallback(one(func(s gateway.Stats) int64 { return s.ServerErrors })),
		b.RegisterOpampGatewayConnectionsCallback(one(func(s gateway.Stats) int64 { return s.Connections })),
		b.RegisterOpampGatewayGoodbyesCallback(one(func(s gateway.Stats) int64 { return int64(s.Goodbyes) })),
		b.RegisterOpampGatewayPollingCallback(one(func(s gateway.Stats) int64 { return s.Polling })),
		b.RegisterOpampGatewayUnansweredCallback(one(func(s gateway.Stats) int64 { return s.Unanswered })),
		b.RegisterOpampGatewayMessagesCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			o.Observe(s.MessagesUp, with("direction", string(gateway.Up)))
			o.Observe(s.MessagesDown, with("direction", string(gateway.Down)))
		})),
		b.RegisterOpampGatewayMessageBytesCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			o.Observe(s.BytesUp, with("direction", string(gateway.Up)))
			o.Observe(s.BytesDown, with("direction", string(gateway.Down)))
		})),
		b.RegisterOpampGatewayDropsCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			for _, reason := range gateway.Reasons() {
				o.Observe(s.Drops[reason], with("reason", string(reason)))
			}
		})),
		b.RegisterOpampGatewayRefusedCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			for _, reason := range opampserver.Reasons() {
				o.Observe(s.Refused[reason], with("reason", string(reason)))
			}
			o.Observe(s.TurnedAway, with("reason", string(gateway.ReasonNoUpstream)))
			o.Observe(s.Looped, with("reason", "loop"))
		})),
		b.RegisterOpampGatewayDuplicatesCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			for _, policy := range gateway.AllDuplicates() {
				o.Observe(int64(s.Duplicates[policy]), with("policy", string(policy)))
			}
		})),
		b.RegisterOpampGatewayDestinationsCallback(many(func(s gateway.Stats, o metric.Int64Observer) {
			o.Observe(s.Stripped, with("action", "stripped"))
			o.Observe(s.Rewritten, with("action", "rewritten"))
		})),
		observeUpstreams(b, g),
	)
}

func observeUpstreams(b *metadata.TelemetryBuilder, g *gateway.Gateway) error {
	each := func(read func(gateway.Upstream) int) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			for _, u := range g.Stats().Upstreams {
				o.Observe(int64(read(u)), with("upstream", u.Name))
			}
			return nil
		}
	}
	return errors.Join(
		b.RegisterOpampGatewayUpstreamAgentsCallback(each(func(u gateway.Upstream) int { return u.Agents })),
		b.RegisterOpampGatewayQueuedCallback(each(func(u gateway.Upstream) int { return u.QueuedBytes })),
		b.RegisterOpampGatewayAnswerTimeCallback(func(_ context.Context, o metric.Float64Observer) error {
			for _, u := range g.Stats().Upstreams {
				o.Observe(u.AnswerTime.Seconds(), with("upstream", u.Name))
			}
			return nil
		}),
		b.RegisterOpampGatewayUpstreamsCallback(func(_ context.Context, o metric.Int64Observer) error {
			var up, idle, down int64
			for _, u := range g.Stats().Upstreams {
				switch {
				case u.Connected:
					up++
				case u.Idle:
					idle++
				default:
					down++
				}
			}
			o.Observe(up, with("state", "connected"))
			o.Observe(idle, with("state", "idle"))
			o.Observe(down, with("state", "disconnected"))
			return nil
		}),
	)
}

// with is an attribute.
func with(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
}
