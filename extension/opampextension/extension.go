// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/agentidentity"
	"github.com/otel-fleetview/fleetview/internal/agentreport"
	"github.com/otel-fleetview/fleetview/internal/componenthealth"
	"github.com/otel-fleetview/fleetview/internal/custommessage"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
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
	redactor    *redactor
	custom      *custommessage.Registry
	customStore *customStorage // nil where unsent custom messages are not kept

	knowConfig sync.Once // closes configKnown

	mu sync.Mutex
	// Guarded by mu.
	facts      agentreport.Facts
	client     *opampclient.Client     // nil before Start
	identity   *agentidentity.Identity // nil before Start
	endpoint   string                  // for people; empty before Start
	httpClient *http.Client            // nil before Start
	unlist     func()                  // takes the status page away
	over       bool                    // Shutdown was called
}

func newExtension(cfg *Config, set extension.Settings) (*opampExtension, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("opamp extension telemetry: %w", err)
	}
	secrets, err := newRedactor(&cfg.Redaction)
	if err != nil {
		return nil, fmt.Errorf("redaction: %w", err)
	}
	set.Logger = secrets.logger(set.Logger)
	e := &opampExtension{
		redactor:    secrets,
		cfg:         cfg,
		set:         set,
		telemetry:   telemetry,
		configKnown: make(chan struct{}),
		unlist:      func() {},
		parent:      newParentWatch(cfg, set.Logger),
	}
	e.customStore = newCustomStorage(cfg, set.ID)
	e.custom = newCustomMessages(cfg, set.Logger, e.customStore)
	if err := observeCustom(telemetry, e.custom); err != nil {
		return nil, fmt.Errorf("opamp extension telemetry: %w", err)
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
	if err := e.customStore.find(host); err != nil {
		return err
	}
	who, err := newIdentity(e.cfg, e.set, host)
	if err != nil {
		return err
	}
	if err := e.connectLocked(ctx, host); err != nil {
		return err
	}
	e.identity = who
	who.Start()
	e.custom.Attach(linkTo(e.client))
	if e.health != nil {
		report := e.client.SetHealth
		e.health.Start(func(h *protobufs.ComponentHealth) { report(e.redactor.health(h)) })
	}
	client, endpoint := e.client, e.endpoint
	e.work.Go(func() { e.open(client, who, endpoint) })
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
	e.httpClient, err = endpoint.Client(ctx, u, host, e.set.TelemetrySettings)
	if err != nil {
		return err
	}
	e.facts = agentreport.Facts{
		Supervised:      e.cfg.supervised(),
		BuildInfo:       e.set.BuildInfo,
		Resource:        e.set.Resource,
		Process:         readProcess(),
		IncludeResource: e.cfg.AgentDescription.IncludeResourceAttributes,
		Identifying:     e.cfg.AgentDescription.IdentifyingAttributes,
		NonIdentifying:  e.cfg.AgentDescription.NonIdentifyingAttributes,
	}
	report := opampclient.Report{Capabilities: e.cfg.Capabilities.bits()}
	if e.cfg.Capabilities.ReportsAvailableComponents {
		report.Components = agentreport.Components(modulesOf(host))
	}
	e.client = opampclient.New(opampclient.Settings{
		Endpoint:        u,
		HTTPClient:      e.httpClient,
		Header:          opampendpoint.UserAgent(e.set.BuildInfo),
		PollingInterval: e.cfg.Server.pollingInterval(),
		MaxRetryAfter:   endpoint.MaxRetryAfter,
		Uncompressed:    e.cfg.Server.uncompressed(),
		Logger:          e.set.Logger,
		Observer:        observer{e.telemetry},
		OnInstanceUID:   e.renamed,
		CustomMessages:  e.custom,
		CustomPace:      e.cfg.customPace(),
	}, report)
	if err := observeClient(e.telemetry, e.client, e.health); err != nil {
		return fmt.Errorf("opamp extension telemetry: %w", err)
	}
	e.unlist = e.list(e.client, u)
	e.endpoint = opampendpoint.Printable(u)
	return nil
}

