// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScenarios plays the scripts in testdata. A script is made of prose (lines that start with #) and commands, each
// followed by a line of dashes and what the command prints:
//
//	fleet [max_agents=N] [max_per_conn=N] [silent_after=D] [max_nodes=N] ...   a new, empty fleet at 00:00:00
//	report AGENT [conn=N|http] [seq=N] [full] [name=S] [version=S] [host=S] [caps=none|all|quiet]
//	       [KEY.NAME=VALUE]... [status=S] [at=D]
//	       [NODE=STATUS[:ERROR]]... [config=S] [hash=S] [list=S] [goodbye] [uid_bytes=N] [custom=CAPABILITY,...]
//	       [message=CAPABILITY:TYPE:DATA] [progress=RECEIVER:SIGNAL:STATE:PERCENT:BEGAN:UPDATED]
//	       [ingest=SIGNAL:STATE:MINUTE[:ERROR]] (of an hour, as contrib's receiver tells it)
//	heartbeat AGENT [conn=N|http] [seq=N]
//	drop N                  connection N breaks
//	post AGENT CAPABILITY:TYPE:DATA     a message for it
//	tick D                  time passes, with a Tick each second
//	stall D                 time passes without a Tick, then one
//	restart                 all is saved and restored in a new fleet; nobody is connected to that
//	lineage AGENT           what it owes to those before it
//	events [AGENT]          what was recorded since this was asked last
//	show AGENT              all that is known of it
//	said AGENT              its custom messages
//	ingests AGENT           its ingests
//	since                   what changed since the last time this was asked
//	stats
//
// A report without seq has the number after the last one. An underscore in a value stands for a space.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playScenario(t, file) })
	}
}

func playScenario(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var got strings.Builder
	w := newWorld(t)
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		got.WriteString(lines[i] + "\n")
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		got.WriteString("----\n" + w.run(lines[i]))
		for i+1 < len(lines) && lines[i+1] != "" {
			i++ // the expected output
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o600))
		return
	}
	require.Equal(t, string(raw), got.String())
}

// world is a fleet, a clock, and agents who count their messages.
type world struct {
	t        *testing.T
	fleet    *Fleet
	now      time.Time
	seqs     map[string]uint64
	position Position
	event    uint64
}

var scenarioStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	return &world{t: t, fleet: New(Settings{}), now: scenarioStart, seqs: map[string]uint64{}}
}

// words of a command line: bare ones are true.
type words map[string]string

func parseWords(fields []string) words {
	out := words{}
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			v = "true"
		}
		out[k] = strings.ReplaceAll(v, "_", " ")
	}
	return out
}

func (w words) int(key string) int {
	n, _ := strconv.Atoi(w[key])
	return n
}

func (w words) duration(key string) time.Duration {
	d, _ := time.ParseDuration(w[key])
	return d
}

func (w *world) run(line string) string {
	fields := strings.Fields(line)
	cmd, args := fields[0], fields[1:]
	switch cmd {
	case "fleet":
		return w.reset(parseWords(args))
	case "report":
		return w.report(args[0], args[1:])
	case "heartbeat":
		return w.report(args[0], append(args[1:], "heartbeat"))
	case "drop":
		id, err := strconv.ParseUint(args[0], 10, 64)
		require.NoError(w.t, err)
		return w.changesOf(func() { w.fleet.Disconnected(Conn{ID: id, Transport: TransportWebSocket}, w.now) })
	case "tick":
		d, err := time.ParseDuration(args[0])
		require.NoError(w.t, err)
		changes := w.changesOf(func() { w.pass(d) })
		return w.clock() + "\n" + changes
	case "stall":
		d, err := time.ParseDuration(args[0])
		require.NoError(w.t, err)
		w.now = w.now.Add(d)
		return w.clock() + "\n" + w.changesOf(func() { w.fleet.Tick(w.now) })
	case "post":
		return w.post(args[0], args[1])
	case "said":
		return w.said(args[0])
	case "ingests":
		return w.ingests(args[0])
	case "restart":
		w.restart()
		return "ok\n"
	case "lineage":
		return w.lineage(args[0])
	case "events":
		return w.events(args)
	case "show":
		return w.show(args[0])
	case "since":
		return w.since()
	case "stats":
		return w.stats()
	}
	require.Failf(w.t, "unknown command", "%q", line)
	return ""
}

