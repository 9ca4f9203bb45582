// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plantedfleet

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// What is planted: how many collectors, and how many of each trouble.
const (
	Agents = 200

	Refused   = 12 // edge agents in prod-us whose exporter finds nobody: one problem, each with another address
	Forbidden = 4  // log shippers that may not read a file
	Expired   = 2  // gateways whose certificate ran out: permanent
	Starting  = 3
	Drifted   = 5 // edge agents with another config than the rest
	Secrets   = 2 // edge agents that told a token in the clear
	Older     = 26
	Oldest    = 3 // of Older, those of version 0.131.0
	Lost      = 4
	Silent    = 3
	Goodbyes  = 5
	Mute      = 2 // tell no health

	NewVersion  = "0.155.0"
	OldVersion  = "0.149.0"
	LastVersion = "0.131.0"

	// SharedHost runs two collectors.
	SharedHost = "node-007"
	// Secret is in a config and must be nowhere.
	Secret = "canary-0f3b9a7c41"
)

// SilentAfter is how long an agent may say nothing in a fleet that Play is for.
const SilentAfter = 90 * time.Second

type agent struct {
	UID     opampwire.InstanceUID
	kind    *kind
	host    string
	address string
	cluster string
	version string
	drifted bool
	secret  bool
	bare    bool // tells nothing but that it is there
	mute    bool

	failing, status, text string // a component, its status and its error
	since                 time.Duration
	polls                 bool
	fate                  string // "lost", "silent", "goodbye"
}

// UID of the nth collector.
func UID(n int) opampwire.InstanceUID {
	return opampwire.InstanceUID{0x01, 0x9a, 0x70, 0, 0x40, 0, 0x70, 0, 0x80, 0, 14: byte(n >> 8), 15: byte(n)}
}

// list makes the collectors. Nothing in it is by chance.
func list() []*agent {
	out := make([]*agent, Agents)
	for n := range out {
		a := &agent{
			UID: UID(n + 1), version: NewVersion, host: fmt.Sprintf("node-%03d", n), address: fmt.Sprintf("10.4.%d.%d", n/50, 10+n%50),
			cluster: []string{"prod-eu", "prod-us", "staging"}[n%10/4], polls: n%9 == 0, since: time.Duration(20+n) * time.Hour,
		}
		switch {
		case n < 140:
			a.kind = kinds["edge-agent"]
		case n < 164:
			a.kind = kinds["gateway"]
		case n < 184:
			a.kind = kinds["logs-shipper"]
		default:
			a.kind = kinds["scraper"]
		}
		out[n] = a
	}
	plant(out)
	return out
}

func plant(all []*agent) {
	for i := range Refused {
		all[4+i].cluster = "prod-us"
		all[4+i].fails("exporter:otlphttp", "StatusRecoverableError", fmt.Sprintf(
			`failed to make an HTTP request: Post "https://otlp.example.com/v1/metrics": dial tcp 10.9.%d.%d:443: connect: connection refused`,
			i, 20+i), time.Duration(14+i)*time.Minute)
	}
	for i := range Forbidden {
		all[166+i].fails("receiver:filelog", "StatusRecoverableError",
			fmt.Sprintf("open /var/log/app/service-%d.log: permission denied", 100+i), 26*time.Hour)
	}
	for i := range Expired {
		all[150+i].fails("exporter:otlp/backend", "StatusPermanentError",
			"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-25T02:14:07Z is after 2026-11-24T23:59:59Z",
			2*time.Hour)
	}
	for i := range Starting {
		a := all[190+i]
		a.failing, a.status, a.since = "receiver:prometheus", "StatusStarting", time.Duration(8+i)*time.Second
	}
	for i := range Drifted {
		all[60+i].drifted = true
	}
	for i := range Secrets {
		all[70+i].secret = true
	}
	for i := range Older {
		all[100+i].version = OldVersion
		if i < Oldest {
			all[100+i].version = LastVersion
		}
	}
	for i := range Lost {
		all[30+i].fate, all[30+i].polls = "lost", false
	}
	for i := range Silent {
		all[40+i].fate, all[40+i].polls = "silent", true
	}
	for i := range Goodbyes {
		all[50+i].fate = "goodbye"
	}
	for i := range Mute {
		all[196+i].mute = true
	}
	all[flapping].polls = false
	all[199].bare, all[199].mute = true, true
	all[8].host = SharedHost // all[7] is there, too
}

