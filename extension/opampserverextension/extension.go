// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetindexer"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetstore"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetui"
	"github.com/otel-fleetview/fleetview/internal/listening"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

const (
	// requestGrace is how long Shutdown waits for requests, agentGrace for agents:
	// longer, because a request that was cut ends an agent's exchange, and to say goodbye to
	// a peer that does nothing takes a second by itself. A peer that does not answer is not
	// waited for that long unless the host is overloaded: partingGrace is what saying so
	// to one of many connections may take of a processor.
	requestGrace = 500 * time.Millisecond
	agentGrace   = 3 * time.Second
	partingGrace = 200 * time.Microsecond
	// keepGrace is how long Shutdown writes what is not written yet: longer, for what thousands of agents did in the
	// last second is not lost for the sake of a second.
	keepGrace = 5 * time.Second
	// tickEvery is how often the fleet looks for agents that have gone silent.
	tickEvery = time.Second
)

var _ extensioncapabilities.Dependent = (*server)(nil)

// server is the extension. The Collector calls its methods one after the other.
type server struct {
	// Fixed at construction.
	id        component.ID
	config    *Config
	telemetry component.TelemetrySettings
	version   string // of the program

	// Set by Start.
	fleet   *fleet.Fleet
	keeper  *fleetstore.Keeper // nil without a database
	opamp   *opampserver.Server
	sender  *fleetsend.Sender
	index   *fleetsearch.Index
	started time.Time
	guard   *webGuard
	api     *fleetapi.API
	metrics *metadata.TelemetryBuilder
	agents  *listening.Front
	web     *listening.Front
	stop    context.CancelFunc // ends every request, and the ticking
	settle  context.CancelFunc // ends the work on the index that nobody asked for
	running sync.WaitGroup
}

func newServer(config *Config, set extension.Settings) *server {
	return &server{id: set.ID, config: config, telemetry: set.TelemetrySettings, version: set.BuildInfo.Version}
}

// Dependencies are the extensions that authenticate requests or stand before them. This
// one itself is none of them: Start says so, where the service would panic.
func (s *server) Dependencies() []component.ID {
	ids := append(s.config.agentsListener().Dependencies(), s.config.webListener().Dependencies()...)
	return slices.DeleteFunc(ids, func(id component.ID) bool { return id == s.id })
}

// Start opens both listeners and serves. What a failed Start began it undoes.
func (s *server) Start(ctx context.Context, host component.Host) error {
	rules, err := s.config.Redaction.rules()
	if err != nil {
		return err // Validate has said so
	}
	s.fleet = fleet.New(fleet.Settings{
		Redact:                 rules,
		MaxAgents:              s.config.Limits.MaxAgents,
		MaxAgentsPerConnection: s.config.Limits.MaxAgentsPerConnection,
		MaxMemory:              s.config.Limits.MaxMemory,
		SilentAfter:            s.config.SilentAfter,
		RetireAfter:            s.config.RetireAfter,
		Identity:               append(fleet.Identity{}, s.config.Identity.Attributes...),
	})
	if err := s.keep(ctx, host); err != nil {
		return errors.Join(err, s.Shutdown(ctx))
	}
	s.opamp = opampserver.New(opampserver.Settings{
		Logger:         s.telemetry.Logger,
		MaxMessageSize: s.config.Limits.MaxMessageSize,
		MaxConnections: s.config.Limits.MaxConnections,
	}, reception{s.fleet})
	s.sender = fleetsend.New(s.fleet, s.opamp)
	s.index, s.started = fleetsearch.New(s.fleet), time.Now()
	s.guard = newWebGuard(s.config.webListener(), s.config.Roles, s.telemetry.Logger)
	s.api = fleetapi.New(s.fleet, fleetapi.Settings{
		Sender: s.sender, MaySend: s.guard.maySend, Index: s.index, History: s.history(),
	})
	if err := errors.Join(s.observe(), s.open(host)); err != nil {
		return errors.Join(err, s.Shutdown(ctx))
	}
	s.running.Go(s.follow())
	s.running.Go(s.agents.Serve)
	s.running.Go(s.web.Serve)
	s.telemetry.Logger.Info("serving",
		zap.String("agents", s.agentsURL()), zap.Stringer("web", s.web.Addr()))
	return nil
}

