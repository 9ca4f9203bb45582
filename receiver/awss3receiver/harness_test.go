// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/s3test"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
)

// Where nobody gave credentials the SDK asks the machine for some, over connections that it keeps.
func init() { os.Setenv("AWS_EC2_METADATA_DISABLED", "true") }

// noon is when the telemetry of the tests begins.
var noon = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)

// bench is a store, a host and a pipeline around receivers of logs.
type bench struct {
	*s3test.Server

	host   *host
	logs   *observer.ObservedLogs
	logger *zap.Logger
	tel    *componenttest.Telemetry

	mu     sync.Mutex
	bodies []string
	refuse func() error // what the pipeline says before it takes anything
	grown  chan struct{}
}

func newBench(tb testing.TB) *bench {
	tb.Helper()
	s3test.Credentials(tb)
	core, logs := observer.New(zap.DebugLevel)
	b := &bench{
		Server: s3test.New(tb, "bucket"), host: newHost(), logs: logs, logger: zap.New(core),
		tel: componenttest.NewTelemetry(), grown: make(chan struct{}, 1),
	}
	tb.Cleanup(func() { _ = b.tel.Shutdown(context.Background()) })
	return b
}

// config reads the hour from noon on, partitioned by minute in UTC.
func (b *bench) config() *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.S3Downloader.S3Bucket = b.Bucket
	cfg.S3Downloader.Endpoint = b.URL
	cfg.S3Downloader.S3ForcePathStyle = true
	cfg.S3Downloader.S3PartitionTimezone = "UTC"
	cfg.S3Downloader.RetryMaxAttempts = 1
	cfg.RetryOnFailure.InitialInterval = time.Millisecond
	cfg.RetryOnFailure.MaxInterval = 20 * time.Millisecond
	cfg.StartTime = noon.Format(time.RFC3339)
	cfg.EndTime = noon.Add(time.Hour).Format(time.RFC3339)
	return cfg
}

func (b *bench) settings() receiver.Settings {
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = b.tel.NewTelemetrySettings()
	set.ID = component.NewID(metadata.Type)
	set.Logger = b.logger
	return set
}

// start begins to read to the bench's pipeline.
func (b *bench) start(tb testing.TB, cfg *Config) *s3Receiver {
	tb.Helper()
	require.NoError(tb, cfg.Validate())
	next, err := consumer.NewLogs(b.take)
	require.NoError(tb, err)
	made, err := NewFactory().CreateLogs(tb.Context(), b.settings(), cfg, next)
	require.NoError(tb, err)
	require.NoError(tb, made.Start(tb.Context(), b.host))
	r := made.(*s3Receiver)
	tb.Cleanup(func() { _ = r.Shutdown(context.Background()) })
	return r
}

// run reads a whole range.
func (b *bench) run(tb testing.TB, cfg *Config) {
	tb.Helper()
	r := b.start(tb, cfg)
	r.running.Wait()
	require.NoError(tb, r.Shutdown(tb.Context()))
}

func (b *bench) take(_ context.Context, logs plog.Logs) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(); err != nil {
			return err
		}
	}
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				b.bodies = append(b.bodies, record.Body().AsString())
			}
		}
	}
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return nil
}

func (b *bench) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.bodies...)
}

// wait waits until the pipeline took as many records.
func (b *bench) wait(tb testing.TB, records int) {
	tb.Helper()
	for len(b.taken()) < records {
		select {
		case <-b.grown:
		case <-tb.Context().Done():
			tb.Fatal("the records did not come")
		}
	}
}

// key is that of an object of logs as the exporter writes it.
func key(at time.Time, unique string) string {
	return at.UTC().Format("year=2006/month=01/day=02/hour=15/minute=04") + "/logs_" + unique + ".json"
}

// document is OTLP JSON of one resource with a record for each body.
func document(bodies ...string) []byte {
	logs := plog.NewLogs()
	records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for _, body := range bodies {
		records.AppendEmpty().Body().SetStr(body)
	}
	data, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		panic(err)
	}
	return data
}

func zipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(tb, err)
	require.NoError(tb, z.Close())
	return b.Bytes()
}

// fill stores some objects a minute of one record each and says what the records are, in order.
func (b *bench) fill(tb testing.TB, from time.Time, minutes, each int) (bodies []string) {
	tb.Helper()
	for m := range minutes {
		for i := range each {
			body := fmt.Sprintf("%04d/%d", m, i)
			b.Put(tb, key(from.Add(time.Duration(m)*time.Minute), fmt.Sprintf("%09d", i)), document(body))
			bodies = append(bodies, body)
		}
	}
	return bodies
}

// host is a Collector as a receiver sees it.
type host struct {
	extensions map[component.ID]component.Component

	mu     sync.Mutex
	events []*componentstatus.Event
}

func newHost() *host { return &host{extensions: map[component.ID]component.Component{}} }

func (h *host) GetExtensions() map[component.ID]component.Component { return h.extensions }

func (h *host) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

// statuses are those that were reported, in order.
func (h *host) statuses() (all []componentstatus.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, event := range h.events {
		all = append(all, event.Status())
	}
	return all
}
