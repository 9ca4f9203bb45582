// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/agentreport"
	"github.com/otel-fleetview/fleetview/internal/componenthealth"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// configPatience is how long after Start the client waits for the configuration,
// so that its first message carries it. The service tells it within milliseconds.
const configPatience = time.Second

var errLifecycleOver = errors.New("opamp extension: Start after Shutdown")

var (
	_ extension.Extension                         = (*opampExtension)(nil)
	_ extensioncapabilities.Dependent             = (*opampExtension)(nil)
	_ extensioncapabilities.PipelineWatcher       = (*opampExtension)(nil)
	_ extensioncapabilities.ConfigSnapshotWatcher = (*opampExtension)(nil)
	_ componentstatus.Watcher                     = (*opampExtension)(nil)
)

// opampExtension is this Collector as an OpAMP Agent.
type opampExtension struct {
	// Fixed at construction.
	cfg         *Config
	set         extension.Settings
	telemetry   *metadata.TelemetryBuilder
	health      *componenthealth.Recorder // nil unless health is reported
	configKnown chan struct{}             // closed by the first NotifyConfigSnapshot
	life        context.Context           // ends when Shutdown begins
	end         context.CancelFunc
	work        sync.WaitGroup // the goroutines of Start
	parent      parentWatch    // used where ppid is set

	knowConfig sync.Once // closes configKnown

	mu sync.Mutex
	// Guarded by mu.
	facts      agentreport.Facts
	client     *opampclient.Client // nil before Start
	httpClient *http.Client        // nil before Start
	over       bool                // Shutdown was called
}

func newExtension(cfg *Config, set extension.Settings) (*opampExtension, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("opamp extension telemetry: %w", err)
	}
	e := &opampExtension{
		cfg:         cfg,
		set:         set,
		telemetry:   telemetry,
		configKnown: make(chan struct{}),
		parent:      newParentWatch(cfg, set.Logger),
	}
	e.life, e.end = context.WithCancel(context.Background())
	if cfg.Capabilities.ReportsHealth {
		e.health = componenthealth.New(time.Now())
		if err := observeHealth(telemetry, e.health); err != nil {
			return nil, fmt.Errorf("opamp extension telemetry: %w", err)
		}
	}
	return e, nil
}

// Start begins to report and returns without waiting for the network. What it
// refuses is what no server can make good: an authenticator that is not there, a
// certificate that cannot be read.
func (e *opampExtension) Start(ctx context.Context, host component.Host) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return errLifecycleOver
	}
	if e.client != nil {
		return nil
	}
	if err := e.connectLocked(ctx, host); err != nil {
		return err
	}
	if e.health != nil {
		e.health.Start(e.client.SetHealth)
	}
	e.work.Go(e.open)
	if e.cfg.PPID != 0 {
		e.work.Go(func() { e.parent.run(e.life) })
	}
	return nil
}

// connectLocked makes the client, which does nothing yet.
func (e *opampExtension) connectLocked(ctx context.Context, host component.Host) error {
	endpoint := e.cfg.Server.endpoint()
	if endpoint == nil {
		return errNoTransport
	}
	u, err := url.Parse(endpoint.Endpoint)
	if err != nil {
		return errors.New("opamp server endpoint is not a valid URL") // the error's own text would repeat it
	}
	uid, err := e.cfg.instanceUID(e.set.ID)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadInstanceUID, err)
	}
	e.httpClient, err = endpoint.httpClient(ctx, u, host, e.set.TelemetrySettings)
	if err != nil {
		return err
	}
	e.facts = agentreport.Facts{
		InstanceUID:     uid.String(),
		Supervised:      e.cfg.supervised(),
		BuildInfo:       e.set.BuildInfo,
		Resource:        e.set.Resource,
		IncludeResource: e.cfg.AgentDescription.IncludeResourceAttributes,
		NonIdentifying:  e.cfg.AgentDescription.NonIdentifyingAttributes,
	}
	report := opampclient.Report{InstanceUID: uid, Capabilities: e.cfg.Capabilities.bits()}
	if e.cfg.Capabilities.ReportsAvailableComponents {
		report.Components = agentreport.Components(modulesOf(host))
	}
	e.client = opampclient.New(opampclient.Settings{
		Endpoint:        u,
		HTTPClient:      e.httpClient,
		Header:          userAgent(e.set.BuildInfo),
		PollingInterval: e.cfg.Server.pollingInterval(),
		Logger:          e.set.Logger,
		Observer:        observer{e.telemetry},
		OnInstanceUID:   e.renamed,
	}, report)
	e.set.Logger.Info("Reporting to an OpAMP server",
		zap.String("endpoint", printable(u)), zap.Stringer("instance_uid", uid))
	return nil
}

