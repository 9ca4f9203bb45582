// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.uber.org/zap/zapcore"

	"github.com/otel-fleetview/fleetview/internal/agentidentity"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// How much of a life the sequence of UIDs is followed through.
const (
	chapters         = 5  // each ends with another UID, assigned by the server
	reloadsAChapter  = 20 // 100 in all
	restartsAChapter = 4  // 20 in all
)

// One agent's life. A change of the configuration is the same to the Collector as a
// SIGHUP; the tests of the built binary send that. In each chapter it is reloaded and restarted, then the server gives
// it another UID, and at once it is reloaded or restarted again. The UID of every
// connection is known beforehand.
func TestTheSequenceOfUIDs(t *testing.T) {
	for name, tc := range map[string]struct{ own, other, list string }{
		"file":    {own: "instance_uid_file: %s/uid", list: "opamp"},
		"storage": {own: "storage: file_storage", other: "file_storage: {directory: %s}", list: "opamp, file_storage"},
	} {
		t.Run(name, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			agent := newAgentLife(server, t.TempDir(), tc.own, tc.other, tc.list)

			want := agent.start(t)
			sequence := []opampwire.InstanceUID{want}
			for chapter := range chapters {
				for range reloadsAChapter - chapter%2 {
					require.Equal(t, want, agent.reload(t))
				}
				for range restartsAChapter - (chapter+1)%2 {
					require.Equal(t, want, agent.restart(t))
				}
				want = agent.rename(t)
				sequence = append(sequence, want)
				if chapter%2 == 1 {
					require.Equal(t, want, agent.reload(t))
				} else {
					require.Equal(t, want, agent.restart(t))
				}
			}
			for i, uid := range agent.seen[1:] {
				require.NotEqual(t, agent.seen[i], uid)
			}
			require.Equal(t, sequence, agent.seen)
			require.Equal(t, chapters*reloadsAChapter, agent.reloads)
			require.Equal(t, chapters*restartsAChapter, agent.restarts)
			t.Logf("%d reloads, %d restarts, %d assignments: %d UIDs", agent.reloads, agent.restarts, chapters, len(agent.seen))
		})
	}
}

// agentLife is a Collector that is reloaded and restarted.
type agentLife struct {
	server    *opamptest.Server
	config    *changingConfig
	collector *collector

	conns             int                     // that the server has had
	reloads, restarts int                     // so far
	seen              []opampwire.InstanceUID // every UID that any message had, each time another
}

func newAgentLife(server *opamptest.Server, dir, own, other, list string) *agentLife {
	yaml := fmt.Sprintf(`
extensions:
  opamp:
    server: {ws: {endpoint: '%s'}}
    %s
  %s
receivers: {nop: }
exporters: {nop: }
service:
  extensions: [%s]
  telemetry: {logs: {level: error}, metrics: {level: none}}
  pipelines:
    logs: {receivers: [nop], exporters: [nop]}
`, server.URL("ws"), own, other, list)
	return &agentLife{server: server, config: &changingConfig{yaml: strings.ReplaceAll(yaml, "%s", dir)}}
}

// changingConfig is a provider of one configuration, which can say that it changed.
type changingConfig struct {
	yaml string

	mu    sync.Mutex
	watch confmap.WatcherFunc // guarded by mu: of the Collector that runs
}

func (c *changingConfig) factory() confmap.ProviderFactory {
	return confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return c })
}

func (*changingConfig) Scheme() string                 { return "changing" }
func (*changingConfig) Shutdown(context.Context) error { return nil }

func (c *changingConfig) Retrieve(_ context.Context, _ string, watch confmap.WatcherFunc) (*confmap.Retrieved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = watch
	return confmap.NewRetrievedFromYAML([]byte(c.yaml))
}

func (c *changingConfig) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch(&confmap.ChangeEvent{})
}