func (a *agent) fails(component, status, text string, since time.Duration) {
	a.failing, a.status, a.text, a.since = component, status, text, since
}

// Play has the fleet hear of all collectors as of now. The fleet's SilentAfter is to be [SilentAfter].
func Play(f *fleet.Fleet, now time.Time) { PlaySlowly(f, now, func() {}) }

// PlaySlowly is Play with a pause before somebody gets another config, in which who keeps the fleet may write the old
// one down: what lasts for less than it takes to write is not kept.
func PlaySlowly(f *fleet.Fleet, now time.Time, pause func()) {
	all := list()
	past(f, all, now, pause)
	flap(f, all[flapping], now)
	for n, a := range all {
		if a.fate == "silent" { // a fleet hears in the order of time
			at := now.Add(-SilentAfter - time.Minute)
			f.Report(a.conn(n), a.report(at), at)
		}
	}
	for n, a := range all {
		if at := now.Add(-time.Second); a.fate != "silent" && n != flapping {
			f.Report(a.conn(n), a.report(at), at)
		}
	}
	last := all[flapping].conn(flapping)
	last.ID = flapConn + 5
	f.Report(last, &protobufs.AgentToServer{InstanceUid: all[flapping].UID.Bytes(), SequenceNum: 1}, now)
	for n, a := range all {
		switch a.fate {
		case "lost":
			f.Disconnected(a.conn(n), now.Add(-time.Duration(3+n)*time.Minute))
		case "goodbye":
			f.Report(a.conn(n), &protobufs.AgentToServer{
				InstanceUid: a.UID.Bytes(), SequenceNum: 1, AgentDisconnect: &protobufs.AgentDisconnect{},
			}, now)
		}
	}
	duplicate(f, all[80], now)
	f.Tick(now)
}

// Heal has the nth collector, counted from 1, report that all is well with it.
func Heal(f *fleet.Fleet, n int, now time.Time) {
	a := list()[n-1]
	a.failing = ""
	m := a.report(now)
	m.SequenceNum = 1
	f.Report(a.conn(n-1), m, now)
}

// duplicate has a second collector speak for the instance UID of a, in turns.
func duplicate(f *fleet.Fleet, a *agent, now time.Time) {
	other := fleet.Conn{ID: 9001, Transport: fleet.TransportWebSocket, RemoteAddr: "10.4.9.9:40000"}
	first := a.conn(80)
	for i := range 4 {
		at := now.Add(time.Duration(i-8) * 100 * time.Millisecond)
		f.Report(other, &protobufs.AgentToServer{InstanceUid: a.UID.Bytes(), SequenceNum: uint64(5 + i)}, at)
		f.Report(first, &protobufs.AgentToServer{InstanceUid: a.UID.Bytes(), SequenceNum: uint64(50 + i)}, at)
	}
}

// flapping is who comes and goes.
const (
	flapping = 81
	flapConn = 5000 // of its connections
)

// flap has a come and go; Play has it stay in the end.
func flap(f *fleet.Fleet, a *agent, now time.Time) {
	c := a.conn(flapping)
	for i := range 6 {
		at := now.Add(time.Duration(i-30) * 10 * time.Second)
		c.ID = flapConn + uint64(i)
		m := a.report(at)
		m.Health.StartTimeUnixNano = uint64(at.Add(-time.Second).UnixNano())
		f.Report(c, m, at)
		if i < 5 {
			f.Disconnected(c, at.Add(5*time.Second))
		}
	}
}

func (a *agent) conn(n int) fleet.Conn {
	c := fleet.Conn{ID: uint64(n + 1), Transport: fleet.TransportWebSocket, RemoteAddr: a.address + ":40000"}
	if a.polls {
		c.Transport = fleet.TransportHTTP
	}
	return c
}

