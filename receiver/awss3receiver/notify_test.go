// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// registry is an OpAMP extension whose server is there, or is not.
type registry struct {
	component.StartFunc
	component.ShutdownFunc

	away bool
	in   chan *protobufs.CustomMessage

	mu           sync.Mutex
	capabilities []string
	sent         []*protobufs.CustomMessage
	unregistered bool
}

var registryID = component.MustNewID("opamp")

func (b *bench) withRegistry(cfg *Config, away bool) *registry {
	r := &registry{away: away, in: make(chan *protobufs.CustomMessage, 10)}
	b.host.extensions[registryID] = r
	cfg.Notifications.OpAMPExtension = &registryID
	return r
}

func (r *registry) Register(capability string, _ ...opampcustommessages.CustomCapabilityRegisterOption) (opampcustommessages.CustomCapabilityHandler, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capabilities = append(r.capabilities, capability)
	return r, nil
}

func (r *registry) Message() <-chan *protobufs.CustomMessage { return r.in }

func (r *registry) SendMessage(kind string, data []byte) (chan struct{}, error) {
	if r.away {
		return make(chan struct{}), types.ErrCustomMessagePending
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unregistered {
		return nil, fmt.Errorf("not registered")
	}
	r.sent = append(r.sent, &protobufs.CustomMessage{Type: kind, Data: data})
	done := make(chan struct{})
	close(done)
	return done, nil
}

func (r *registry) Unregister() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unregistered = true
}

// last are the last messages of both types.
func (r *registry) last(tb testing.TB) (status map[string]any, at time.Time, p ingestprogress.Progress) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, message := range r.sent {
		if message.Type == ingestprogress.TypeProgress {
			p = ingestprogress.Progress{}
			require.NoError(tb, json.Unmarshal(message.Data, &p))
			continue
		}
		require.Equal(tb, "TimeBasedIngestStatus", message.Type)
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(message.Data)
		require.NoError(tb, err)
		record := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		require.Equal(tb, "status", record.Body().Str())
		status, at = record.Attributes().AsRaw(), record.Timestamp().AsTime()
	}
	return status, at, p
}

func TestTheServerIsToldHowFarItIs(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	server := b.withRegistry(cfg, false)
	b.fill(t, noon, 30, 2)
	b.Put(t, key(noon, "9"), []byte("bad"))
	b.run(t, cfg)
	require.Equal(t, []string{"org.opentelemetry.collector.receiver.awss3"}, server.capabilities)
	require.True(t, server.unregistered)
	first, at, _ := (&registry{sent: server.sent[:1]}).last(t)
	require.Equal(t, map[string]any{
		"telemetry_type": "logs", "ingest_status": "ingesting",
		"start_time": noon.UnixNano(), "end_time": noon.Add(time.Hour).UnixNano(),
	}, first)
	require.Equal(t, noon, at)
	status, at, p := server.last(t)
	require.Equal(t, map[string]any{
		"telemetry_type": "logs", "ingest_status": "completed",
		"start_time": noon.UnixNano(), "end_time": noon.Add(time.Hour).UnixNano(),
	}, status)
	require.Equal(t, noon.Add(time.Hour), at)
	require.Equal(t, "aws_s3", p.Receiver)
	require.Equal(t, ingestprogress.StateCompleted, p.State)
	require.True(t, p.Listed)
	require.EqualValues(t, 61, p.ObjectsListed)
	require.EqualValues(t, 61, p.ObjectsDone)
	require.EqualValues(t, 1, p.ObjectsFailed)
	require.EqualValues(t, 60, p.Records)
	require.Equal(t, map[string]uint64{"decode_failed": 1}, p.Failures)
	require.Equal(t, p.BytesListed, p.BytesDone)
	require.InDelta(t, 100, p.Percent, 0)
}

func TestTheServerIsToldWhatWentWrong(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	cfg.S3Downloader.S3Bucket = "another"
	server := b.withRegistry(cfg, false)
	b.run(t, cfg)
	status, _, p := server.last(t)
	require.Equal(t, "failed", status["ingest_status"])
	require.Contains(t, status["failure_message"], `bucket "another" does not exist`)
	require.Equal(t, ingestprogress.StateFailed, p.State)
}

// What the server sends while a replay runs changes nothing of it.
func TestTheServerCannotChangeAReplay(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	server := b.withRegistry(cfg, false)
	want := b.fill(t, noon, 10, 1)
	for _, kind := range []string{"Stop", "Pause", "Cancel", "StartTime", "TimeBasedIngestStatus", "IngestProgress", "ReportIngestProgress"} {
		server.in <- &protobufs.CustomMessage{Capability: ingestprogress.Capability, Type: kind, Data: []byte(`{"starttime":"2020-01-01","state":"failed"}`)}
	}
	b.run(t, cfg)
	require.Equal(t, want, b.taken())
}

// The same replay with the server there and with it away for good, in turn, after one that counts for
// neither: the ratio of the two wall times.
func BenchmarkServerAway(b *testing.B) {
	rounds := 6
	if testing.Short() {
		rounds = 1
	}
	for range b.N {
		rig := newBench(b)
		rig.fill(b, noon, 60, 50)
		rig.Delay(10 * time.Millisecond)
		took := map[bool]time.Duration{}
		for round := range 1 + rounds {
			for _, away := range []bool{round%2 == 0, round%2 == 1} {
				cfg := rig.config()
				rig.withRegistry(cfg, away)
				r := rig.start(b, cfg)
				began := time.Now()
				r.running.Wait()
				if round > 0 {
					took[away] += time.Since(began)
				}
				require.NoError(b, r.Shutdown(b.Context()))
			}
		}
		b.ReportMetric(took[false].Seconds()/float64(rounds), "up-s")
		b.ReportMetric(took[true].Seconds()/float64(rounds), "away-s")
		b.ReportMetric(100*(took[true].Seconds()/took[false].Seconds()-1), "%-longer")
		b.ReportMetric(0, "ns/op")
	}
}
