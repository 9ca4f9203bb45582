// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/otelcol"
	"go.uber.org/zap/zapcore"
	zapobserver "go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// fate is what becomes of a field of the server's message.
type fate int

const (
	refused fate = iota // an offer or an order: counted, logged once, not done
	ignored             // says something that this agent has no use for
	taken               // concerns the conversation alone, never the Collector
)

// classified is one field of ServerToAgent, by its path. A path stands for all below it.
type classified struct {
	fate  fate
	offer string // what a refused one is counted as
	why   string // what a taken one is taken for
}

// fates has every field that a server can set. A version of the protocol with another
// one fails [TestEveryFieldOfAServerHasAFate] until somebody has decided about it.
var fates = map[string]classified{
	"remote_config":      {fate: refused, offer: "remote_config"},
	"packages_available": {fate: refused, offer: "packages_available"},
	"command":            {fate: refused, offer: "command"},

	"connection_settings.opamp.destination_endpoint": {fate: refused, offer: "opamp_connection_settings"},
	"connection_settings.opamp.headers":              {fate: refused, offer: "opamp_connection_settings"},
	"connection_settings.opamp.certificate":          {fate: refused, offer: "opamp_connection_settings"},
	"connection_settings.opamp.tls":                  {fate: refused, offer: "opamp_connection_settings"},
	"connection_settings.opamp.proxy":                {fate: refused, offer: "opamp_connection_settings"},
	"connection_settings.own_metrics":                {fate: refused, offer: "own_metrics"},
	"connection_settings.own_traces":                 {fate: refused, offer: "own_traces"},
	"connection_settings.own_logs":                   {fate: refused, offer: "own_logs"},
	"connection_settings.other_connections":          {fate: refused, offer: "other_connections"},

	"connection_settings.hash": {fate: ignored},
	"custom_capabilities":      {fate: ignored},

	"instance_uid":                          {fate: taken, why: "a message for another agent is left alone"},
	"capabilities":                          {fate: taken, why: "what the server says it can do"},
	"flags":                                 {fate: taken, why: "the report is told again, once a second at most"},
	"error_response":                        {fate: taken, why: "the agent stays away for a while, or does not repeat itself"},
	"agent_identification.new_instance_uid": {fate: taken, why: "the name on later messages"},
	"custom_message":                        {fate: taken, why: "handed to a component that registered for it, dropped where none did; this extension does nothing with it"},
	"connection_settings.opamp.heartbeat_interval_seconds": {fate: taken, why: "the pace of heartbeats, within bounds"},
}

// walk calls visit with the path of each field of a message, and descends where visit
// says so.
func walk(md protoreflect.MessageDescriptor, above string, visit func(path string) (descend bool)) {
	for i := range md.Fields().Len() {
		field := md.Fields().Get(i)
		path := above + string(field.Name())
		if visit(path) && field.Message() != nil && !field.IsMap() && !field.IsList() {
			walk(field.Message(), path+".", visit)
		}
	}
}

// isAbove says whether a classified path lies below path.
func isAbove(path string) bool {
	for p := range fates {
		if strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

func TestEveryFieldOfAServerHasAFate(t *testing.T) {
	seen := map[string]bool{}
	walk((*protobufs.ServerToAgent)(nil).ProtoReflect().Descriptor(), "", func(path string) bool {
		if _, ok := fates[path]; ok {
			seen[path] = true
			return false
		}
		require.True(t, isAbove(path), "%s: refused, ignored or taken?", path)
		return true
	})
	require.ElementsMatch(t, slices.Collect(maps.Keys(fates)), slices.Collect(maps.Keys(seen)), "the protocol has these")

	// What hides behind numbers has to be looked at as well when there is more of it.
	require.Len(t, protobufs.ServerToAgentFlags_name, 3)
	require.Len(t, protobufs.CommandType_name, 1)
	require.Len(t, protobufs.ServerErrorResponseType_name, 3)
}

// withField is a message that has the field at path and all below it, with texts that
// are each the address of the trap.
func withField(t *testing.T, path, trap string) *protobufs.ServerToAgent {
	t.Helper()
	msg := new(protobufs.ServerToAgent)
	at := msg.ProtoReflect()
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		at = at.Mutable(at.Descriptor().Fields().ByName(protoreflect.Name(name))).Message()
	}
	field := at.Descriptor().Fields().ByName(protoreflect.Name(names[len(names)-1]))
	require.NotNil(t, field, path)
	fillField(at, field, trap, 6)
	return msg
}

func fillField(msg protoreflect.Message, field protoreflect.FieldDescriptor, trap string, depth int) {
	switch {
	case depth == 0 || (field.ContainingOneof() != nil && msg.WhichOneof(field.ContainingOneof()) != nil):
	case field.IsMap():
		m := msg.Mutable(field).Map()
		v := m.NewValue()
		if field.MapValue().Message() != nil {
			fillMessage(v.Message(), trap, depth-1)
		} else {
			v = scalar(field.MapValue(), trap)
		}
		m.Set(protoreflect.ValueOfString("x").MapKey(), v)
	case field.IsList() && field.Message() != nil:
		fillMessage(msg.Mutable(field).List().AppendMutable().Message(), trap, depth-1)
	case field.IsList():
		msg.Mutable(field).List().Append(scalar(field, trap))
	case field.Message() != nil:
		fillMessage(msg.Mutable(field).Message(), trap, depth-1)
	default:
		msg.Set(field, scalar(field, trap))
	}
}

func fillMessage(msg protoreflect.Message, trap string, depth int) {
	for i := range msg.Descriptor().Fields().Len() {
		fillField(msg, msg.Descriptor().Fields().Get(i), trap, depth)
	}
}

func scalar(field protoreflect.FieldDescriptor, trap string) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(trap)
	case protoreflect.BytesKind:
		uid := opampwire.NewInstanceUID() // of the one length that some field takes
		return protoreflect.ValueOfBytes(uid.Bytes())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(field.Enum().Values().Get(0).Number())
	case protoreflect.Uint64Kind:
		if field.Name() == "heartbeat_interval_seconds" {
			return protoreflect.ValueOfUint64(1)
		}
		return protoreflect.ValueOfUint64(^uint64(0))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	default:
		panic("the protocol has a new kind of field: " + field.FullName())
	}
}

