// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Duplicates is what becomes of a second connection that speaks for an instance UID.
type Duplicates string

// Policies. With each of them the first one keeps the UID while it lives.
const (
	// DuplicatesReplace gives the UID to the newcomer if the other shows no sign of life
	// for Settings.Silence, and refuses the newcomer otherwise.
	DuplicatesReplace Duplicates = "replace"
	// DuplicatesRefuse refuses the newcomer at once.
	DuplicatesRefuse Duplicates = "refuse"
	// DuplicatesReidentify gives the newcomer another UID.
	DuplicatesReidentify Duplicates = "reidentify"
)

// AllDuplicates lists every policy there is.
func AllDuplicates() []Duplicates {
	return []Duplicates{DuplicatesReplace, DuplicatesRefuse, DuplicatesReidentify}
}

// Offers is what becomes of a server's offer of another OpAMP destination.
type Offers string

// Policies.
const (
	OffersStrip   Offers = "strip"   // the destination is taken out: it would lead round the gateway
	OffersForward Offers = "forward" // as it is
	OffersRewrite Offers = "rewrite" // Settings.OwnEndpoint stands in its place
)

// Multiplexing is how agents share connections to the server.
type Multiplexing string

// Modes.
const (
	MultiplexShared   Multiplexing = "shared"    // many agents on each
	MultiplexPerAgent Multiplexing = "per_agent" // one each, for servers that take a connection for an agent
)

// Endpoint is one address of the server, and the way there.
type Endpoint struct {
	// URL is of scheme ws, wss, http or https; all endpoints of a gateway are of one kind.
	URL *url.URL
	// Client sends the handshakes and requests. Its redirect policy is not used.
	Client *http.Client
}

// Settings say where the server is and bound what the gateway takes on. A zero field means
// its default. They are fixed for the life of a [Gateway].
type Settings struct {
	Logger   *zap.Logger // nil: no log
	Observer Observer    // nil: nobody

	// Endpoints are addresses of one server, in the order in which they are tried. All
	// connections go to one of them, until it cannot be reached.
	Endpoints []Endpoint
	// Header is added to each handshake and request to the server.
	Header http.Header
	// ForwardHeaders names headers of an agent's own handshake that go to the server, where
	// it has a connection (MultiplexPerAgent) or a request of its own.
	ForwardHeaders []string
	Multiplexing   Multiplexing // MultiplexShared

	MinConnections int           // to the server that agents are shared out among; 1. Each is made when an agent needs it
	MaxConnections int           // that these may grow to; 8. Over plain HTTP: requests at a time; 64
	GrowAfter      time.Duration // wait for the server's answer that is worth one connection more; 100 ms

	MaxMessageSize    int64 // bytes of one message in either direction; 64 MiB
	MaxAgents         int   // 20,000
	MaxPerConnection  int   // agents behind one downstream connection; 16
	MaxConnectionsIn  int   // downstream WebSockets; 20,000
	MaxQueuedMessages int   // that wait for one agent; 64
	MaxQueuedBytes    int64 // of them; 1 MiB
	MaxUpstreamQueue  int   // bytes that wait for one connection to the server; 4 MiB

	HandshakeTimeout time.Duration // with the server; 10 s
	WriteTimeout     time.Duration // of one write in either direction; 10 s
	FirstMessage     time.Duration // of a new connection; 30 s
	PingInterval     time.Duration // of silence, downstream; a second one ends the connection; 30 s
	UpstreamPing     time.Duration // the same, upstream; 10 s
	UpstreamIdle     time.Duration // that a connection to the server is kept without an agent; 1 min
	Grace            time.Duration // between the end of a connection and the agent's; 5 s
	HTTPAnswer       time.Duration // that an agent over plain HTTP waits for the server's answer; 5 s
	HTTPSilence      time.Duration // after which an agent over plain HTTP has gone; 90 s
	MaxRetryAfter    time.Duration // longest that the server may keep the gateway away; 5 min
	Drain            time.Duration // over which agents are sent away at shutdown; 5 s

	AnnouncePerSecond int // agents told to the server after a loss; 4,000

	Duplicates  Duplicates    // DuplicatesReplace
	Silence     time.Duration // of an agent that another may replace; 5 s
	Offers      Offers        // OffersStrip
	OwnEndpoint string        // with OffersRewrite

	// Auth decides on agents before their handshake. Nil lets everybody in.
	Auth AuthSettings
}

func (s Settings) withDefaults() Settings {
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.Observer == nil {
		s.Observer = NopObserver{}
	}
	orDefault(&s.Multiplexing, MultiplexShared)
	orDefault(&s.MinConnections, 1)
	if s.overHTTP() {
		orDefault(&s.MaxConnections, 64)
	}
	orDefault(&s.MaxConnections, 8)
	s.MaxConnections = max(s.MaxConnections, s.MinConnections)
	orDefault(&s.GrowAfter, 100*time.Millisecond)
	orDefault(&s.MaxMessageSize, opampwire.DefaultMaxMessageSize)
	orDefault(&s.MaxAgents, 20_000)
	orDefault(&s.MaxPerConnection, 16)
	orDefault(&s.MaxConnectionsIn, 20_000)
	orDefault(&s.MaxQueuedMessages, 64)
	orDefault(&s.MaxQueuedBytes, 1<<20)
	orDefault(&s.MaxUpstreamQueue, 4<<20)
	orDefault(&s.HandshakeTimeout, 10*time.Second)
	orDefault(&s.WriteTimeout, 10*time.Second)
	orDefault(&s.FirstMessage, 30*time.Second)
	orDefault(&s.PingInterval, 30*time.Second)
	orDefault(&s.UpstreamPing, 10*time.Second)
	orDefault(&s.UpstreamIdle, time.Minute)
	orDefault(&s.Grace, 5*time.Second)
	orDefault(&s.HTTPAnswer, 5*time.Second)
	orDefault(&s.HTTPSilence, 90*time.Second)
	orDefault(&s.MaxRetryAfter, 5*time.Minute)
	orDefault(&s.Drain, 5*time.Second)
	orDefault(&s.AnnouncePerSecond, 4000)
	orDefault(&s.Duplicates, DuplicatesReplace)
	orDefault(&s.Silence, 5*time.Second)
	orDefault(&s.Offers, OffersStrip)
	s.Auth = s.Auth.withDefaults()
	return s
}

// overHTTP says whether the server is spoken to over plain HTTP.
func (s *Settings) overHTTP() bool {
	return len(s.Endpoints) > 0 && (s.Endpoints[0].URL.Scheme == "http" || s.Endpoints[0].URL.Scheme == "https")
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Observer is told what happens, for metrics. Its methods are called by many goroutines
// at a time and must not block.
type Observer interface {
	// Forwarded is a message that went on, and how long the gateway had it.
	Forwarded(d Direction, took time.Duration)
	// Dialled is one attempt to reach the server; result is "ok" or a word on what went
	// wrong.
	Dialled(result string)
	// Lost is the end of a connection to the server, in a word.
	Lost(reason string)
	// Authenticated is one agent; result is accepted, rejected, failed or cached.
	Authenticated(result string)
}

// Direction is which way a message went.
type Direction string

// Directions.
const (
	Up   Direction = "up"   // to the server
	Down Direction = "down" // to an agent
)

// NopObserver observes nothing. Embed it to implement part of [Observer].
type NopObserver struct{}

func (NopObserver) Forwarded(Direction, time.Duration) {}
func (NopObserver) Dialled(string)                     {}
func (NopObserver) Lost(string)                        {}
func (NopObserver) Authenticated(string)               {}