// open lets the client dial as soon as the first message can be complete.
func (e *opampExtension) open() {
	host := readHost()
	e.describe(func(f *agentreport.Facts) { f.Host = host })

	patience := time.NewTimer(configPatience)
	defer patience.Stop()
	select {
	case <-e.configKnown:
	case <-patience.C:
	case <-e.life.Done():
		return
	}
	e.currentClient().Start()
}

// renamed follows a server that assigned another instance UID.
func (e *opampExtension) renamed(uid opampwire.InstanceUID) {
	if e.cfg.InstanceUID == "" {
		uids.set(e.set.ID, uid)
	}
	e.describe(func(f *agentreport.Facts) { f.InstanceUID = uid.String() })
}

// describe reports the facts after a change.
func (e *opampExtension) describe(change func(*agentreport.Facts)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.facts)
	e.client.SetDescription(agentreport.Description(e.facts))
}

// currentClient is nil before Start.
func (e *opampExtension) currentClient() *opampclient.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.client
}

// Shutdown says goodbye where a connection is up and ends everything that Start
// began, within two seconds whatever the server does. Before Start, and a second
// time, it does nothing.
func (e *opampExtension) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	first := !e.over
	e.over = true
	client, httpClient := e.client, e.httpClient
	e.mu.Unlock()
	if !first {
		return nil
	}

	e.end()
	e.work.Wait()
	if e.health != nil {
		e.health.Stop()
	}
	if client != nil {
		client.Stop(ctx)
		httpClient.CloseIdleConnections()
	}
	e.telemetry.Shutdown()
	return nil
}

// Dependencies is the authenticator, which has to run before this extension.
func (e *opampExtension) Dependencies() []component.ID {
	endpoint := e.cfg.Server.endpoint()
	if endpoint == nil || endpoint.Auth == (component.ID{}) {
		return nil
	}
	return []component.ID{endpoint.Auth}
}

// NotifyConfigSnapshot reports the effective configuration. It never fails: an
// error here would keep the Collector from starting.
func (e *opampExtension) NotifyConfigSnapshot(_ context.Context, snapshot extensioncapabilities.ConfigSnapshot) error {
	defer e.knowConfig.Do(func() { close(e.configKnown) })
	client := e.currentClient()
	if client == nil || snapshot == nil || !e.cfg.Capabilities.ReportsEffectiveConfig {
		return nil
	}
	effective, err := agentreport.EffectiveConfig(snapshot.Effective())
	if err != nil {
		e.set.Logger.Warn("The effective configuration is not reported", zap.Error(err))
		return nil
	}
	client.SetEffectiveConfig(effective)
	return nil
}

// Ready lets the first health tree out.
func (e *opampExtension) Ready() error {
	if e.health != nil {
		e.health.Ready()
	}
	return nil
}

// NotReady says that the Collector stops.
func (e *opampExtension) NotReady() error {
	if e.health != nil {
		e.health.NotReady()
	}
	return nil
}

// ComponentStatusChanged implements componentstatus.Watcher. The service calls it
// under its status lock.
func (e *opampExtension) ComponentStatusChanged(source *componentstatus.InstanceID, event *componentstatus.Event) {
	if e.health != nil {
		e.health.ComponentStatusChanged(source, event)
	}
}