// pass lets time pass as a server does, and ends with a Tick.
func (w *world) pass(d time.Duration) {
	for ; d > time.Second; d -= time.Second {
		w.now = w.now.Add(time.Second)
		w.fleet.Tick(w.now)
	}
	w.now = w.now.Add(d)
	w.fleet.Tick(w.now)
}

// restart saves everybody, and goes on with a fleet that has read that.
func (w *world) restart() {
	old, _ := w.fleet.Agents()
	saved := make([]*Agent, 0, len(old))
	for _, a := range old {
		saved = append(saved, roundTrip(w.t, a))
	}
	last := w.fleet.LastEvent()
	settings := w.fleet.settings
	w.fleet = New(settings)
	w.fleet.Restore(saved, last, w.now)
	w.position = w.fleet.Position()
}

func (w *world) lineage(agent string) string {
	a, ok := w.fleet.Agent(scenarioUID(agent))
	if !ok {
		return "unknown\n"
	}
	return fmt.Sprintf("%s: runs %d, known since %s, flaps %d\n", a.Logical, a.Runs, clock(a.KnownSince), a.Flaps(w.now))
}

func (w *world) events(args []string) string {
	var b strings.Builder
	for _, e := range w.fleet.Unkept(w.event, Position{}, 1000).Events {
		w.event = e.ID
		if len(args) > 0 && e.UID != scenarioUID(args[0]) {
			continue
		}
		who := "server"
		if !e.UID.IsZero() {
			who = w.nameOf(e.UID)
		}
		fmt.Fprintf(&b, "%s %s %s", clock(e.At), who, e.Kind)
		for _, part := range []struct{ name, text string }{{"", e.Subject}, {"from", e.From}, {"to", e.To}, {"", e.Detail}} {
			if part.text != "" {
				b.WriteString(strings.TrimRight(" "+part.name, " ") + " " + strconv.Quote(w.named(part.text)))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// named shows instance UIDs by the names of their agents.
func (w *world) named(text string) string {
	for name := range w.seqs {
		text = strings.ReplaceAll(text, scenarioUID(name).String(), name)
	}
	return text
}

func (w *world) clock() string { return clock(w.now) }

func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("15:04:05")
}

func (w *world) reset(args words) string {
	w.now = scenarioStart
	w.fleet = New(Settings{
		MaxAgents:              args.int("max_agents"),
		MaxAgentsPerConnection: args.int("max_per_conn"),
		SilentAfter:            args.duration("silent_after"),
		RetireAfter:            args.duration("retire_after"),
		NewUID:                 func() opampwire.InstanceUID { return scenarioUID("given") },
		Limits: Limits{
			MaxDepth:       args.int("max_depth"),
			MaxNodes:       args.int("max_nodes"),
			MaxAttributes:  args.int("max_attributes"),
			MaxNameBytes:   args.int("max_name"),
			MaxErrorBytes:  args.int("max_error"),
			MaxConfigFiles: args.int("max_files"),
			MaxConfigBytes: args.int("max_config"),
		},
	})
	clear(w.seqs)
	w.event = 0
	w.position = w.fleet.Position()
	return "ok\n"
}

func scenarioUID(agent string) opampwire.InstanceUID {
	sum := sha256.Sum256([]byte(agent))
	return opampwire.InstanceUID(sum[:16])
}

func (w *world) nameOf(uid opampwire.InstanceUID) string {
	for name := range w.seqs {
		if scenarioUID(name) == uid {
			return name
		}
	}
	return "?"
}

func (w *world) report(agent string, fields []string) string {
	args := parseWords(fields)
	conn := Conn{ID: uint64(args.int("conn")), Transport: TransportWebSocket, RemoteAddr: "10.0.0.1:4000"}
	if args["http"] != "" {
		conn = Conn{Transport: TransportHTTP, RemoteAddr: "10.0.0.1:5000"}
	} else if conn.ID == 0 {
		conn.ID = 1
	}
	msg := w.message(agent, args, fields)
	var reply *protobufs.ServerToAgent
	changes := w.changesOf(func() { reply = w.fleet.Report(conn, msg, w.now) })
	return replyText(w.t, msg, reply) + changes
}

func (w *world) message(agent string, args words, fields []string) *protobufs.AgentToServer {
	uid := scenarioUID(agent)
	msg := &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: w.seq(agent, args)}
	if args["uid_bytes"] != "" {
		msg.InstanceUid = msg.InstanceUid[:args.int("uid_bytes")]
	}
	if args["goodbye"] != "" {
		msg.AgentDisconnect = &protobufs.AgentDisconnect{}
	}
	msg.Capabilities = scenarioCapabilities(args["caps"])
	if args["heartbeat"] != "" {
		return msg
	}
	if full := args["full"] != ""; full || args["name"] != "" {
		msg.AgentDescription = scenarioDescription(agent, args)
	}
	msg.Health = scenarioHealth(args, fields)
	if body, ok := args["config"]; ok || args["full"] != "" {
		msg.EffectiveConfig = scenarioConfig(body)
	}
	msg.AvailableComponents = scenarioComponents(args)
	if names, ok := args["custom"]; ok {
		msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: strings.Split(names, ",")}
	}
	msg.CustomMessage = scenarioMessage(w.t, args)
	return msg
}

func (w *world) seq(agent string, args words) uint64 {
	last, known := w.seqs[agent]
	n := last + 1
	if !known {
		n = 0
	}
	if s, ok := args["seq"]; ok {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		require.NoError(w.t, err)
	}
	w.seqs[agent] = n
	return n
}

func scenarioCapabilities(s string) uint64 {
	caps := protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus
	if s == "none" {
		return uint64(caps)
	}
	if s != "quiet" {
		caps |= protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat
	}
	caps |= protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig
	if s == "all" {
		caps |= protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents
	}
	return uint64(caps)
}

func textValue(s string) *protobufs.AnyValue {
	return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
}

func scenarioDescription(agent string, args words) *protobufs.AgentDescription {
	name := args["name"]
	if name == "" {
		name = agent
	}
	d := &protobufs.AgentDescription{
		IdentifyingAttributes: []*protobufs.KeyValue{{Key: "service.name", Value: textValue(name)}},
	}
	if v := args["version"]; v != "" {
		d.IdentifyingAttributes = append(d.IdentifyingAttributes,
			&protobufs.KeyValue{Key: "service.version", Value: textValue(v)})
	}
	for _, key := range slices.Sorted(maps.Keys(args)) {
		if strings.Contains(key, ".") && !strings.Contains(key, ":") {
			d.NonIdentifyingAttributes = append(d.NonIdentifyingAttributes, &protobufs.KeyValue{Key: key, Value: textValue(args[key])})
		}
	}
	if v := args["host"]; v != "" {
		d.NonIdentifyingAttributes = append(d.NonIdentifyingAttributes,
			&protobufs.KeyValue{Key: "host.name", Value: textValue(v)})
	}
	return d
}

// scenarioHealth reads status=S for the whole and, in their order, words such as
// pipeline:traces/exporter:otlp=StatusRecoverableError:refused for the parts.
func scenarioHealth(args words, fields []string) *protobufs.ComponentHealth {
	if args["full"] == "" && args["status"] == "" && !slices.ContainsFunc(fields, isNodeWord) {
		return nil
	}
	root := &protobufs.ComponentHealth{Status: args["status"]}
	if root.Status == "" {
		root.Status = statusOK
	}
	if d := args.duration("at"); d != 0 {
		root.StatusTimeUnixNano = uint64(scenarioStart.Add(d).UnixNano())
	}
	root.Healthy = root.Status == statusOK
	for _, f := range fields {
		if isNodeWord(f) {
			path, verdict, _ := strings.Cut(f, "=")
			addNode(root, strings.Split(path, "/"), verdict)
		}
	}
	return root
}

func isNodeWord(f string) bool {
	return strings.Contains(f, "=Status") && !strings.HasPrefix(f, "status=")
}

func addNode(root *protobufs.ComponentHealth, path []string, verdict string) {
	node := root
	for _, name := range path {
		if node.ComponentHealthMap == nil {
			node.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
		}
		child := node.ComponentHealthMap[name]
		if child == nil {
			child = &protobufs.ComponentHealth{Healthy: true, Status: statusOK}
			node.ComponentHealthMap[name] = child
		}
		node = child
	}
	status, text, _ := strings.Cut(verdict, ":")
	node.Status, node.LastError = status, strings.ReplaceAll(text, "_", " ")
	node.Healthy = status == statusOK
}

func scenarioConfig(body string) *protobufs.EffectiveConfig {
	if body == "" {
		body = "receivers: {}"
	}
	return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(body), ContentType: "text/yaml"}},
	}}
}

