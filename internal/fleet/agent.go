// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Agent is what is known of one agent at one moment. It is immutable: a report makes a new one, which shares with
// the old one the parts that did not change.
type Agent struct {
	UID opampwire.InstanceUID
	// Version is the fleet's version at the last visible change of this agent. A heartbeat that changes nothing
	// leaves it alone.
	Version uint64

	FirstSeen time.Time
	LastSeen  time.Time // the last message of any kind
	Seq       uint64    // sequence_num of the last message

	Liveness      Liveness
	LivenessSince time.Time
	Lineage
	Transport  string // "websocket" or "http"
	RemoteAddr string

	Capabilities Capabilities
	// CustomCapabilities is sorted.
	CustomCapabilities []string

	// The parts of a report. nil means never reported.
	Description *Description
	Health      *Health
	Config      *Config
	Components  *Components

	// Channels are what it and this server said by custom messages, sorted by capability. Messages that come faster
	// than once a second change Version once a second.
	Channels []*Channel
	// Mail waits for the agent's next polls, the oldest first.
	Mail []*Letter
	// Ingests are the replays that it told of.
	Ingests []*Ingest
	// Gateways are what it told of the gateways that run in it, sorted by their names.
	Gateways []*Gateway

	// Dropped are parts that were reported and of which at most the gist was kept, because all agents together hold as
	// much as they may.
	Dropped Parts

	// Problems is what Health says is wrong, the worst first.
	Problems []Problem

	said   uint64 // changes of Channels, Mail, Ingests and Gateways
	own    int64  // bytes of what it shares with no other agent
	talk   talk
	masks  masks
	search string // lower-cased text that [Agent.Mentions] looks into
}

// talk is where the conversation with an agent stands. It is never shown.
type talk struct {
	speaker  speaker // who spoke last
	previous speaker // who spoke before that, on another connection

	synced    bool // nothing is missing of what the agent can tell
	asked     bool // everything was asked for since synced was lost
	askedBy   speaker
	askedAt   time.Time
	wantsList []byte // the components hash whose list was asked for
	listBy    speaker
	listAt    time.Time

	rhythm rhythm
	twins  twins
}

// speaker tells connections apart. HTTP exchanges are all alike, for they have no connection that could be lost.
type speaker struct {
	transport string
	id        uint64
}

// TransportWebSocket and TransportHTTP are the values of [Conn.Transport].
const (
	TransportWebSocket = "websocket"
	TransportHTTP      = "http"
)

// Conn is where a message came from.
type Conn struct {
	ID         uint64 // tells WebSockets apart; not looked at for HTTP
	Transport  string
	RemoteAddr string
}

func (c Conn) speaker() speaker {
	if c.Transport == TransportHTTP {
		return speaker{transport: TransportHTTP}
	}
	return speaker{transport: c.Transport, id: c.ID}
}

// Liveness is how present an agent is, and how it went.
type Liveness string

const (
	LivenessConnected Liveness = "connected" // it speaks
	LivenessGoodbye   Liveness = "goodbye"   // it said that it leaves
	LivenessLost      Liveness = "lost"      // its connection broke without a word
	LivenessSilent    Liveness = "silent"    // it said nothing for longer than SilentAfter
	LivenessUnknown   Liveness = "unknown"   // known from before, not heard yet
)

// Livenesses lists every liveness in the order in which people are told of them.
func Livenesses() []Liveness {
	return []Liveness{LivenessConnected, LivenessLost, LivenessSilent, LivenessGoodbye, LivenessUnknown}
}

// Present reports whether the agent counts as there.
func (a *Agent) Present() bool { return a.Liveness == LivenessConnected }

// ServiceName is the service.name that the agent told, empty where it told none.
func (a *Agent) ServiceName() string { return a.Description.attribute("service.name") }

// ServiceVersion is the service.version that the agent told, empty where it told none.
func (a *Agent) ServiceVersion() string { return a.Description.attribute("service.version") }

// HostName is the host.name that the agent told, empty where it told none.
func (a *Agent) HostName() string { return a.Description.attribute("host.name") }

// Since is when the agent came into its present condition, as well as that is known.
func (a *Agent) Since() time.Time {
	switch {
	case !a.Present() || a.Health == nil:
		return a.LivenessSince
	case len(a.Problems) > 0:
		return a.Problems[0].Since
	default:
		return a.Health.Since
	}
}

// Mentions reports whether a word, in small letters, is in its name, version, host, instance UID, attributes
// ("key=value"), failing components or their errors.
func (a *Agent) Mentions(word string) bool { return strings.Contains(a.search, word) }
