// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && interop

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// foreign is an agent of others, as it is released, and what there is to be seen of it. What is not
// wanted of it is what it lacks.
type foreign struct {
	name      string
	transport string // ws or http
	start     func(t *testing.T, transport, address string, uid opampwire.InstanceUID) *collector
	want      shown
	leaves    string // how it is when it was told to stop: goodbye, or silent if it has no word for that
	listens   bool   // it takes custom messages of com.example.ping
}

// foreigners are an agent of each kind, by each of its ways.
//
//   - opamp-go's client says no goodbye over plain HTTP.
//   - contrib's extension is made of it.
//   - Elastic's client knows plain HTTP only, and neither health, config, components nor goodbyes.
//   - ws.mjs is the protocol by hand.
func foreigners(t *testing.T) []foreign {
	t.Helper()
	opampGo := shown{
		Service: "opamp-go", Version: "0.23.0", Host: "opamp-go.example.com", Team: "payments",
		Condition: "unhealthy", Part: []string{"pipeline:traces", "exporter:otlp"}, PartStatus: "StatusRecoverableError",
		Config: "gateway.example.com:4317", Component: [2]string{"receivers", "otlp"},
	}
	hostname, err := os.Hostname()
	require.NoError(t, err)
	contrib := shown{
		Service: "otelcol-peer", Version: "0.1.0", Host: hostname, Team: "edge",
		Condition: "healthy", Part: []string{"pipeline:metrics", "exporter:otlp_http"}, PartStatus: "StatusOK",
		Config: "otlp_http", Component: [2]string{"receivers", "otlp"},
	}
	return []foreign{
		{name: "opamp-go over WebSocket", transport: "ws", start: startOpAMPGo, want: opampGo, leaves: "goodbye", listens: true},
		{name: "opamp-go over HTTP", transport: "http", start: startOpAMPGo, want: opampGo, leaves: "silent", listens: true},
		{name: "contrib over WebSocket", transport: "ws", start: startContrib, want: contrib, leaves: "goodbye"},
		{name: "contrib over HTTP", transport: "http", start: startContrib, want: contrib, leaves: "silent"},
		{name: "elastic over HTTP", transport: "http", start: startJavaScript("elastic.mjs"), leaves: "silent", want: shown{
			Service: "elastic", Version: "0.5.0", Host: "elastic.example.com", Team: "search", Condition: "unknown",
		}},
		{name: "ws over WebSocket", transport: "ws", start: startJavaScript("ws.mjs"), leaves: "goodbye", listens: true, want: shown{
			Service: "plain-ws", Version: "7.1.0", Host: "plain-ws.example.com", Team: "media",
			Condition: "healthy", Part: []string{"output:http"}, PartStatus: "StatusOK",
			Config: "inputs.cpu", Component: [2]string{"outputs", "http"},
		}},
	}
}

func startOpAMPGo(t *testing.T, transport, address string, uid opampwire.InstanceUID) *collector {
	t.Helper()
	return startCommand(t, exec.Command(opampGo(t), "agent", transport+"://"+address+"/v1/opamp", hex.EncodeToString(uid.Bytes())))
}

// opampGo is the program of internal/interop.
func opampGo(t *testing.T) string {
	t.Helper()
	return binary(t, "FLEETVIEW_OPAMP_GO", "interop-opamp-go")
}

// startJavaScript starts a script of internal/interop/js where its packages are installed.
func startJavaScript(script string) func(*testing.T, string, string, opampwire.InstanceUID) *collector {
	return func(t *testing.T, transport, address string, uid opampwire.InstanceUID) *collector {
		t.Helper()
		file := filepath.Join(toolsDir(t), "interop", script)
		require.FileExists(t, file, "install it first: make interop does")
		return startCommand(t, exec.Command("node", file, transport+"://"+address+"/v1/opamp", hex.EncodeToString(uid.Bytes())))
	}
}

// contribConfig is a collector with contrib's extension.
const contribConfig = `
extensions:
  opamp:
    instance_uid: %[1]s
    server: {%[2]s: {endpoint: '%[2]s://%[3]s/v1/opamp'%[4]s}}
    agent_description: {non_identifying_attributes: {team: edge}}
exporters:
  otlp_http: {endpoint: 'http://otel:hush-contrib-url@127.0.0.1:1', headers: {authorization: Bearer hush-contrib-header}}
service:
  extensions: [opamp]
  pipelines:
    metrics: {receivers: [nop], exporters: [nop, otlp_http]}
`

func startContrib(t *testing.T, transport, address string, uid opampwire.InstanceUID) *collector {
	t.Helper()
	more := "" // of plain HTTP only
	if transport == "http" {
		more = ", polling_interval: 200ms"
	}
	c := startCollector(t, binary(t, "FLEETVIEW_PEER_BINARY", "otelcol-peer"), fmt.Sprintf(contribConfig, uid, transport, address, more))
	c.waitReady(t, 1)
	return c
}

