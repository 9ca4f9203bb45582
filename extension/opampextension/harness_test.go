// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/nopreceiver"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// patience decides how long a failing test takes, nothing else.
const patience = time.Minute

// Two pipelines' worth of component instances, for tests without a Collector.
var (
	someReceiver  = componentstatus.NewInstanceID(component.MustNewID("otlp"), component.KindReceiver, pipeline.NewID(pipeline.SignalLogs))
	someExporter  = componentstatus.NewInstanceID(component.MustNewID("debug"), component.KindExporter, pipeline.NewID(pipeline.SignalLogs))
	otherExporter = componentstatus.NewInstanceID(component.MustNewID("otlp"), component.KindExporter, pipeline.NewID(pipeline.SignalTraces))
)

// configFor is a configuration with the server's address and whatever change does.
func configFor(endpoint string, change ...func(*Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	if len(endpoint) > 4 && endpoint[:4] == "http" {
		http := HTTPConfig{EndpointConfig: EndpointConfig{Endpoint: endpoint}, PollingInterval: 20 * time.Millisecond}
		cfg.Server.HTTP = configoptional.Some(http)
	} else {
		cfg.Server.WS = configoptional.Some(WSConfig{EndpointConfig: EndpointConfig{Endpoint: endpoint}})
	}
	for _, c := range change {
		c(cfg)
	}
	return cfg
}

func newSettings(name string) extension.Settings {
	set := extensiontest.NewNopSettings(component.MustNewType("opamp"))
	set.ID = component.MustNewIDWithName("opamp", name)
	set.BuildInfo = component.BuildInfo{Command: "otelcol-test", Version: "1.2.3"}
	return set
}

// logged is a logger and what was written through it, from level on.
func logged(level zapcore.Level) (*zap.Logger, *zapobserver.ObservedLogs) {
	core, logs := zapobserver.New(level)
	return zap.New(core), logs
}

func newTestExtension(t *testing.T, cfg *Config, set extension.Settings) *opampExtension {
	t.Helper()
	ext, err := NewFactory().Create(t.Context(), set, cfg)
	require.NoError(t, err)
	e := ext.(*opampExtension)
	t.Cleanup(func() { require.NoError(t, e.Shutdown(context.Background())) })
	return e
}

// startExtension runs an extension as the service does, up to Ready.
func startExtension(t *testing.T, cfg *Config, set extension.Settings) *opampExtension {
	t.Helper()
	e := newTestExtension(t, cfg, set)
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(map[string]any{"receivers": map[string]any{"nop": nil}})))
	for _, id := range []*componentstatus.InstanceID{someReceiver, someExporter, otherExporter} {
		e.ComponentStatusChanged(id, componentstatus.NewEvent(componentstatus.StatusStarting))
		e.ComponentStatusChanged(id, componentstatus.NewEvent(componentstatus.StatusOK))
	}
	require.NoError(t, e.Ready())
	return e
}

func snapshotOf(conf map[string]any) extensioncapabilities.ConfigSnapshot {
	return extensioncapabilities.NewConfigSnapshot(confmap.NewFromStringMap(conf), nil)
}

// healthy is a predicate for messages of a Collector that is up.
func healthy(h opamptest.Heard) bool { return h.GetHealth().GetHealthy() }

func unhealthy(h opamptest.Heard) bool { return h.GetHealth() != nil && !h.GetHealth().GetHealthy() }

// nextFrom is first or, if ok refuses that, the next message that it accepts.
func nextFrom(t *testing.T, server *opamptest.Server, first opamptest.Heard, ok func(opamptest.Heard) bool) opamptest.Heard {
	t.Helper()
	if ok(first) {
		return first
	}
	return server.NextWith(t, ok)
}

func part(t *testing.T, root *protobufs.ComponentHealth, path ...string) *protobufs.ComponentHealth {
	t.Helper()
	for _, name := range path {
		require.Contains(t, root.GetComponentHealthMap(), name)
		root = root.GetComponentHealthMap()[name]
	}
	return root
}

func textOf(kvs []*protobufs.KeyValue, key string) string {
	for _, kv := range kvs {
		if kv.GetKey() == key {
			return kv.GetValue().GetStringValue()
		}
	}
	return ""
}

// moody makes receivers whose status the test sets.
type moody struct {
	hosts  chan component.Host // of each receiver that started
	starts atomic.Int32
	ends   atomic.Int32
}

func newMoodyFactory() (receiver.Factory, *moody) {
	m := &moody{hosts: make(chan component.Host, 16)}
	return receiver.NewFactory(component.MustNewType("moody"), func() component.Config { return &struct{}{} },
		receiver.WithLogs(func(context.Context, receiver.Settings, component.Config, consumer.Logs) (receiver.Logs, error) {
			return &moodyReceiver{moody: m}, nil
		}, component.StabilityLevelAlpha),
		receiver.WithTraces(func(context.Context, receiver.Settings, component.Config, consumer.Traces) (receiver.Traces, error) {
			return &moodyReceiver{moody: m}, nil
		}, component.StabilityLevelAlpha),
	), m
}

type moodyReceiver struct{ moody *moody }