// start starts the Collector in a process that knows nothing yet.
func (a *agentLife) start(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	uids = agentidentity.Registry{}
	a.collector = startCollectorOn(t, "changing:config", a.config.factory(), otelconftelemetry.NewFactory())
	return a.connected(t)
}

func (a *agentLife) restart(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	a.collector.stop()
	a.restarts++
	return a.start(t)
}

func (a *agentLife) reload(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	a.config.changed()
	a.reloads++
	return a.connected(t)
}

// rename has the server assign another UID.
func (a *agentLife) rename(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	uid := opampwire.NewInstanceUID()
	a.server.Push(t, &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: uid.Bytes()}})
	a.server.NextWith(t, func(h opamptest.Heard) bool { return a.heard(t, h) == uid })
	return uid
}

// connected waits for the next connection, and on it until the Collector is up, which
// it has to be for the next signal.
func (a *agentLife) connected(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	a.conns++
	for {
		h := a.server.Next(t)
		uid := a.heard(t, h)
		if h.Conn == a.conns && healthy(h) {
			return uid
		}
	}
}

// heard notes the UID of a message.
func (a *agentLife) heard(t *testing.T, h opamptest.Heard) opampwire.InstanceUID {
	t.Helper()
	uid, err := opampwire.InstanceUIDFromBytes(h.GetInstanceUid())
	require.NoError(t, err)
	if n := len(a.seen); n == 0 || a.seen[n-1] != uid {
		a.seen = append(a.seen, uid)
	}
	return uid
}

// Two extensions of one process, or two processes, with one file: both report, under
// two UIDs, and the second says why.
func TestTwoExtensionsWithOneUIDFile(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	path := filepath.Join(t.TempDir(), "opamp.uid")
	withFile := func(c *Config) { c.InstanceUIDFile = path }
	startExtension(t, configFor(server.URL("ws").String(), withFile), newSettings("file-one"))
	one := server.Next(t).GetInstanceUid()

	logger, logs := logged(zapcore.WarnLevel)
	set := newSettings("file-two")
	set.Logger = logger
	startExtension(t, configFor(server.URL("ws").String(), withFile), set)
	server.NextWith(t, func(h opamptest.Heard) bool { return string(h.GetInstanceUid()) != string(one) })
	require.Equal(t, 1, logs.Len())
	require.Contains(t, logs.All()[0].Message, "Another collector")
	require.Equal(t, path, logs.All()[0].ContextMap()["instance_uid_file"])
	require.Contains(t, logs.All()[0].ContextMap()["error"], "in use elsewhere")
}

// A storage that hangs delays the first report and nothing else.
func TestAStorageThatHangsHoldsNobody(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	slow := slowStorage{answer: make(chan struct{})}
	logger, logs := logged(zapcore.WarnLevel)
	set := newSettings("hangs")
	set.Logger = logger

	e := newTestExtension(t, configFor(server.URL("ws").String(), func(c *Config) { c.Storage = &fileStorageID }), set)
	began := time.Now()
	require.NoError(t, e.Start(t.Context(), hostWith{fileStorageID: slow}))
	require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(map[string]any{})))
	require.NoError(t, e.Ready())
	t.Logf("up after %v", time.Since(began))

	first := server.Next(t)
	t.Logf("first report after %v", time.Since(began))
	require.Equal(t, uids.Of(set.ID).Bytes(), first.GetInstanceUid())
	require.Equal(t, uids.Of(set.ID).String(), textOf(first.GetAgentDescription().GetIdentifyingAttributes(), "service.instance.id"))
	require.NoError(t, e.Shutdown(t.Context()))
	var lines []string
	for _, entry := range logs.All() {
		lines = append(lines, entry.Message)
	}
	require.ElementsMatch(t, []string{
		"What keeps the instance UID does not answer; this collector goes on with one that is not kept",
		"The storage of custom messages does not answer; this collector goes on without it",
		"What keeps the instance UID hangs and is left behind",
		"The storage of custom messages hangs and is left behind",
	}, lines)
	close(slow.answer)
}

