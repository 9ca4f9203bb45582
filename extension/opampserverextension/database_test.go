// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetstore"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// inFile is a configuration with a database.
func inFile(path string) string { return fmt.Sprintf("database: {path: %q}", path) }

// run starts a server that the test stops itself.
func run(t *testing.T, text string, host component.Host) *server {
	t.Helper()
	s := newServer(configOf(t, text), nopSettings())
	require.NoError(t, s.Start(context.Background(), host))
	return s
}

func TestThePageIsRightAtOnceAfterARestart(t *testing.T) {
	text := inFile(filepath.Join(t.TempDir(), "fleet.db"))
	s := run(t, text, nopHost)
	a := connect(t, s)
	a.say(described("survivor"))
	a.say(&protobufs.AgentToServer{})
	require.NoError(t, s.Shutdown(context.Background()))

	s = run(t, text, nopHost)
	assert.Contains(t, body(t, get(t, s.webURL()+"/api/v1/agents")), "survivor")
	assert.Contains(t, body(t, get(t, s.webURL()+"/")), "survivor")
	assert.Equal(t, fleet.LivenessUnknown, liveness(t, s, a.uid))

	back := connect(t, s)
	back.uid, back.seq = a.uid, a.seq
	reply := back.say(&protobufs.AgentToServer{})
	assert.Zero(t, reply.GetFlags(), "nothing is missing, so nothing is asked")
	assert.Equal(t, fleet.LivenessConnected, liveness(t, s, a.uid))

	history := body(t, get(t, s.webURL()+"/api/v1/agents/"+a.uid.String()+"/history"))
	assert.Contains(t, history, `"appeared"`)
	assert.NotContains(t, history, `"lost"`, "our own outage is no fault of it")
	require.NoError(t, s.Shutdown(context.Background()))
}

// How far a replay is, what was said, and what a gateway carries are there after a restart, with their age.
func TestWhatWasSaidIsThereAfterARestart(t *testing.T) {
	text := inFile(filepath.Join(t.TempDir(), "fleet.db"))
	s := run(t, text, nopHost)
	a := connect(t, s)
	a.say(described("survivor"))
	say := func(capability, kind string, v any) {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		a.say(&protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data}})
	}
	say(ingestprogress.Capability, ingestprogress.TypeProgress, ingestprogress.Progress{
		Receiver: "aws_s3/replay", TelemetryType: "logs", Mode: "time_range", State: ingestprogress.StateCompleted, Percent: 100,
		ObjectsListed: 41, ObjectsDone: 41, Began: 1, Updated: time.Now().UnixNano(),
	})
	say(gatewaystatus.Capability, gatewaystatus.TypeStatus, gatewaystatus.Status{Gateway: "opamp_gateway/edge", Agents: 12, Updated: time.Now().UnixNano()})
	say("com.example.ping", "Pong", "hello")
	pages := []string{"/api/v1/agents/" + a.uid.String(), "/agents/" + a.uid.String(), "/api/v1/agents/" + a.uid.String() + "/custom-messages", "/api/v1/topology", "/topology"}
	words := []string{"aws_s3/replay", "aws_s3/replay", "com.example.ping", "opamp_gateway/edge", "opamp_gateway/edge"}
	for i, page := range pages {
		require.Contains(t, body(t, get(t, s.webURL()+page)), words[i], page)
	}
	require.NoError(t, s.Shutdown(context.Background()))

	s = run(t, text, nopHost)
	for i, page := range pages {
		assert.Contains(t, body(t, get(t, s.webURL()+page)), words[i], page)
	}
	require.NoError(t, s.Shutdown(context.Background()))
}

func TestHeartbeatsCauseNoStatement(t *testing.T) {
	s := start(t, inFile(filepath.Join(t.TempDir(), "fleet.db")), nopHost)
	a := connect(t, s)
	a.say(described("steady"))
	written := func(events uint64) fleetstore.KeeperStats {
		for {
			if st := s.keeper.Stats(); st.Events >= events {
				return st
			}
		}
	}
	before := written(s.fleet.LastEvent())
	for range 1000 {
		a.say(&protobufs.AgentToServer{})
	}
	assert.Equal(t, before.Store.Statements, s.keeper.Stats().Store.Statements)
	a.say(&protobufs.AgentToServer{Health: &protobufs.ComponentHealth{Status: "StatusPermanentError"}})
	after := written(s.fleet.LastEvent())
	t.Logf("%d statements for 1000 heartbeats; %d for a change of health after them",
		s.keeper.Stats().Store.Statements-after.Store.Statements, after.Store.Statements-before.Store.Statements)
	assert.Greater(t, after.Store.Statements, before.Store.Statements)
}

// statusHost remembers what is reported of components.
type statusHost struct {
	component.Host
	events chan *componentstatus.Event
}

func (h statusHost) Report(e *componentstatus.Event) { h.events <- e }

func newStatusHost() statusHost {
	return statusHost{Host: nopHost, events: make(chan *componentstatus.Event, 100)}
}

func TestADatabaseInUseIsSaidAndAgentsAreServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	first := run(t, inFile(path), nopHost)
	host := newStatusHost()
	second := start(t, inFile(path), host)
	event := <-host.events
	assert.Equal(t, componentstatus.StatusRecoverableError, event.Status())
	require.ErrorIs(t, event.Err(), fleetstore.ErrLocked)
	assert.ErrorContains(t, event.Err(), "database.path: "+path)
	assert.ErrorContains(t, event.Err(), "set database.path to another file")
	a := connect(t, second)
	a.say(described("served"))
	assert.Contains(t, body(t, get(t, second.webURL()+"/api/v1/history")), "appeared")
	page := body(t, get(t, second.webURL()+"/server"))
	assert.Contains(t, page, "What happens is not written")
	assert.Contains(t, page, "stop the other one, or set database.path to another file")

	require.NoError(t, first.Shutdown(context.Background()))
	assert.Equal(t, componentstatus.StatusOK, (<-host.events).Status(), "it is tried again")
}

func TestWhatIsWrongWithADatabaseIsSaidByItsKey(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("this is a letter to somebody, and no database"), 0o600))
	shut := t.TempDir() // nothing more can be made in it
	require.NoError(t, os.Mkdir(filepath.Join(shut, "fleet.db-lock"), 0o700))
	for path, want := range map[string]string{
		filepath.Join(dir, "missing", "fleet.db"): "database.path: there is no directory " + filepath.Join(dir, "missing"),
		filepath.Join(text, "fleet.db"):           "database.path: ",
		dir:                                       "database.path: ",
		text:                                      "move it away, or set database.path to another file",
		filepath.Join(shut, "fleet.db"):           "make it writable for this process, or set database.path to another file",
	} {
		s := newServer(configOf(t, inFile(path)), nopSettings())
		err := s.Start(context.Background(), nopHost)
		require.Error(t, err, path)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "database.path")
		require.NoError(t, s.Shutdown(context.Background()))
	}
	letter, err := os.ReadFile(text)
	require.NoError(t, err)
	assert.Equal(t, "this is a letter to somebody, and no database", string(letter))
}

func TestADatabaseIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	s := start(t, inFile(path), nopHost)
	connect(t, s).say(described("a"))
	for _, end := range []string{"", "-wal", "-lock"} {
		info, err := os.Stat(path + end)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, end)
	}
}
