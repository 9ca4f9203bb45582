// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Load is how much a server does and may do. A limit of 0 is none.
type Load struct {
	Version string    // of the program
	Started time.Time // zero if it is not told

	Connections, MaxConnections int64 // WebSockets
	UnsentBytes                 int64 // of messages that wait to be written
	MaxAgents                   int
	MaxAgentsPerConnection      int
	MaxMessageSize              int64
	MaxMemory                   int64 // of all that agents report
	SilentAfter                 time.Duration
	Streams, MaxStreams         int // event streams of pages and programs

	Database Database

	Traffic  []Traffic
	Rejected map[string]int64 // requests and messages, by reason
}

// Database is where the fleet is kept over restarts. Without a Path it is nowhere.
type Database struct {
	Path          string
	Problem       string    // why it can't be written now, and what to do; empty while it can
	Since         time.Time // when that began
	Bytes, Limit  int64     // on disk
	Lost, Trimmed uint64    // events that were lost while it could not be written, and that made room before their time
}

// Traffic is what went one way over one transport since the start.
type Traffic struct {
	Transport, Way  string // "WebSocket", "received"
	Messages, Bytes int64
}

// serverPage is the body of the page of the server itself.
type serverPage struct {
	Facts    []fact
	Database databaseCard
	Gauges   []gauge
	Traffic  []trafficRow
	Counts   []countTable
	Endpoint string
}

// databaseCard is how the fleet is kept.
type databaseCard struct {
	Look, Word string
	Since      moment // when it began to fail
	Problem    string
	Facts      []fact
}

// gauge is a load and its limit.
type gauge struct {
	ID, Name, Value string
	Limit           string // empty for none
	Key             string // the key of the configuration that sets it
	Look            string
	Width           int // of 100
	Percent         int
}

type trafficRow struct {
	Transport, Way  string
	Messages, Bytes string
}

type countTable struct {
	Title, Help string
	Rows        []countRow
	Empty       string
	Good        bool // that there is nothing
}

type countRow struct {
	Name, Count string
	Zero        bool
}

// serverEvery is how often the page of the server follows, in seconds: its figures change with every heartbeat.
const serverEvery = 5

func (u *UI) server(w http.ResponseWriter, r *http.Request) {
	u.render(w, r, http.StatusOK, "server.html", page{Title: "Server", Here: "/server", Every: serverEvery, Body: u.newServerPage()})
}

func (u *UI) newServerPage() serverPage {
	var load Load
	if u.settings.Load != nil {
		load = u.settings.Load()
	}
	stats := u.fleet.Stats()
	agents := 0
	for _, n := range stats.Agents {
		agents += n
	}
	out := serverPage{Endpoint: u.settings.OpAMPEndpoint}
	out.Facts = u.serverFacts(load)
	out.Database = u.newDatabaseCard(load.Database)
	out.Gauges = []gauge{
		newGauge("agents", "Collectors known", "limits.max_agents", int64(agents), int64(load.MaxAgents), countText),
		newGauge("memory", "Memory of what they report", "limits.max_memory", stats.Memory, load.MaxMemory, bytesOf),
		newGauge("connections", "WebSockets", "limits.max_connections", load.Connections, load.MaxConnections, countText),
		newGauge("unsent", "Waits to be written", "", load.UnsentBytes, 0, bytesOf),
		newGauge("streams", "Event streams of pages and programs", "", int64(load.Streams), int64(load.MaxStreams), countText),
	}
	for _, t := range load.Traffic {
		out.Traffic = append(out.Traffic, trafficRow{
			Transport: t.Transport, Way: t.Way, Messages: countText(t.Messages), Bytes: bytesOf(t.Bytes),
		})
	}
	out.Counts = serverCounts(load, stats)
	return out
}

func countText(n int64) string { return thousands(uint64(max(n, 0))) }
func bytesOf(n int64) string   { return byteSize(float64(n)) }

// Shares of a limit at which a gauge warns, in percent.
const (
	nearLimit = 80
	atLimit   = 95
)

