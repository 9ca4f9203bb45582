// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/extension/opampgatewayextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/listening"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
)

// stopGrace is how long Shutdown takes besides timeouts.drain, at most.
const stopGrace = 2 * time.Second

var _ extensioncapabilities.Dependent = (*gatewayExtension)(nil)

// gatewayExtension is the extension. The Collector calls its methods one after the other.
type gatewayExtension struct {
	// Fixed at construction.
	config *Config
	set    extension.Settings

	// Set by Start.
	gateway *gateway.Gateway
	metrics *metadata.TelemetryBuilder
	front   *listening.Front
	clients []*http.Client
	report  *reporter
	stop    context.CancelFunc // ends every request
	hush    context.CancelFunc // ends the report
	running sync.WaitGroup
}

func newExtension(config *Config, set extension.Settings) *gatewayExtension {
	return &gatewayExtension{config: config, set: set}
}

// Dependencies are the extensions that authenticate somebody, stand before agents, or
// report for the gateway. The gateway itself is none of them: Start says so, where the
// service would panic.
func (e *gatewayExtension) Dependencies() []component.ID {
	ids := e.config.listener().Dependencies()
	if e.config.Upstream.Auth != (component.ID{}) {
		ids = append(ids, e.config.Upstream.Auth)
	}
	if e.config.Report.Extension != nil {
		ids = append(ids, *e.config.Report.Extension)
	}
	return slices.DeleteFunc(ids, func(id component.ID) bool { return id == e.set.ID })
}

// Start opens the listener and begins to connect to the server, for whom it does not
// wait. What a failed Start began it undoes.
func (e *gatewayExtension) Start(ctx context.Context, host component.Host) error {
	if err := e.start(ctx, host); err != nil {
		return errors.Join(err, e.Shutdown(ctx))
	}
	e.set.Logger.Info("carrying OpAMP agents",
		zap.Stringer("listener", e.front.Addr()), zap.String("path", e.config.Listener.Path))
	return nil
}

func (e *gatewayExtension) start(ctx context.Context, host component.Host) (err error) {
	requests, cancel := context.WithCancel(context.Background()) // outlives Start's
	e.stop = cancel
	reporting, hush := context.WithCancel(requests)
	e.hush = hush
	if e.metrics, err = metadata.NewTelemetryBuilder(e.set.TelemetrySettings); err != nil {
		return err
	}
	settings, err := e.settings(ctx, host)
	if err != nil {
		return err
	}
	if e.gateway, err = gateway.New(settings); err != nil {
		return err
	}
	if err := observe(e.metrics, e.gateway); err != nil {
		return err
	}
	guard := listening.NewAgentsGuard(e.config.listener(), e.config.Listener.Path, e.gateway)
	if e.front, err = guard.Open(requests, host, e.set.TelemetrySettings, e.config.Limits.MaxMessageSize); err != nil {
		return err
	}
	if e.report, err = newReporter(e.config.Report, e.set, host, e.gateway); err != nil {
		return err
	}
	e.gateway.Start()
	e.running.Go(e.front.Serve)
	e.running.Go(func() { e.report.run(reporting) })
	return nil
}

// settings are those of the configuration, with clients that the Collector makes.
func (e *gatewayExtension) settings(ctx context.Context, host component.Host) (gateway.Settings, error) {
	c := e.config
	set := gateway.Settings{
		Logger:            e.set.Logger,
		Observer:          newObserver(e.metrics),
		Header:            opampendpoint.UserAgent(e.set.BuildInfo),
		ForwardHeaders:    c.Upstream.ForwardHeaders,
		Multiplexing:      c.Upstream.Connections.Mode,
		MinConnections:    c.Upstream.Connections.Min,
		MaxConnections:    c.Upstream.Connections.Max,
		GrowAfter:         c.Upstream.Connections.GrowAfter,
		MaxMessageSize:    c.Limits.MaxMessageSize,
		MaxAgents:         c.Limits.MaxAgents,
		MaxPerConnection:  c.Limits.MaxAgentsPerConnection,
		MaxConnectionsIn:  c.Limits.MaxConnections,
		MaxQueuedMessages: c.Limits.MaxQueuedMessages,
		MaxQueuedBytes:    c.Limits.MaxQueuedBytes,
		MaxUpstreamQueue:  c.Limits.MaxUpstreamQueuedBytes,
		HandshakeTimeout:  c.Timeouts.Handshake,
		WriteTimeout:      c.Timeouts.Write,
		FirstMessage:      c.Timeouts.FirstMessage,
		PingInterval:      c.Timeouts.Ping,
		UpstreamPing:      c.Timeouts.UpstreamPing,
		UpstreamIdle:      c.Timeouts.UpstreamIdle,
		Grace:             c.Timeouts.Grace,
		HTTPAnswer:        c.Timeouts.HTTPAnswer,
		HTTPSilence:       c.Timeouts.HTTPSilence,
		MaxRetryAfter:     c.Upstream.MaxRetryAfter,
		Drain:             c.Timeouts.Drain,
		AnnouncePerSecond: c.Upstream.AnnouncePerSecond,
		Duplicates:        c.Identity.Duplicates,
		Silence:           c.Identity.Silence,
		Offers:            c.ConnectionSettings.Policy,
		OwnEndpoint:       c.ConnectionSettings.Endpoint,
		Auth: gateway.AuthSettings{
			Mode: c.AgentAuth.Mode, Headers: c.AgentAuth.Headers,
			Accepted: c.AgentAuth.AcceptedTTL, Rejected: c.AgentAuth.RejectedTTL,
		},
	}
	plain, secure := c.Upstream.schemes()
	for _, address := range c.Upstream.endpoints() {
		u, err := opampendpoint.Parse(address, plain, secure)
		if err != nil {
			return set, fmt.Errorf("upstream: %w", err)
		}
		way := c.Upstream.Config
		way.Endpoint = address
		client, err := way.Client(ctx, u, host, e.set.TelemetrySettings)
		if err != nil {
			return set, fmt.Errorf("upstream: %w", err)
		}
		e.clients = append(e.clients, client)
		set.Endpoints = append(set.Endpoints, gateway.Endpoint{URL: u, Client: client})
		if c.AgentAuth.Mode != gateway.AuthUpstream {
			continue
		}
		way.Auth, way.Headers = component.ID{}, nil // the gateway's own credentials would vouch for everybody
		bare, err := way.Client(ctx, u, host, e.set.TelemetrySettings)
		if err != nil {
			return set, fmt.Errorf("upstream: %w", err)
		}
		e.clients = append(e.clients, bare)
		set.Auth.Clients = append(set.Auth.Clients, bare)
	}
	return set, nil
}

// Shutdown undoes Start backwards: agents are sent away, spread over timeouts.drain, then
// the gateway hangs up on the server. It may be called without Start, and twice.
func (e *gatewayExtension) Shutdown(ctx context.Context) error {
	if e.stop == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.Timeouts.Drain+stopGrace)
	defer cancel()
	e.hush() // before the agent that reports, which may be one of those that are carried, is sent away
	var err error
	if e.gateway != nil {
		err = e.gateway.Shutdown(ctx)
	}
	if e.front != nil {
		err = errors.Join(err, e.front.Shutdown(ctx))
	}
	e.stop()
	e.running.Wait()
	for _, client := range e.clients {
		client.CloseIdleConnections()
	}
	if e.metrics != nil {
		e.metrics.Shutdown()
	}
	*e = gatewayExtension{config: e.config, set: e.set}
	return err
}