func (a *agent) report(now time.Time) *protobufs.AgentToServer {
	if a.bare {
		return &protobufs.AgentToServer{InstanceUid: a.UID.Bytes(), Capabilities: 1}
	}
	body := a.kind.config(a)
	m := &protobufs.AgentToServer{
		InstanceUid:  a.UID.Bytes(),
		Capabilities: 1 | 4 | 0x800 | 0x2000 | 0x4000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes: pairs("service.name", a.kind.name, "service.version", a.version, "service.instance.id", a.UID.String()),
			NonIdentifyingAttributes: pairs("host.name", a.host, "os.type", "linux", "host.arch", "amd64",
				"k8s.cluster.name", a.cluster, "k8s.node.name", a.host, "deployment.environment.name", strings.Split(a.cluster, "-")[0]),
		},
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(body), ContentType: "text/yaml"}},
		}},
		AvailableComponents: components(),
	}
	if !a.mute {
		m.Health = a.health(now)
	}
	return m
}

func (a *agent) health(now time.Time) *protobufs.ComponentHealth {
	calm, since := now.Add(-time.Duration(30+int(a.UID[15]))*time.Hour), now.Add(-a.since)
	part := func(status, text string, at time.Time) *protobufs.ComponentHealth {
		return &protobufs.ComponentHealth{
			Healthy: status == "StatusOK", Status: status, LastError: text, StatusTimeUnixNano: uint64(at.UnixNano()),
			ComponentHealthMap: map[string]*protobufs.ComponentHealth{},
		}
	}
	root := part("StatusOK", "", calm)
	root.StartTimeUnixNano = uint64(calm.Add(-2 * time.Second).UnixNano())
	for _, p := range a.kind.pipelines {
		lane := part("StatusOK", "", calm)
		for _, c := range p.components {
			lane.ComponentHealthMap[c] = part("StatusOK", "", calm)
			if c == a.failing {
				lane.ComponentHealthMap[c] = part(a.status, a.text, since)
				lane.Healthy, lane.Status, lane.StatusTimeUnixNano = false, a.status, uint64(since.UnixNano())
				root.Healthy, root.Status, root.StatusTimeUnixNano = false, a.status, uint64(since.UnixNano())
			}
		}
		root.ComponentHealthMap["pipeline:"+p.name] = lane
	}
	extensions := part("StatusOK", "", calm)
	extensions.ComponentHealthMap["extension:opamp"] = part("StatusOK", "", calm)
	root.ComponentHealthMap["extensions"] = extensions
	return root
}

// built is what every one of them is built of.
var built = map[string][]string{
	"receivers":  {"filelog", "hostmetrics", "journald", "kubeletstats", "otlp", "prometheus", "zipkin"},
	"processors": {"attributes", "batch", "filter", "memory_limiter", "resource", "tail_sampling", "transform"},
	"exporters":  {"debug", "file", "loki", "otlp", "otlphttp", "prometheusremotewrite"},
	"connectors": {"count", "forward", "spanmetrics"},
	"extensions": {"file_storage", "health_check", "opamp", "pprof", "zpages"},
}

func components() *protobufs.AvailableComponents {
	out := &protobufs.AvailableComponents{Components: map[string]*protobufs.ComponentDetails{}}
	for kind, names := range built {
		details := &protobufs.ComponentDetails{SubComponentMap: map[string]*protobufs.ComponentDetails{}}
		for _, name := range names {
			module := "github.com/open-telemetry/opentelemetry-collector-contrib/" + strings.TrimSuffix(kind, "s") + "/" + name + " v" + NewVersion
			details.SubComponentMap[name] = &protobufs.ComponentDetails{Metadata: pairs("code.namespace", module)}
		}
		out.Components[kind] = details
	}
	hash := sha256.Sum256([]byte(fmt.Sprint(built)))
	out.Hash = hash[:]
	return out
}

func pairs(list ...string) (out []*protobufs.KeyValue) {
	for i := 0; i < len(list); i += 2 {
		out = append(out, &protobufs.KeyValue{Key: list[i], Value: &protobufs.AnyValue{
			Value: &protobufs.AnyValue_StringValue{StringValue: list[i+1]},
		}})
	}
	return out
}

// Crowd has n more collectors report, as those of Play but for who they are and where, and none of them gone.
func Crowd(f *fleet.Fleet, now time.Time, n int) {
	all := list()
	for i := range n {
		a := *all[i%Agents]
		a.UID[10], a.UID[11], a.UID[12], a.UID[13] = 1, byte(i>>16), byte(i>>8), byte(i)
		a.host = fmt.Sprintf("crowd-%06d", i)
		f.Report(a.conn(10_000+i), a.report(now), now)
	}
}