func newGauge(id, name, key string, value, limit int64, text func(int64) string) gauge {
	out := gauge{ID: "gauge-" + id, Name: name, Value: text(value), Key: key, Look: "ok"}
	if limit <= 0 {
		return out
	}
	out.Limit = text(limit)
	out.Percent = int(100 * float64(value) / float64(limit))
	out.Width = min(out.Percent, 100)
	switch {
	case out.Percent >= atLimit:
		out.Look = "bad"
	case out.Percent >= nearLimit:
		out.Look = "warn"
	}
	return out
}

func (u *UI) serverFacts(load Load) []fact {
	out := []fact{
		{Name: "Version", Word: clean(load.Version)},
		{Name: "Started", When: ago(load.Started, u.now())},
		{Name: "Collectors report to", Word: clean(u.settings.OpAMPEndpoint)},
	}
	if load.SilentAfter > 0 {
		out = append(out, fact{Name: "Silent after", Word: load.SilentAfter.String(), Help: "silent_after"})
	}
	if load.MaxMessageSize > 0 {
		out = append(out, fact{Name: "Largest message", Word: bytesOf(load.MaxMessageSize), Help: "limits.max_message_size"})
	}
	if load.MaxAgentsPerConnection > 0 {
		out = append(out, fact{
			Name: "Collectors a connection", Word: "up to " + countText(int64(load.MaxAgentsPerConnection)), Help: "limits.max_agents_per_connection",
		})
	}
	return slices.DeleteFunc(out, func(f fact) bool { return f.Word == "" && f.When.Machine == "" })
}

func (u *UI) newDatabaseCard(d Database) databaseCard {
	if d.Path == "" {
		return databaseCard{Look: "ok", Word: "Everything is in memory and goes with this process. database.path keeps it over restarts."}
	}
	out := databaseCard{Look: "ok", Word: "What happens is written."}
	if d.Problem != "" {
		out.Look, out.Problem, out.Since = "bad", clean(d.Problem), ago(d.Since, u.now())
		out.Word = "What happens is not written, and would go with this process. Collectors are served from memory, and it is tried again."
	}
	size := bytesOf(d.Bytes)
	if d.Limit > 0 {
		size += " of " + bytesOf(d.Limit)
	}
	out.Facts = []fact{{Name: "File", Word: clean(d.Path), Help: "database.path"}, {Name: "Size", Word: size, Help: "database.max_size"}}
	if d.Lost > 0 {
		out.Facts = append(out.Facts, fact{Name: "Lost", Word: thousands(d.Lost) + " events, for which memory had no room"})
	}
	if d.Trimmed > 0 {
		out.Facts = append(out.Facts, fact{Name: "Deleted early", Word: thousands(d.Trimmed) + " rows, to make room"})
	}
	return out
}

func serverCounts(load Load, s fleet.Stats) []countTable {
	return []countTable{
		{
			Title: "Refused", Help: "Requests and messages of agents that were not taken, by reason.",
			Empty: "Nothing was refused since the start.", Rows: countRows(load.Rejected, s.Refused), Good: true,
		},
		{
			Title: "Cut", Help: "Reports of which something was left out, for a limit.",
			Empty: "Nothing was cut since the start.", Rows: countRows(nil, s.Cuts), Good: true,
		},
		{
			Title: "Custom messages", Help: "What became of them, both ways.",
			Empty: "There were none since the start.", Rows: countRows(nil, s.Messages),
		},
		{
			Title: "Identity and state", Help: "What happened between collectors and this server since the start.",
			Rows: []countRow{
				newCountRow("Two connections spoke for one instance UID", s.Duplicates),
				newCountRow("Goodbyes for somebody else, not believed", s.ForeignGoodbyes),
				newCountRow("Collectors forgotten to make room", s.Evicted),
				newCountRow("Asked for their full state", s.FullStateRequests),
				newCountRow("Asked for their list of components", s.ComponentsRequests),
			},
		},
	}
}

func newCountRow(name string, n uint64) countRow {
	return countRow{Name: name, Count: thousands(n), Zero: n == 0}
}

// countRows lists what happened at all, by name.
func countRows[K ~string](first map[string]int64, second map[K]uint64) (out []countRow) {
	all := map[string]uint64{}
	for k, n := range first {
		all[k] += uint64(max(n, 0))
	}
	for k, n := range second {
		all[string(k)] += n
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if all[k] > 0 {
			out = append(out, newCountRow(clean(strings.ReplaceAll(k, "_", " ")), all[k]))
		}
	}
	return out
}
