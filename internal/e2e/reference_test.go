// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// reference is opamp-go's own server. It acknowledges everything and asks for the list of components
// once it knows the hash.
type reference struct {
	// Fixed at construction.
	address      string // host and port
	relayed      bool   // agents reach it by way of others, whose connections stay
	server       server.OpAMPServer
	capabilities protobufs.ServerCapabilities
	heard        chan *protobufs.AgentToServer
	closed       chan struct{} // one for each connection that ended

	mu   sync.Mutex
	conn types.Connection // guarded by mu: of the last message
	uid  []byte           // guarded by mu: of whom it was
}

// startReference starts a server that can do what is named beside taking status.
func startReference(t *testing.T, more ...protobufs.ServerCapabilities) *reference {
	t.Helper()
	r := &reference{
		server:       server.New(nil),
		capabilities: protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus,
		heard:        make(chan *protobufs.AgentToServer, 1024),
		closed:       make(chan struct{}, 1024),
	}
	for _, capability := range more {
		r.capabilities |= capability
	}
	callbacks := types.ConnectionCallbacks{
		OnMessage:         r.onMessage,
		OnConnectionClose: func(types.Connection) { r.closed <- struct{}{} },
	}
	require.NoError(t, r.server.Start(server.StartSettings{
		ListenEndpoint: "127.0.0.1:0",
		Settings: server.Settings{Callbacks: types.Callbacks{
			OnConnecting: func(*http.Request) types.ConnectionResponse {
				return types.ConnectionResponse{Accept: true, ConnectionCallbacks: callbacks}
			},
		}},
	}))
	r.address = r.server.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), reapLimit)
		defer cancel()
		assert.NoError(t, r.server.Stop(ctx))
	})
	return r
}

func (r *reference) onMessage(_ context.Context, conn types.Connection, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	r.mu.Lock()
	r.conn, r.uid = conn, msg.GetInstanceUid()
	r.mu.Unlock()
	r.heard <- proto.CloneOf(msg)
	reply := &protobufs.ServerToAgent{
		InstanceUid:  msg.GetInstanceUid(),
		Capabilities: uint64(r.capabilities),
	}
	if parts := msg.GetAvailableComponents(); parts != nil && len(parts.GetComponents()) == 0 {
		reply.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)
	}
	return reply
}

// push says something unasked to the agent that was heard last.
func (r *reference) push(t *testing.T, msg *protobufs.ServerToAgent) {
	t.Helper()
	r.mu.Lock()
	conn := r.conn
	msg.InstanceUid, msg.Capabilities = r.uid, uint64(r.capabilities)
	r.mu.Unlock()
	require.NotNil(t, conn, "nobody has spoken yet")
	require.NoError(t, conn.Send(t.Context(), msg))
}

// told is all that an agent has told, the latest of each part.
type told struct {
	first *protobufs.AgentToServer
	last  *protobufs.AgentToServer
	// leaving is set when the collector is told to end: an exchange over plain HTTP that is then cut
	// off may be heard before, after or instead of the goodbye.
	leaving bool
	healths []bool // whether it was healthy, in the order in which it said so
	customs []*protobufs.CustomMessage
	*protobufs.AgentToServer
}

// hear adds messages to what was told until enough says that it is enough.
func (r *reference) hear(t *testing.T, all *told, enough func(*told) bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !enough(all) {
		select {
		case msg := <-r.heard:
			all.add(t, msg)
		case <-deadline.C:
			require.Fail(t, "the agent does not tell all", "so far: %v", all.AgentToServer)
		}
	}
}

func (all *told) add(t *testing.T, msg *protobufs.AgentToServer) {
	t.Helper()
	if all.first == nil {
		all.first, all.AgentToServer = msg, &protobufs.AgentToServer{}
	} else if !all.leaving {
		require.Equal(t, all.last.GetSequenceNum()+1, msg.GetSequenceNum(), "sequence_num")
		require.Equal(t, all.last.GetInstanceUid(), msg.GetInstanceUid(), "instance_uid")
	}
	all.last = msg
	latest := proto.CloneOf(msg)
	// A part that is set again replaces the old one; Merge would join both.
	if latest.Health != nil {
		all.Health = nil
		all.healths = append(all.healths, latest.Health.Healthy)
	}
	if latest.CustomMessage != nil {
		all.CustomMessage = nil
		all.customs = append(all.customs, latest.CustomMessage)
	}
	if latest.CustomCapabilities != nil {
		all.CustomCapabilities = nil
	}
	if latest.AvailableComponents != nil {
		all.AvailableComponents = nil
	}
	if latest.AgentDescription != nil {
		all.AgentDescription = nil
	}
	proto.Merge(all.AgentToServer, latest)
}

