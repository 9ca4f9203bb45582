// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"maps"
	"time"

	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Stats is what a Gateway has counted since it was made. What is not said to be of now
// only grows.
type Stats struct {
	Agents      int64 // now, those in their grace included
	Connections int64 // downstream WebSockets, now
	Polling     int64 // agents over plain HTTP, now
	Upstreams   []Upstream

	MessagesUp, MessagesDown int64
	BytesUp, BytesDown       int64

	Drops        map[Reason]int64             // every Reason is there
	Refused      map[opampserver.Reason]int64 // every one of opampserver's is there
	TurnedAway   int64                        // agents that came while there was no connection to the server
	Looped       int64                        // gateways that were refused, because this one is behind them
	Unanswered   int64                        // exchanges over plain HTTP that ended without the server's answer
	Duplicates   map[Duplicates]uint64        // times that two connections spoke for one UID, by policy
	Stripped     int64                        // offers of another destination that lost it
	Rewritten    int64                        // offers of another destination that got the gateway's own
	ServerErrors int64                        // error responses that were forwarded
	Unannounced  int                          // agents that the server has to hear of, now
	Announced    uint64                       // agents told to the server again after a loss
	Goodbyes     uint64                       // said for agents that said none
	Returned     uint64                       // agents that came back within their grace
	Renamed      uint64                       // agents that took a UID which the server gave them
	Moved        uint64                       // agents whose messages take another upstream while the old one lives
}

// Upstream is one connection to the server, now.
type Upstream struct {
	Name        string
	Endpoint    string // without query
	Connected   bool
	Idle        bool // not connected, because no agent needs it
	Agents      int
	QueuedBytes int
	AnswerTime  time.Duration // how long the server takes to answer, smoothed
}

// Stats returns the counts so far. Safe for concurrent use; meant for a metrics reader.
func (g *Gateway) Stats() Stats {
	agents, perLane, counts := g.router.snapshot()
	downstream := g.server.Stats()
	g.mu.Lock()
	polling := len(g.boxes)
	g.mu.Unlock()
	return Stats{
		Agents: int64(agents), Connections: downstream.Connections, Polling: int64(polling),
		Upstreams:  g.upstreams(perLane),
		MessagesUp: g.up.messages.Load(), MessagesDown: g.down.messages.Load(),
		BytesUp: g.up.bytes.Load(), BytesDown: g.down.bytes.Load(),
		Drops: g.drop.counts(), Refused: downstream.Rejected,
		TurnedAway: g.turnedAway.Load(), Looped: g.kin.denied.Counts()[loopDenied], Unanswered: g.unanswered.Load(),
		Duplicates: counts.duplicates, Stripped: g.offers[0].Load(), Rewritten: g.offers[1].Load(),
		ServerErrors: g.serverErrors.Load(), Unannounced: counts.waiting,
		Announced: counts.announced, Goodbyes: counts.goodbyes, Returned: counts.returned,
		Renamed: counts.renamed, Moved: counts.moved,
	}
}

func (g *Gateway) upstreams(perLane map[*lane]int) []Upstream {
	endpoint := printable(g.pool.endpoint().URL)
	slots := g.pool.all()
	ups := make([]Upstream, 0, len(slots))
	for _, s := range slots {
		u := Upstream{Name: s.name, Endpoint: endpoint, Agents: perLane[s.lane], AnswerTime: time.Duration(s.wait.Load())}
		if l := s.current.Load(); l != nil {
			u.Connected, u.QueuedBytes = true, l.waiting()
		} else {
			u.Idle = !s.settling.Load() && g.router.resting(s.lane)
		}
		ups = append(ups, u)
	}
	return ups
}

// waiting is how many bytes wait to be written.
func (l *link) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buf)
}

// Status is the same as a gateway tells it to a server, under its component's name.
func (g *Gateway) Status(name string, now time.Time) *gatewaystatus.Status {
	stats := g.Stats()
	s := &gatewaystatus.Status{
		Gateway: name, Name: g.kin.name, Over: g.kin.over(), Updated: now.UnixNano(), Started: g.made.UnixNano(),
		Agents: int(stats.Agents), Connections: int(stats.Connections), Polling: int(stats.Polling),
		MessagesUp: uint64(stats.MessagesUp), MessagesDown: uint64(stats.MessagesDown),
		BytesUp: uint64(stats.BytesUp), BytesDown: uint64(stats.BytesDown),
		Drops: make(map[string]uint64), Refused: make(map[string]uint64),
		Announced: stats.Announced, Goodbyes: stats.Goodbyes,
	}
	for _, u := range stats.Upstreams {
		s.Upstreams = append(s.Upstreams, gatewaystatus.Upstream{
			Name: u.Name, Endpoint: u.Endpoint, Connected: u.Connected, Idle: u.Idle, Agents: u.Agents,
			QueuedBytes: u.QueuedBytes, AnswerTime: u.AnswerTime.Seconds(),
		})
	}
	for reason, n := range stats.Drops {
		if n > 0 {
			s.Drops[string(reason)] = uint64(n)
		}
	}
	for reason, n := range stats.Refused {
		if n > 0 {
			s.Refused[string(reason)] = uint64(n)
		}
	}
	for reason, n := range map[string]int64{string(ReasonNoUpstream): stats.TurnedAway, loopDenied: stats.Looped} {
		if n > 0 {
			s.Refused[reason] = uint64(n)
		}
	}
	for n := range maps.Values(stats.Duplicates) {
		s.Duplicates += n
	}
	return s
}

// Agents are the instance UIDs of the agents that are here, and a number that is another
// one whenever they may be others.
func (g *Gateway) Agents() ([]opampwire.InstanceUID, uint64) { return g.router.list() }
