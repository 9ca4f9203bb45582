// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetstore"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// observe makes the counts of the fleet and of the OpAMP server readable as metrics.
// They are read when a reader asks, so that a heartbeat pays nothing for them.
func (s *server) observe() error {
	builder, err := metadata.NewTelemetryBuilder(s.telemetry)
	if err != nil {
		return err
	}
	s.metrics = builder
	f, server := s.fleet, s.opamp
	return errors.Join(
		builder.RegisterOpampServerAgentsCallback(func(_ context.Context, o metric.Int64Observer) error {
			counts := f.Stats().Agents
			for _, l := range fleet.Livenesses() {
				o.Observe(int64(counts[l]), with("liveness", string(l)))
			}
			return nil
		}),
		builder.RegisterOpampServerConnectionsCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(server.Stats().Connections)
			return nil
		}),
		builder.RegisterOpampServerUnsentBytesCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(server.Stats().UnsentBytes)
			return nil
		}),
		builder.RegisterOpampServerMessagesCallback(func(_ context.Context, o metric.Int64Observer) error {
			observeMessages(o, server.Stats())
			return nil
		}),
		builder.RegisterOpampServerMessageBytesCallback(func(_ context.Context, o metric.Int64Observer) error {
			stats := server.Stats()
			o.Observe(stats.WebSocketReceived.Bytes+stats.HTTPReceived.Bytes, with("direction", "received"))
			o.Observe(stats.WebSocketSent.Bytes+stats.HTTPSent.Bytes, with("direction", "sent"))
			return nil
		}),
		builder.RegisterOpampServerRejectedCallback(func(_ context.Context, o metric.Int64Observer) error {
			observeRejected(o, server.Stats().Rejected, f.Stats().Refused)
			return nil
		}),
		builder.RegisterOpampServerWebRefusedCallback(func(_ context.Context, o metric.Int64Observer) error {
			for why, n := range s.guard.counts {
				o.Observe(n.Load(), with("reason", string(why)))
			}
			return nil
		}),
		observeFleet(builder, f),
		observeDatabase(builder, s.keeper),
	)
}

// observeDatabase tells nothing without a database.
func observeDatabase(builder *metadata.TelemetryBuilder, k *fleetstore.Keeper) error {
	if k == nil {
		return nil
	}
	return errors.Join(
		builder.RegisterOpampServerDatabaseEventsCallback(func(_ context.Context, o metric.Int64Observer) error {
			stats := k.Stats()
			for outcome, n := range map[string]uint64{"written": stats.Events, "lost": stats.Lost, "trimmed": stats.Trimmed} {
				o.Observe(int64(n), with("outcome", outcome)) //nolint:gosec // a count of events
			}
			return nil
		}),
		builder.RegisterOpampServerDatabaseSizeCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(k.Stats().Store.Bytes)
			return nil
		}),
		builder.RegisterOpampServerDatabaseFailuresCallback(observeOne(func() uint64 { return k.Stats().Failures })),
		builder.RegisterOpampServerDatabaseStatementsCallback(observeOne(func() uint64 { return k.Stats().Store.Statements })),
	)
}

func observeFleet(builder *metadata.TelemetryBuilder, f *fleet.Fleet) error {
	return errors.Join(
		builder.RegisterOpampServerCutCallback(func(_ context.Context, o metric.Int64Observer) error {
			counts := f.Stats().Cuts
			for _, part := range fleet.CutReasons() {
				o.Observe(int64(counts[part]), with("part", string(part)))
			}
			return nil
		}),
		builder.RegisterOpampServerCustomMessagesCallback(func(_ context.Context, o metric.Int64Observer) error {
			counts := f.Stats().Messages
			for _, fate := range fleet.MessageFates() {
				o.Observe(int64(counts[fate]), with("fate", string(fate))) //nolint:gosec // a count of messages
			}
			return nil
		}),
		builder.RegisterOpampServerMemoryCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(f.Stats().Memory)
			return nil
		}),
		builder.RegisterOpampServerDuplicatesCallback(observeOne(func() uint64 { return f.Stats().Duplicates })),
		builder.RegisterOpampServerReidentifiedCallback(observeOne(func() uint64 { return f.Stats().Reidentified })),
		builder.RegisterOpampServerRetiredCallback(observeOne(func() uint64 { return f.Stats().Retired })),
		builder.RegisterOpampServerSucceededCallback(observeOne(func() uint64 { return f.Stats().Succeeded })),
		builder.RegisterOpampServerEvictedCallback(observeOne(func() uint64 { return f.Stats().Evicted })),
		builder.RegisterOpampServerFullStateRequestsCallback(observeOne(func() uint64 { return f.Stats().FullStateRequests })),
	)
}

func observeMessages(o metric.Int64Observer, stats opampserver.Stats) {
	for _, count := range []struct {
		traffic              opampserver.Traffic
		direction, transport string
	}{
		{stats.WebSocketReceived, "received", opampserver.TransportWebSocket},
		{stats.WebSocketSent, "sent", opampserver.TransportWebSocket},
		{stats.HTTPReceived, "received", opampserver.TransportHTTP},
		{stats.HTTPSent, "sent", opampserver.TransportHTTP},
	} {
		o.Observe(count.traffic.Messages, with("direction", count.direction, "transport", count.transport))
	}
}

// observeRejected joins the refusals of both rooms. Where they share a name it is one
// kind of refusal.
func observeRejected(o metric.Int64Observer, rejected map[opampserver.Reason]int64, refused map[fleet.RefuseReason]uint64) {
	counts := make(map[string]int64, len(rejected)+len(refused))
	for _, r := range opampserver.Reasons() {
		counts[string(r)] += rejected[r]
	}
	for _, r := range fleet.RefuseReasons() {
		counts[string(r)] += int64(refused[r]) //nolint:gosec // a count of messages
	}
	for reason, n := range counts {
		o.Observe(n, with("reason", reason))
	}
}

func observeOne(read func() uint64) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(int64(read())) //nolint:gosec // a count of messages
		return nil
	}
}

// with makes attributes of pairs of a key and a value.
func with(pairs ...string) metric.MeasurementOption {
	attrs := make([]attribute.KeyValue, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		attrs = append(attrs, attribute.String(pairs[i], pairs[i+1]))
	}
	return metric.WithAttributeSet(attribute.NewSet(attrs...))
}