func scenarioComponents(args words) *protobufs.AvailableComponents {
	hash, list := args["hash"], args["list"]
	if hash == "" && list == "" {
		return nil
	}
	out := &protobufs.AvailableComponents{Hash: []byte(hash)}
	if list != "" {
		out.Components = map[string]*protobufs.ComponentDetails{"receivers": {
			SubComponentMap: map[string]*protobufs.ComponentDetails{list: {}},
		}}
	}
	return out
}

// replyText names what the reply says, and proves that it is for the sender and offers nothing.
func replyText(t *testing.T, msg *protobufs.AgentToServer, reply *protobufs.ServerToAgent) string {
	letter := reply.GetCustomMessage()
	reply.CustomMessage = nil // what was posted is all else that it may hold
	requireNoOffer(t, msg, reply)
	if letter != nil {
		return fmt.Sprintf("reply: message %s %s %q\n", letter.GetCapability(), letter.GetType(), letter.GetData())
	}
	if e := reply.GetErrorResponse(); e != nil {
		retry := ""
		if e.GetRetryInfo() != nil {
			retry = " retry in 30s..60s"
		}
		return fmt.Sprintf("reply: %s %q%s\n", e.GetType(), e.GetErrorMessage(), retry)
	}
	var flags []string
	for _, f := range []protobufs.ServerToAgentFlags{
		protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState,
		protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents,
	} {
		if reply.GetFlags()&uint64(f) != 0 {
			flags = append(flags, strings.TrimPrefix(f.String(), "ServerToAgentFlags_"))
		}
	}
	if id := reply.GetAgentIdentification(); id != nil {
		require.Len(t, id.GetNewInstanceUid(), 16)
		flags = append(flags, "another instance UID")
	}
	if flags == nil {
		return "reply: ok\n"
	}
	return "reply: " + strings.Join(flags, ", ") + "\n"
}