// open lets the client dial as soon as the first message can be complete.
func (e *opampExtension) open(client *opampclient.Client, who *agentidentity.Identity, endpoint string) {
	var storage sync.WaitGroup // one that hangs is waited for once, not once for each of its uses
	storage.Go(func() { e.custom.Open(e.life) })
	host := readHost()
	uid := who.UID(e.life)
	client.SetInstanceUID(uid)
	e.describe(func(f *agentreport.Facts) { f.Host, f.InstanceUID = host, uid.String() })
	storage.Wait()

	patience := time.NewTimer(configPatience)
	defer patience.Stop()
	select {
	case <-e.configKnown:
	case <-patience.C:
	case <-e.life.Done():
		return
	}
	e.set.Logger.Info("Reporting to an OpAMP server",
		zap.String("endpoint", endpoint), zap.Stringer("instance_uid", uid))
	client.Start()
}

// renamed follows a server that assigned another instance UID.
func (e *opampExtension) renamed(uid opampwire.InstanceUID) {
	e.mu.Lock()
	who := e.identity
	e.mu.Unlock()
	who.Assigned(uid)
	e.describe(func(f *agentreport.Facts) { f.InstanceUID = uid.String() })
}

// describe reports the facts after a change.
func (e *opampExtension) describe(change func(*agentreport.Facts)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.facts)
	e.client.SetDescription(e.redactor.description(agentreport.Description(e.facts)))
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
	client, httpClient, unlist, who := e.client, e.httpClient, e.unlist, e.identity
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
		unlist()
		httpClient.CloseIdleConnections()
	}
	// What is kept is written after the last word of the server, side by side: a storage
	// that hangs is waited for once.
	var storage sync.WaitGroup
	if who != nil {
		storage.Go(func() { who.Stop(ctx) })
	}
	e.custom.Close(ctx)
	storage.Wait()
	e.telemetry.Shutdown()
	return nil
}

// Dependencies are the authenticator and the storages, which have to run before this
// extension and end after it. This extension itself is none of them: Start says so, where
// the service would panic.
func (e *opampExtension) Dependencies() []component.ID {
	var ids []component.ID
	add := func(id *component.ID) {
		if id != nil && *id != (component.ID{}) && *id != e.set.ID && !slices.Contains(ids, *id) {
			ids = append(ids, *id)
		}
	}
	if endpoint := e.cfg.Server.endpoint(); endpoint != nil {
		add(&endpoint.Auth)
	}
	add(e.cfg.Storage)
	add(e.cfg.CustomMessages.Storage)
	return ids
}

// NotifyConfigSnapshot reports the effective configuration. It never fails: an
// error here would keep the Collector from starting.
func (e *opampExtension) NotifyConfigSnapshot(_ context.Context, snapshot extensioncapabilities.ConfigSnapshot) error {
	defer e.knowConfig.Do(func() { close(e.configKnown) })
	client := e.currentClient()
	if client == nil || snapshot == nil {
		return nil
	}
	effective, masked, err := e.redactor.effectiveConfig(snapshot.Effective(), snapshot.Unexpanded(), e.cfg.ReportsRawConfig)
	e.describe(func(*agentreport.Facts) {}) // its secrets are known now
	if !e.cfg.Capabilities.ReportsEffectiveConfig {
		return nil
	}
	if err != nil {
		e.set.Logger.Warn("The effective configuration is not reported", zap.Error(err))
		return nil
	}
	client.SetEffectiveConfig(effective)
	e.telemetry.OpampRedactedValues.Record(context.Background(), int64(masked))
	e.telemetry.OpampEffectiveConfigSize.Record(context.Background(), int64(proto.Size(effective)))
	return nil
}

// Ready lets the first health tree out.
func (e *opampExtension) Ready() error {
	e.custom.Running()
	if e.health != nil {
		e.health.Ready()
	}
	return nil
}

// NotReady says that the Collector stops. It comes before components are shut down, some
// of which wait then for room to send.
func (e *opampExtension) NotReady() error {
	e.custom.Stopping()
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