// trap is where every offer points to. Nobody may come.
type trap struct {
	net.Listener
	visits atomic.Int32
}

// counting is a listener that counts who comes.
func counting(t *testing.T) *trap {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return &trap{Listener: ln}
}

func (l *trap) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.visits.Add(1)
	}
	return c, err
}

// set opens the trap until the test ends.
func (l *trap) set(t *testing.T) {
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
}

// offering is a server that says what the test says, over either transport.
type offering struct {
	*opamptest.Server
	transport string
	conns     *trap // who connects to the server itself

	mu    sync.Mutex
	queue []*protobufs.ServerToAgent // guarded by mu; for the next polls
}

func newOffering(t *testing.T, transport string) *offering {
	o := &offering{transport: transport, conns: counting(t)}
	o.Server = opamptest.Serve(t, o.conns, opamptest.Script{Reply: o.reply})
	return o
}

func (o *offering) reply(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return opamptest.Ack(msg)
	}
	next := o.queue[0]
	o.queue = o.queue[1:]
	return next
}

func (o *offering) say(t *testing.T, msg *protobufs.ServerToAgent) {
	t.Helper()
	if o.transport == "ws" {
		o.Push(t, msg)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, msg)
}

// subject is the Collector that is offered everything, and what must not change of it.
type subject struct {
	*collector
	server     *offering
	trap       *trap
	logs       *zapobserver.ObservedLogs
	count      func(name, key, value string) int64
	signals    chan os.Signal
	config     []byte // as first reported
	goroutines int
	marks      int64 // custom messages that were said
}

func newSubject(t *testing.T, transport string) *subject {
	s := &subject{server: newOffering(t, transport), trap: counting(t), signals: make(chan os.Signal, 8)}
	t.Chdir(t.TempDir()) // so that a download would be the only file
	s.trap.set(t)
	// A restart that a server orders is a SIGHUP to oneself in contrib's extension.
	signal.Notify(s.signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	t.Cleanup(func() { signal.Stop(s.signals) })

	factory, logs, metrics := watchedTelemetry(zapcore.WarnLevel)
	s.logs = logs
	s.count = func(name, key, value string) int64 { return counted(metrics, name, key, value) }
	interval := ""
	if transport == "http" {
		interval = ", polling_interval: 5ms"
	}
	s.collector = startCollectorWith(t, collectorYAML(fmt.Sprintf(
		"    server: {%s: {endpoint: '%s'%s}}", transport, s.server.URL(transport), interval)), factory)
	first := s.server.NextWith(t, func(h opamptest.Heard) bool { return h.GetEffectiveConfig() != nil })
	s.config = body(first)
	nextFrom(t, s.server.Server, first, healthy)
	require.Eventually(t, func() bool { // in a goroutine of its own, as below
		s.goroutines = runtime.NumGoroutine()
		return true
	}, patience, time.Millisecond)
	return s
}

func body(h opamptest.Heard) []byte {
	return h.GetEffectiveConfig().GetConfigMap().GetConfigMap()[""].GetBody()
}

// offer says msg, and returns when the agent is through with it: messages are taken in
// their order, and a custom message that nobody takes comes last.
func (s *subject) offer(t *testing.T, msg *protobufs.ServerToAgent) {
	t.Helper()
	if msg.GetCustomMessage() != nil {
		s.marks++
	}
	s.server.say(t, msg)
	s.mark(t)
}

func (s *subject) mark(t *testing.T) {
	t.Helper()
	s.marks++
	s.server.say(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "none"}})
	require.Eventually(t, func() bool { return s.heard("custom_message") == s.marks }, patience, time.Millisecond)
}