func requireNoOffer(t testing.TB, msg *protobufs.AgentToServer, reply *protobufs.ServerToAgent) {
	t.Helper()
	require.NotNil(t, reply)
	require.True(t, bytes.Equal(msg.GetInstanceUid(), reply.GetInstanceUid()))
	require.Nil(t, reply.GetRemoteConfig())
	require.Nil(t, reply.GetConnectionSettings())
	require.Nil(t, reply.GetPackagesAvailable())
	require.Nil(t, reply.GetCommand())
	require.Nil(t, reply.GetCustomCapabilities())
	require.Nil(t, reply.GetCustomMessage())
	if e := reply.GetErrorResponse(); e != nil {
		require.Zero(t, reply.GetFlags())
		require.Zero(t, reply.GetCapabilities())
		if r := e.GetRetryInfo(); r != nil {
			require.GreaterOrEqual(t, r.GetRetryAfterNanoseconds(), uint64(30*time.Second))
			require.Less(t, r.GetRetryAfterNanoseconds(), uint64(60*time.Second))
		}
		return
	}
	require.Equal(t, uint64(1|4), reply.GetCapabilities())
	require.Zero(t, reply.GetFlags()&^3)
}

// changesOf does something and prints who changed by it.
func (w *world) changesOf(do func()) string {
	before := w.fleet.Position()
	do()
	return w.deltaText(w.fleet.Since(before))
}