func complete(all *told) bool {
	return all.AgentToServer != nil && all.GetHealth().GetHealthy() && all.EffectiveConfig != nil &&
		all.AgentDescription != nil && len(all.GetAvailableComponents().GetComponents()) > 0
}

// TestReferenceServer holds the names, keys and hash that any OpAMP server sees of a collector.
func TestReferenceServer(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			startReference(t).assertTold(t, transport)
		})
	}
}

// assertTold starts a collector and holds what it tells until it has ended.
func (r *reference) assertTold(t *testing.T, transport string) {
	t.Helper()
	more := ""
	if transport == "http" {
		more = ", polling_interval: 1s"
	}
	c := startCollector(t, distribution(t), agentConfig(fmt.Sprintf(
		"    server: {%s: {endpoint: '%s://%s/v1/opamp'%s}}", transport, transport, r.address, more))+pipelines)
	var all told
	r.hear(t, &all, complete)

	golden(t, "reference.json", describe(t, &all))
	parts := all.GetAvailableComponents()
	assert.Equal(t, componentsHash(parts.GetComponents()), hex.EncodeToString(parts.GetHash()))
	assertListed(t, parts.GetComponents(), components(t, distribution(t)))
	assert.NotNil(t, all.first.GetAgentDescription(), "the first message describes the agent")
	assert.NotNil(t, all.first.GetEffectiveConfig(), "the first message has the configuration")
	assert.NotNil(t, all.first.GetAvailableComponents(), "the first message has the components' hash")
	assert.Empty(t, all.first.GetAvailableComponents().GetComponents(), "the first message has no list of components")
	assertConfigIsWhatRuns(t, all.GetEffectiveConfig())
	assertOneStart(t, all.GetHealth())

	all.leaving = true
	c.signal(t, syscall.SIGTERM)
	r.hear(t, &all, func(all *told) bool { return all.AgentDisconnect != nil })
	if transport == "ws" && !r.relayed {
		<-r.closed
	}
	<-c.done
}

// pipelines make the health tree more than a line.
const pipelines = `
  pipelines:
    traces: {receivers: [nop], processors: [batch, memory_limiter], exporters: [nop, nop/2]}
    logs/audit: {receivers: [nop], exporters: [forward]}
    logs: {receivers: [forward], exporters: [nop]}
processors:
  batch:
  memory_limiter: {check_interval: 1s, limit_mib: 512}
connectors:
  forward:
exporters:
  nop/2:
`

// seen is what of a report depends on neither the machine nor the time.
type seen struct {
	Capabilities   []string            `json:"capabilities"`
	Identifying    []string            `json:"identifying_attributes"`
	NonIdentifying []string            `json:"non_identifying_attributes"`
	Health         *seenHealth         `json:"health"`
	Config         map[string]string   `json:"effective_config_content_types"`
	Hash           string              `json:"components_hash"`
	Components     map[string][]string `json:"components"`
}

type seenHealth struct {
	Healthy bool                   `json:"healthy"`
	Status  string                 `json:"status"`
	Parts   map[string]*seenHealth `json:"components,omitempty"`
}

func describe(t *testing.T, all *told) string {
	t.Helper()
	s := seen{
		Capabilities:   capabilityNames(all.GetCapabilities()),
		Identifying:    keys(all.GetAgentDescription().GetIdentifyingAttributes()),
		NonIdentifying: slices.DeleteFunc(keys(all.GetAgentDescription().GetNonIdentifyingAttributes()), isOfMachine),
		Health:         healthOf(all.GetHealth()),
		Config:         map[string]string{},
		Hash:           hex.EncodeToString(all.GetAvailableComponents().GetHash()),
		Components:     map[string][]string{},
	}
	for name, file := range all.GetEffectiveConfig().GetConfigMap().GetConfigMap() {
		s.Config[name] = file.GetContentType()
	}
	for kind, parts := range all.GetAvailableComponents().GetComponents() {
		for name, part := range parts.GetSubComponentMap() {
			s.Components[kind] = append(s.Components[kind], name+" "+attributes(part.GetMetadata()))
		}
		slices.Sort(s.Components[kind])
	}
	text, err := json.MarshalIndent(s, "", "  ")
	require.NoError(t, err)
	return string(text) + "\n"
}

