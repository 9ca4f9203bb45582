// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
)

// reporter shows the gateway to the server: it sends custom messages through the opamp
// extension of this Collector. They are state, so one that fails is made up for by the
// next.
type reporter struct {
	// Fixed at construction.
	name     string
	interval time.Duration
	gateway  *gateway.Gateway
	log      *zap.Logger
	handler  opampcustommessages.CustomCapabilityHandler // nil: nobody to report through

	// Owned by run.
	told    uint64 // version of the agents that were listed last; 0: none were
	since   int    // reports since then
	failing bool
	last    <-chan struct{} // closed when the server has the last message; nil: there was none
}

// withdrawer is a handler that takes back what waits for the server. A state of the gateway that was
// not told before the gateway stopped, nobody misses.
type withdrawer interface{ Withdraw() }

func newReporter(c ReportConfig, set extension.Settings, host component.Host, g *gateway.Gateway) (*reporter, error) {
	r := &reporter{name: set.ID.String(), interval: c.Interval, gateway: g, log: set.Logger}
	if c.Extension == nil {
		return r, nil
	}
	ext, ok := host.GetExtensions()[*c.Extension]
	if !ok {
		return nil, fmt.Errorf("report.extension: there is no extension %q", c.Extension)
	}
	registry, ok := ext.(opampcustommessages.CustomCapabilityRegistry)
	if !ok {
		return nil, fmt.Errorf("report.extension: extension %q takes no custom messages; name an opamp extension", c.Extension)
	}
	handler, err := registry.Register(gatewaystatus.Capability)
	if err != nil {
		return nil, fmt.Errorf("report.extension: %w", err)
	}
	r.handler = handler
	return r, nil
}

// run reports until ctx ends. What the server sends is taken and left.
func (r *reporter) run(ctx context.Context) {
	if r.handler == nil {
		return
	}
	defer r.leave()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var before <-chan struct{} // closed when the report before has got through, if another one is due
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.handler.Message():
			continue
		case <-r.gateway.Connects():
			r.since = relistEvery
			timer.Reset(min(settle, r.interval))
			continue
		case <-timer.C:
		case <-before:
		}
		if before = r.underWay(); before != nil {
			continue
		}
		r.note(r.tell(ctx))
		timer.Reset(r.interval)
	}
}

// underWay is closed when the server has what it was told last; nil if it has. While it is away there
// is one report for it, not one for each interval.
func (r *reporter) underWay() <-chan struct{} {
	select {
	case <-r.last:
		return nil
	default:
		return r.last
	}
}

// leave gives the capability back.
func (r *reporter) leave() {
	if h, ok := r.handler.(withdrawer); ok {
		h.Withdraw()
		return
	}
	r.handler.Unregister()
}

const (
	// relistEvery is after how many reports at most the agents are told again: a server that had to forget knows them by
	// then. One that was restarted knows them when the gateway has connected to it again.
	relistEvery = 10
	// settle is how long after a connection to the server that is: others are made at the same time.
	settle = time.Second
)

// tell sends the status, and the agents if they are others than before, or were not told for long.
func (r *reporter) tell(ctx context.Context) error {
	if err := r.send(ctx, gatewaystatus.TypeStatus, r.gateway.Status(r.name, time.Now())); err != nil {
		return err
	}
	uids, version := r.gateway.Agents()
	if r.since++; version == r.told && r.since < relistEvery {
		return nil
	}
	for _, part := range gatewaystatus.List(r.name, version, uids) {
		if err := r.send(ctx, gatewaystatus.TypeAgents, part); err != nil {
			return err
		}
	}
	r.told, r.since = version, 0
	return nil
}

// send sends one message, once there is room for it, within an interval.
func (r *reporter) send(ctx context.Context, kind string, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.interval)
	defer cancel()
	for {
		pending, err := r.handler.SendMessage(kind, data)
		if err == nil {
			r.last = pending
		}
		if !errors.Is(err, types.ErrCustomMessagePending) {
			return err
		}
		select {
		case <-pending:
		case <-ctx.Done():
			return err
		}
	}
}

// note says once that the gateway cannot be shown, and once that it can.
func (r *reporter) note(err error) {
	switch failing := err != nil; {
	case failing == r.failing:
	case failing:
		r.log.Warn("the gateway cannot report itself to the server; it goes on carrying agents", zap.Error(err))
	default:
		r.log.Info("the gateway reports itself to the server again")
	}
	r.failing = err != nil
}