func (s *subject) heard(part string) int64 { return s.count("otelcol_opamp_parts", "part", part) }

// requireUntouched proves that the Collector is what it was.
func (s *subject) requireUntouched(t *testing.T, connections int32) {
	t.Helper()
	require.Equal(t, otelcol.StateRunning, s.GetState())
	require.Empty(t, s.signals, "nobody signals this process")
	require.EqualValues(t, 2, s.moody.starts.Load(), "the pipelines are the ones of the start")
	require.Zero(t, s.moody.ends.Load())
	require.Zero(t, s.trap.visits.Load(), "nobody goes where an offer points to")
	if s.server.transport == "ws" {
		require.Equal(t, connections, s.server.conns.visits.Load(), "connections to the server")
	} else {
		// net/http dials again if a request comes while the connection of the last one is
		// on its way back to the pool, so there may be two.
		require.LessOrEqual(t, s.server.conns.visits.Load(), connections+1, "connections to the server")
	}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, files, "nothing is downloaded")
	for _, h := range s.server.Rest() {
		if h.GetEffectiveConfig() != nil {
			require.Equal(t, string(s.config), string(body(h)), "the configuration is the one of the start")
		}
		require.Nil(t, h.GetRemoteConfigStatus())
		require.Nil(t, h.GetPackageStatuses())
		require.Nil(t, h.GetConnectionSettingsStatus())
		require.Nil(t, h.GetConnectionSettingsRequest())
	}
}

func (s *subject) requireLoggedOnce(t *testing.T, offer string) {
	t.Helper()
	lines := s.logs.Filter(func(e zapobserver.LoggedEntry) bool { return e.ContextMap()["offer"] == offer }).All()
	require.Len(t, lines, 1, offer)
	require.Contains(t, lines[0].Message, "Refused an offer")
}

// sortedFates has last what slows polls down or ends the connection.
func sortedFates() []string {
	paths := slices.Collect(maps.Keys(fates))
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(fates[a].fate, fates[b].fate), strings.Compare(rank(a), rank(b)))
	})
	return paths
}

func rank(path string) string {
	switch path {
	case "connection_settings.opamp.heartbeat_interval_seconds":
		return "~1"
	case "error_response":
		return "~2"
	}
	return path
}

// This is the proof of the promise that nothing a server says changes what the
// Collector does: every field that it can set, sent by a server to a whole Collector,
// over both transports, with what it offers pointing to a trap.
func TestNothingThatAServerSaysChangesTheCollector(t *testing.T) {
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			s := newSubject(t, transport)
			address := "http://" + s.trap.Addr().String() + "/offered"
			counts := map[string]int64{}
			for _, path := range sortedFates() {
				c := fates[path]
				msg := withField(t, path, address)
				if path == "error_response" {
					break // below: it ends the connection
				}
				s.offer(t, msg)
				if c.fate == refused {
					s.offer(t, msg)
					counts[c.offer] += 2
					require.Equal(t, counts[c.offer], s.count("otelcol_opamp_refused_offers", "offer", c.offer), path)
					s.requireLoggedOnce(t, c.offer)
				}
				s.requireUntouched(t, 1)
				t.Logf("%-8s %s", [...]string{"refused", "ignored", "taken"}[c.fate], path)
			}

			all := new(protobufs.ServerToAgent)
			for path, c := range fates {
				if c.fate == refused {
					proto.Merge(all, withField(t, path, address))
				}
			}
			// As a later protocol might say it.
			all.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 4711, protowire.BytesType), address))
			s.offer(t, all)
			for offer, n := range counts {
				require.Equal(t, n+1, s.count("otelcol_opamp_refused_offers", "offer", offer), "all at once: %s", offer)
				s.requireLoggedOnce(t, offer)
			}
			require.EqualValues(t, 1, s.heard("unknown"))
			s.requireUntouched(t, 1)
			require.Eventually(t, func() bool { return runtime.NumGoroutine() <= s.goroutines }, patience, time.Millisecond,
				"no more goroutines than there were")

			s.goAway(t, address)
		})
	}
}

// goAway sends the agent away. It stays away, comes back, and is the same.
func (s *subject) goAway(t *testing.T, address string) {
	t.Helper()
	away := withField(t, "error_response", address)
	away.ErrorResponse.Type = protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable
	away.ErrorResponse.Details = &protobufs.ServerErrorResponse_RetryInfo{RetryInfo: &protobufs.RetryInfo{}}
	away.Command = &protobufs.ServerToAgentCommand{} // means nothing beside an error
	commands := s.count("otelcol_opamp_refused_offers", "offer", "command")
	s.server.say(t, away)
	again := s.server.NextWith(t, func(h opamptest.Heard) bool { return h.GetAgentDescription() != nil })
	require.Equal(t, string(s.config), string(body(again)))
	s.mark(t)
	require.Equal(t, commands, s.count("otelcol_opamp_refused_offers", "offer", "command"))
	s.requireUntouched(t, 2)
}