// isOfMachine tells the attributes that not every machine has.
func isOfMachine(attribute string) bool {
	return attribute == "host.id" || attribute == "os.description"
}

func capabilityNames(bits uint64) []string {
	var names []string
	for bit := uint64(1); bit != 0; bit <<= 1 {
		if bits&bit != 0 {
			names = append(names, protobufs.AgentCapabilities(bit).String())
		}
	}
	return names
}

func keys(attributes []*protobufs.KeyValue) []string {
	var names []string
	for _, kv := range attributes {
		names = append(names, kv.GetKey())
	}
	return names
}

func attributes(kvs []*protobufs.KeyValue) string {
	var text []string
	for _, kv := range kvs {
		text = append(text, kv.GetKey()+"="+kv.GetValue().GetStringValue())
	}
	return strings.Join(text, ",")
}

func healthOf(h *protobufs.ComponentHealth) *seenHealth {
	s := &seenHealth{Healthy: h.GetHealthy(), Status: h.GetStatus(), Parts: map[string]*seenHealth{}}
	for name, part := range h.GetComponentHealthMap() {
		s.Parts[name] = healthOf(part)
	}
	return s
}

// componentsHash is the hash that contrib's extension makes of the same set, written down here once
// more and on its own.
func componentsHash(kinds map[string]*protobufs.ComponentDetails) string {
	var text strings.Builder
	for _, kind := range []string{"receiver", "processor", "exporter", "extension", "connector"} {
		text.WriteString(kind + ":")
		parts := kinds[kind+"s"].GetSubComponentMap()
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			text.WriteString(name + "=" + parts[name].GetMetadata()[0].GetValue().GetStringValue() + ";")
		}
	}
	hash := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(hash[:])
}

// assertListed holds that what the command line lists is reported. The report has more names: those
// that are aliases.
func assertListed(t *testing.T, kinds map[string]*protobufs.ComponentDetails, l listing) {
	t.Helper()
	for kind, all := range map[string][]listed{
		"receivers": l.Receivers, "processors": l.Processors, "exporters": l.Exporters,
		"extensions": l.Extensions, "connectors": l.Connectors,
	} {
		require.NotEmpty(t, all, kind)
		for _, c := range all {
			part := kinds[kind].GetSubComponentMap()[c.Name]
			assert.Equal(t, "code.namespace="+c.Module, attributes(part.GetMetadata()), c.Name)
		}
	}
}

func assertConfigIsWhatRuns(t *testing.T, config *protobufs.EffectiveConfig) {
	t.Helper()
	var parsed struct {
		Receivers map[string]any `yaml:"receivers"`
		Service   struct {
			Pipelines map[string]struct {
				Exporters []string `yaml:"exporters"`
			} `yaml:"pipelines"`
		} `yaml:"service"`
	}
	require.NoError(t, yaml.Unmarshal(config.GetConfigMap().GetConfigMap()[""].GetBody(), &parsed))
	assert.Equal(t, []string{"nop"}, slices.Collect(maps.Keys(parsed.Receivers)))
	assert.Equal(t, []string{"nop", "nop/2"}, parsed.Service.Pipelines["traces"].Exporters)
}

// assertOneStart holds that every part of the tree has a start, and that none lies after its status.
func assertOneStart(t *testing.T, h *protobufs.ComponentHealth) {
	t.Helper()
	assert.NotZero(t, h.GetStartTimeUnixNano())
	assert.GreaterOrEqual(t, h.GetStatusTimeUnixNano(), h.GetStartTimeUnixNano())
	for _, part := range h.GetComponentHealthMap() {
		assertOneStart(t, part)
	}
}