// open opens the listeners, so that a port that is taken fails Start, and begins to tick.
func (s *server) open(host component.Host) (err error) {
	ctx, cancel := context.WithCancel(context.Background()) // outlives Start's
	s.stop = cancel
	agents, web := s.config.agentsListener(), s.config.webListener()
	guard := listening.NewAgentsGuard(agents, s.config.Agents.Path, s.opamp)
	if s.agents, err = guard.Open(ctx, host, s.telemetry, s.config.Limits.MaxMessageSize); err != nil {
		return err
	}
	if s.web, err = listening.Open(ctx, web, host, s.telemetry, listening.Settings{
		Handler: s.guard.within(s.pages()),
		Refuse:  s.guard.refuse,
		MaxBody: fleetapi.MaxBodyBytes,
	}); err != nil {
		return err
	}
	s.web.Server.Handler = s.guard.around(s.web.Server.Handler)
	s.running.Go(func() { s.tick(ctx) })
	return nil
}

// pages is all that people can ask for.
func (s *server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", s.api)
	settings := fleetui.Settings{OpAMPEndpoint: s.agentsURL(), Sender: s.sender, MaySend: s.guard.maySend, Index: s.index, Load: s.load}
	if s.keeper != nil {
		settings.History = s.keeper
	}
	mux.Handle("/", fleetui.New(s.fleet, settings))
	return mux
}

// agentsURL is what an agent is to be pointed at, as far as this host can tell.
func (s *server) agentsURL() string {
	if s.config.agentsListener().Socket() {
		return "unix:" + s.agents.Addr().String()
	}
	scheme, host := "ws", s.agents.Addr().String()
	if s.config.Agents.TLS.HasValue() {
		scheme = "wss"
	}
	if addr, ok := s.agents.Addr().(*net.TCPAddr); ok && addr.IP.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			_, port, _ := net.SplitHostPort(host)
			host = net.JoinHostPort(name, port)
		}
	}
	return scheme + "://" + host + s.config.Agents.Path
}

// follow keeps the index up to date, so that a first look is right. It ends before the rest of the server does, for then
// all agents change once more.
func (s *server) follow() func() {
	ctx, cancel := context.WithCancel(context.Background()) // outlives Start's
	s.settle = cancel
	f, index := s.fleet, s.index
	return func() { fleetindexer.Run(ctx, f, index) }
}

func (s *server) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.fleet.Tick(now)
		}
	}
}

// Shutdown undoes Start backwards, within two seconds whatever peers do, with two more
// on a host that is overloaded, some for thousands of them (partingGrace) and for what is not written yet (keepGrace): event
// streams end, agents are told to go, requests in progress are waited for, what is left is
// cut. It may be called without Start, and twice.
func (s *server) Shutdown(ctx context.Context) error {
	if s.fleet == nil {
		return nil
	}
	if s.settle != nil {
		s.settle()
	}
	s.fleet.Leave(time.Now())
	var agentsErr, fromAgents, fromWeb, kept error
	var ending sync.WaitGroup
	if s.api != nil {
		s.api.Close()
	}
	if s.opamp != nil {
		grace := agentGrace + time.Duration(s.opamp.Stats().Connections)*partingGrace
		ending.Go(func() { agentsErr = within(ctx, grace, s.opamp.Shutdown) })
	}
	if s.agents != nil {
		ending.Go(func() { fromAgents = within(ctx, requestGrace, s.agents.Shutdown) })
	}
	if s.web != nil {
		ending.Go(func() { fromWeb = within(ctx, requestGrace, s.web.Shutdown) })
	}
	ending.Wait()
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	if s.metrics != nil {
		s.metrics.Shutdown()
	}
	if s.keeper != nil {
		kept = within(ctx, keepGrace, s.keeper.Stop)
	}
	s.fleet = nil
	return errors.Join(agentsErr, fromAgents, fromWeb, kept)
}

func within(ctx context.Context, grace time.Duration, shutdown func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	return shutdown(ctx)
}

// reception tells the fleet what agents say, and when.
type reception struct{ fleet *fleet.Fleet }

func (r reception) OnMessage(_ context.Context, c opampserver.ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return r.fleet.Report(fleet.Conn(c), msg, time.Now())
}

func (r reception) OnClose(c opampserver.ConnInfo) { r.fleet.Disconnected(fleet.Conn(c), time.Now()) }