func (w *world) deltaText(d Delta) string {
	var out strings.Builder
	if d.Reset {
		out.WriteString("reset\n")
	}
	var removed []string
	for _, uid := range d.Removed {
		removed = append(removed, w.nameOf(uid))
	}
	slices.Sort(removed)
	for _, name := range removed {
		fmt.Fprintf(&out, "%s removed\n", name)
	}
	slices.SortFunc(d.Agents, func(a, b *Agent) int { return strings.Compare(w.nameOf(a.UID), w.nameOf(b.UID)) })
	for _, a := range d.Agents {
		fmt.Fprintf(&out, "%s\n", w.line(a))
	}
	return out.String()
}

func (w *world) line(a *Agent) string {
	s := fmt.Sprintf("%s %s since %s, %s", w.nameOf(a.UID), a.Liveness, clock(a.LivenessSince), a.Condition())
	for _, p := range a.Problems {
		s += fmt.Sprintf("; %s %s %q since %s", strings.Join(p.Path, "/"), p.Status, p.Error, clock(p.Since))
	}
	return s
}

func (w *world) show(agent string) string {
	a, ok := w.fleet.Agent(scenarioUID(agent))
	if !ok {
		return "unknown\n"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", w.line(a))
	fmt.Fprintf(&out, "first seen %s, last seen %s, seq %d, %s\n",
		clock(a.FirstSeen), clock(a.LastSeen), a.Seq, a.Transport)
	fmt.Fprintf(&out, "capabilities %s\n", strings.Join(a.Capabilities.Names(), " "))
	if a.Description != nil {
		fmt.Fprintf(&out, "name %q version %q host %q\n", a.ServiceName(), a.ServiceVersion(), a.HostName())
	}
	if a.Health != nil {
		showHealth(&out, a.Health, "  ")
	}
	if a.Config != nil {
		for _, f := range a.Config.Files {
			fmt.Fprintf(&out, "config %q %s %q truncated=%t\n", f.Name, f.ContentType, f.Body, f.Truncated)
		}
	}
	if c := a.Components; c != nil {
		fmt.Fprintf(&out, "components hash %q listed=%t:", c.Hash, c.Listed)
		showComponents(&out, c.List)
		out.WriteString("\n")
	}
	return out.String()
}

func showHealth(out *strings.Builder, h *Health, indent string) {
	name := h.Name
	if name == "" {
		name = "health"
	}
	fmt.Fprintf(out, "%s%s healthy=%t %s since %s", indent, name, h.Healthy, h.Status, clock(h.Since))
	if h.LastError != "" {
		fmt.Fprintf(out, " %q", h.LastError)
	}
	if h.Omitted > 0 {
		fmt.Fprintf(out, " omitted=%d", h.Omitted)
	}
	out.WriteString("\n")
	for _, c := range h.Children {
		showHealth(out, c, indent+"  ")
	}
}

func showComponents(out *strings.Builder, list []*Component) {
	for _, c := range list {
		out.WriteString(" " + c.Name)
		if len(c.Children) > 0 {
			out.WriteString("(")
			showComponents(out, c.Children)
			out.WriteString(" )")
		}
	}
}

func (w *world) since() string {
	d := w.fleet.Since(w.position)
	w.position = d.Position
	if d.Empty() {
		return "nothing\n"
	}
	return w.deltaText(d)
}

func (w *world) stats() string {
	s := w.fleet.Stats()
	for k, n := range s.Agents {
		if n == 0 {
			delete(s.Agents, k)
		}
	}
	for k, n := range s.Conditions {
		if n == 0 {
			delete(s.Conditions, k)
		}
	}
	return fmt.Sprintf("agents %v, conditions %v\nduplicates %d, foreign goodbyes %d, evicted %d, refused %v, cuts %v\n"+
		"asked for full state %d, for components %d\n",
		s.Agents, s.Conditions, s.Duplicates, s.ForeignGoodbyes, s.Evicted, s.Refused, s.Cuts,
		s.FullStateRequests, s.ComponentsRequests)
}