func (r *moodyReceiver) Start(_ context.Context, host component.Host) error {
	r.moody.starts.Add(1)
	r.moody.hosts <- host
	return nil
}

func (r *moodyReceiver) Shutdown(context.Context) error {
	r.moody.ends.Add(1)
	return nil
}

// reporter is the host of the next receiver that started.
func (m *moody) reporter(t *testing.T) componentstatus.Reporter {
	t.Helper()
	select {
	case host := <-m.hosts:
		return host.(componentstatus.Reporter)
	case <-time.After(patience):
		require.FailNow(t, "no moody receiver started")
		return nil
	}
}

// collector is a whole Collector in this process.
type collector struct {
	*otelcol.Collector
	moody *moody
	ended chan error
}

// startCollector runs a Collector on a configuration and shuts it down with the test.
func startCollector(t *testing.T, yaml string) *collector {
	t.Helper()
	return startCollectorWith(t, yaml, otelconftelemetry.NewFactory())
}

// watchedTelemetry is the Collector's own telemetry, for a test to look at: what it
// logs from level on, and every metric.
func watchedTelemetry(level zapcore.Level) (telemetry.Factory, *zapobserver.ObservedLogs, *componenttest.Telemetry) {
	usual, metrics := otelconftelemetry.NewFactory(), componenttest.NewTelemetry()
	logger, logs := logged(level)
	return telemetry.NewFactory(usual.CreateDefaultConfig,
		telemetry.WithCreateResource(usual.CreateResource),
		telemetry.WithCreateLogger(func(context.Context, telemetry.LoggerSettings, component.Config) (*zap.Logger, component.ShutdownFunc, error) {
			return logger, nil, nil
		}),
		telemetry.WithCreateMeterProvider(func(context.Context, telemetry.MeterSettings, component.Config) (telemetry.MeterProvider, error) {
			return meterProvider{MeterProvider: metrics.NewTelemetrySettings().MeterProvider}, nil
		}),
	), logs, metrics
}

// meterProvider is the test's and outlives the Collector.
type meterProvider struct {
	metric.MeterProvider
	component.ShutdownFunc
}

func startCollectorWith(t *testing.T, yaml string, telemetryFactory telemetry.Factory) *collector {
	t.Helper()
	return startCollectorOn(t, "yaml:"+yaml, yamlprovider.NewFactory(), telemetryFactory)
}

// startCollectorOn takes the configuration from a provider.
func startCollectorOn(
	t *testing.T, uri string, provider confmap.ProviderFactory, telemetryFactory telemetry.Factory,
) *collector {
	t.Helper()
	moodyFactory, m := newMoodyFactory()
	factories := func() (otelcol.Factories, error) {
		return otelcol.Factories{
			Receivers: map[component.Type]receiver.Factory{
				nopreceiver.NewFactory().Type(): nopreceiver.NewFactory(),
				moodyFactory.Type():             moodyFactory,
			},
			Exporters: map[component.Type]exporter.Factory{nopexporter.NewFactory().Type(): nopexporter.NewFactory()},
			Extensions: map[component.Type]extension.Factory{
				NewFactory().Type():             NewFactory(),
				filestorage.NewFactory().Type(): filestorage.NewFactory(),
			},
			ReceiverModules:  map[component.Type]string{moodyFactory.Type(): "example.test/moody v0.1.0", nopreceiver.NewFactory().Type(): "example.test/nop v0.1.0"},
			ExporterModules:  map[component.Type]string{nopexporter.NewFactory().Type(): "example.test/nop v0.1.0"},
			ExtensionModules: map[component.Type]string{NewFactory().Type(): "github.com/otel-fleetview/fleetview v0.1.0"},
			Telemetry:        telemetryFactory,
		}, nil
	}
	col, err := otelcol.NewCollector(otelcol.CollectorSettings{
		BuildInfo:               component.BuildInfo{Command: "otelcol-test", Version: "1.2.3"},
		Factories:               factories,
		DisableGracefulShutdown: true,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs:              []string{uri},
			ProviderFactories: []confmap.ProviderFactory{provider},
		}},
	})
	require.NoError(t, err)
	c := &collector{Collector: col, moody: m, ended: make(chan error, 1)}
	go func() { c.ended <- col.Run(context.Background()) }()
	t.Cleanup(c.stop)
	return c
}

// stop shuts down and waits. A second stop does nothing.
func (c *collector) stop() {
	c.Shutdown()
	if err, ok := <-c.ended; ok {
		close(c.ended)
		if err != nil {
			panic(err)
		}
	}
}

// collectorYAML is a whole configuration around the extension's own.
func collectorYAML(extensionYAML string) string {
	return `
extensions:
  opamp:
` + extensionYAML + `
receivers:
  moody:
  nop:
exporters:
  nop:
service:
  extensions: [opamp]
  telemetry:
    logs: {level: error}
    metrics: {level: none}
    resource:
      service.instance.id: node-7
      service.name: edge
  pipelines:
    logs: {receivers: [moody], exporters: [nop]}
    traces: {receivers: [moody, nop], exporters: [nop]}
`
}