// complaints are the lines by which an agent of others says that it was offered something, that the
// server refused what it said, or that it cannot reach it.
func complaints(c *collector) []string {
	var said []string
	for _, line := range c.matching(func(line logLine) bool {
		return warning(line) || slices.ContainsFunc([]string{"offer ", "error ", "failed "}, func(p string) bool {
			return strings.HasPrefix(line.Raw, p)
		})
	}) {
		said = append(said, line.Raw)
	}
	return said
}

// opampGoServer is opamp-go's server as it is released, a program of its own.
type opampGoServer struct {
	*collector
	address string
	in      io.WriteCloser

	mu     sync.Mutex
	read   int                                  // guarded by mu: lines of its output that were looked at
	agents map[opampwire.InstanceUID]*heardFrom // guarded by mu
}

// heardFrom is what it heard from an agent.
type heardFrom struct {
	messages []*protobufs.AgentToServer
	asked    int // times that the agent was asked for everything
}

func startOpAMPGoServer(t *testing.T, address string) *opampGoServer {
	t.Helper()
	cmd := exec.Command(opampGo(t), "server", address)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	s := &opampGoServer{collector: startCommand(t, cmd), address: address, in: in, agents: map[opampwire.InstanceUID]*heardFrom{}}
	s.waitText(t, `"address"`)
	return s
}

// from is what it has heard from an agent so far.
func (s *opampGoServer) from(t *testing.T, uid opampwire.InstanceUID) heardFrom {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update(t)
	if a := s.agents[uid]; a != nil {
		return *a
	}
	return heardFrom{}
}

func (s *opampGoServer) update(t *testing.T) {
	t.Helper()
	lines, _ := s.lines()
	for ; s.read < len(lines); s.read++ {
		line, err := parseServerLine(lines[s.read].Raw)
		require.NoError(t, err)
		if line.msg == nil {
			continue
		}
		uid := opampwire.InstanceUID(line.msg.GetInstanceUid())
		if s.agents[uid] == nil {
			s.agents[uid] = &heardFrom{}
		}
		s.agents[uid].messages = append(s.agents[uid].messages, line.msg)
		if line.Asked {
			s.agents[uid].asked++
		}
	}
}

// serverLine is a line of its output.
type serverLine struct {
	Heard  []byte `json:"heard"`
	Asked  bool   `json:"asked"`
	Closed bool   `json:"closed"`

	msg *protobufs.AgentToServer // what was heard, or nil
}

func parseServerLine(raw string) (serverLine, error) {
	var line serverLine
	if err := json.Unmarshal([]byte(raw), &line); err != nil {
		return line, fmt.Errorf("%w: %s", err, raw)
	}
	if len(line.Heard) > 0 {
		line.msg = new(protobufs.AgentToServer)
		return line, proto.Unmarshal(line.Heard, line.msg)
	}
	return line, nil
}

// hears waits until it has heard a message from an agent of which ok says yes.
func (s *opampGoServer) hears(t *testing.T, uid opampwire.InstanceUID, what string, ok func(*protobufs.AgentToServer) bool) {
	t.Helper()
	s.hearsWithin(t, patience, uid, what, ok)
}

func (s *opampGoServer) hearsWithin(
	t *testing.T, limit time.Duration, uid opampwire.InstanceUID, what string, ok func(*protobufs.AgentToServer) bool,
) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		_, more := s.lines()
		if slices.ContainsFunc(s.from(t, uid).messages, ok) {
			return
		}
		select {
		case <-more:
		case <-deadline.C:
			require.Fail(t, "the server does not hear it: "+what)
		}
	}
}

// push has it send a message to an agent.
func (s *opampGoServer) push(t *testing.T, uid opampwire.InstanceUID, msg *protobufs.ServerToAgent) {
	t.Helper()
	msg.InstanceUid = uid.Bytes()
	raw, err := proto.Marshal(msg)
	require.NoError(t, err)
	_, err = io.WriteString(s.in, base64.StdEncoding.EncodeToString(raw)+"\n")
	require.NoError(t, err)
}

// asReference is the same server for the test of what our own agents tell.
func (s *opampGoServer) asReference(t *testing.T) *reference {
	t.Helper()
	r := &reference{address: s.address, heard: make(chan *protobufs.AgentToServer, 1024), closed: make(chan struct{}, 1024)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.forward(r, stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return r
}

func (s *opampGoServer) forward(r *reference, stop <-chan struct{}) {
	for read := 0; ; {
		lines, more := s.lines()
		for ; read < len(lines); read++ {
			line, err := parseServerLine(lines[read].Raw)
			if err == nil && line.msg != nil { // the test misses what is wrong
				r.heard <- line.msg
			}
			if line.Closed {
				r.closed <- struct{}{}
			}
		}
		select {
		case <-more:
		case <-stop:
			return
		}
	}
}

// comingBack is how long an agent may take that was told when to come back.
const comingBack = 2 * time.Minute

// foreignSilence is how long an agent over plain HTTP may say nothing. Those of the tests poll several
// times a second.
const foreignSilence = 3 * time.Second