var fileStorageID = component.MustNewID("file_storage")

// slowStorage gives no client before it is told to, and none then.
type slowStorage struct {
	component.StartFunc
	component.ShutdownFunc
	answer chan struct{}
}

func (s slowStorage) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	<-s.answer
	return nil, errors.New("disk full")
}

// An extension that depends on itself makes the service panic, so it does not say that it does.
func TestAnExtensionThatIsToUseItself(t *testing.T) {
	set := newSettings("itself")
	for want, edit := range map[string]func(*Config){
		"storage: extension %q is not a storage extension":                  func(c *Config) { c.Storage = &set.ID },
		"custom_messages::storage: extension %q is not a storage extension": func(c *Config) { c.CustomMessages.Storage = &set.ID },
		"auth extension %q is not an extensionauth.HTTPClient":              func(c *Config) { c.Server.endpoint().Auth = set.ID },
	} {
		e := newTestExtension(t, configFor("ws://127.0.0.1:1", edit), set)
		require.Empty(t, e.Dependencies())
		require.EqualError(t, e.Start(t.Context(), hostWith{set.ID: e}), fmt.Sprintf(want, set.ID))
	}
}

// A storage that is not there, or is none, is a mistake in the configuration.
func TestStorageThatIsNotOne(t *testing.T) {
	cfg := configFor("ws://127.0.0.1:1", func(c *Config) { c.Storage = &fileStorageID })
	e := newTestExtension(t, cfg, newSettings("no-storage"))
	require.Equal(t, []component.ID{fileStorageID}, e.Dependencies())
	require.EqualError(t, e.Start(t.Context(), hostWith(nil)), `storage: extension "file_storage" not found`)
	require.EqualError(t, e.Start(t.Context(), hostWith{fileStorageID: e}),
		`storage: extension "file_storage" is not a storage extension`)

	auth := component.MustNewID("bearertokenauth")
	cfg = configFor("ws://127.0.0.1:1", func(c *Config) { c.Storage, c.Server.endpoint().Auth = &fileStorageID, auth })
	require.Equal(t, []component.ID{auth, fileStorageID}, newTestExtension(t, cfg, newSettings("both")).Dependencies())
}

// What an operator sees of a Collector beyond what was configured.
func TestAutomaticAttributes(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	cfg := configFor(server.URL("ws").String(), func(c *Config) {
		c.AgentDescription.IdentifyingAttributes = map[string]string{"k8s.cluster.name": "blue"}
	})
	startExtension(t, cfg, newSettings("automatic"))
	d := server.Next(t).GetAgentDescription()
	require.Equal(t, "blue", textOf(d.GetIdentifyingAttributes(), "k8s.cluster.name"))
	require.Equal(t, agentidentity.HostID(), textOf(d.GetNonIdentifyingAttributes(), "host.id"))
	require.Equal(t, runtime.Version(), textOf(d.GetNonIdentifyingAttributes(), "process.runtime.version"))
	require.NotEmpty(t, textOf(d.GetNonIdentifyingAttributes(), "process.executable.name"))
	pid := int64(0)
	for _, kv := range d.GetNonIdentifyingAttributes() {
		require.NotContains(t, kv.GetKey(), "command", "arguments may hold secrets")
		if kv.GetKey() == "process.pid" {
			pid = kv.GetValue().GetIntValue()
		}
	}
	require.Equal(t, int64(os.Getpid()), pid)

	supervised := configFor(server.URL("ws").String(), func(c *Config) { c.InstanceUID, c.PPID = "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", int64(os.Getppid()) })
	startExtension(t, supervised, newSettings("automatic-supervised"))
	d = server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == 2 }).GetAgentDescription()
	for _, kv := range d.GetNonIdentifyingAttributes() {
		require.NotContains(t, kv.GetKey(), "process.", "the supervisor would pin it to the next process")
	}
}
