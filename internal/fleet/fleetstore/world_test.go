// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var testNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func uidOf(name string) opampwire.InstanceUID {
	sum := sha256.Sum256([]byte(name))
	return opampwire.InstanceUID(sum[:16])
}

func connOf(id int) fleet.Conn {
	return fleet.Conn{ID: uint64(id), Transport: fleet.TransportWebSocket, RemoteAddr: "10.0.0.1:4000"}
}

func text(s string) *protobufs.AnyValue {
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
}

// fullReport is a first message of an agent that tells all.
func fullReport(name string, seq uint64) *protobufs.AgentToServer {
	uid := uidOf(name)
	return &protobufs.AgentToServer{
		InstanceUid:  uid.Bytes(),
		SequenceNum:  seq,
		Capabilities: 1 | 4 | 0x800 | 0x2000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes:    []*protobufs.KeyValue{{Key: "service.name", Value: text(name)}, {Key: "service.version", Value: text("1.0")}},
			NonIdentifyingAttributes: []*protobufs.KeyValue{{Key: "host.name", Value: text("host-" + name)}},
		},
		Health:          healthOf("StatusOK", ""),
		EffectiveConfig: configOf("receivers: {}"),
		AvailableComponents: &protobufs.AvailableComponents{Hash: []byte("h"), Components: map[string]*protobufs.ComponentDetails{
			"receivers": {SubComponentMap: map[string]*protobufs.ComponentDetails{"otlp": {}}},
		}},
	}
}

func healthOf(status, failure string) *protobufs.ComponentHealth {
	ok := status == "StatusOK"
	return &protobufs.ComponentHealth{Healthy: ok, Status: status, StartTimeUnixNano: 1_700_000_000_000_000_000, ComponentHealthMap: map[string]*protobufs.ComponentHealth{
		"pipeline:traces": {Healthy: ok, Status: status, ComponentHealthMap: map[string]*protobufs.ComponentHealth{
			"receiver:otlp":   {Healthy: true, Status: "StatusOK"},
			"exporter:otlp/2": {Healthy: ok, Status: status, LastError: failure},
		}},
	}}
}

func configOf(body string) *protobufs.EffectiveConfig {
	return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(body), ContentType: "text/yaml"}},
	}}
}

// change is a message that changes the health of an agent to and fro.
func change(name string, seq uint64) *protobufs.AgentToServer {
	uid := uidOf(name)
	msg := &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: seq}
	msg.Health = healthOf("StatusOK", "")
	if seq%2 == 1 {
		msg.Health = healthOf("StatusRecoverableError", fmt.Sprintf("connection %d refused", seq))
	}
	return msg
}

func heartbeat(name string, seq uint64) *protobufs.AgentToServer {
	uid := uidOf(name)
	return &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: seq}
}

func openFile(t testing.TB, path string) Store {
	t.Helper()
	s, err := OpenSQLite(context.Background(), SQLiteSettings{Path: path})
	require.NoError(t, err)
	return s
}

func opener(path string) func(context.Context) (Store, error) {
	return func(ctx context.Context) (Store, error) { return OpenSQLite(ctx, SQLiteSettings{Path: path}) }
}

func pathIn(t testing.TB) string { return filepath.Join(t.TempDir(), "fleet.db") }

var errBroken = errors.New("broken on purpose")

// fakeStore keeps what it is handed, and fails when it is told to.
type fakeStore struct {
	mu      sync.Mutex
	fail    error
	events  []fleet.Event
	agents  map[opampwire.InstanceUID]*fleet.Agent
	heard   []fleet.Heard
	said    []Said
	writes  int // calls of Write, WriteHeard and WriteSaid
	reads   int // calls of Load, Events and Config
	written []time.Time
	pruned  []time.Time
	closed  int
}

func newFakeStore() *fakeStore { return &fakeStore{agents: map[opampwire.InstanceUID]*fleet.Agent{}} }

func (f *fakeStore) failWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeStore) open(context.Context) (Store, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.fail
}

func (f *fakeStore) Load(context.Context) (Loaded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return Loaded{LastEvent: uint64(len(f.events))}, f.fail
}

func (f *fakeStore) Write(_ context.Context, b Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.fail != nil {
		return f.fail
	}
	f.events = append(f.events, b.Events...)
	for range b.Events {
		f.written = append(f.written, time.Now())
	}
	for _, uid := range b.Removed {
		delete(f.agents, uid)
	}
	for _, c := range b.Agents {
		f.agents[c.Is.UID] = c.Is
	}
	return nil
}

func (f *fakeStore) WriteHeard(_ context.Context, list []fleet.Heard) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	f.heard = append(f.heard, list...)
	return f.fail
}

func (f *fakeStore) WriteSaid(_ context.Context, list []Said) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	f.said = append(f.said, list...)
	return f.fail
}

func (f *fakeStore) Events(context.Context, fleet.EventQuery) (fleet.EventPage, error) {
	f.look(func(f *fakeStore) { f.reads++ })
	return fleet.EventPage{}, nil
}

func (f *fakeStore) Config(context.Context, fleet.Sum) (*fleet.Config, error) {
	f.look(func(f *fakeStore) { f.reads++ })
	return nil, nil
}

func (f *fakeStore) Prune(_ context.Context, before time.Time, _ int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pruned = append(f.pruned, before)
	return 0, f.fail
}

func (f *fakeStore) Stats() Stats { return Stats{} }

func (f *fakeStore) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fakeStore) look(see func(*fakeStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	see(f)
}
