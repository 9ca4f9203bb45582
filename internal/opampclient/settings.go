// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Defaults of [Settings].
const (
	DefaultPollingInterval   = 30 * time.Second
	DefaultHeartbeatInterval = 30 * time.Second
	DefaultMaxRetryAfter     = opampdial.DefaultMaxRetryAfter
	// DefaultMaxReceive is below the specification's 64 MiB because this agent takes
	// neither configuration nor packages, and its host's memory is not a server's to fill.
	DefaultMaxReceive = 8 << 20
)

const (
	// stopLimit bounds Stop: the goodbye, the close handshake and whatever was running.
	stopLimit = 1500 * time.Millisecond
	// goodbyeLimit bounds the write (or the exchange) of agent_disconnect.
	goodbyeLimit = 700 * time.Millisecond
	// exchangeGrace is how long an exchange that is in flight when Stop begins may take
	// to end. With goodbyeLimit it is within stopLimit.
	exchangeGrace = 500 * time.Millisecond
	// closeLimit bounds the WebSocket close handshake.
	closeLimit = 500 * time.Millisecond

	dialLimit     = 10 * time.Second // TCP, TLS, proxy and upgrade together
	exchangeLimit = 15 * time.Second // one plain HTTP request and its response
	writeLimit    = 10 * time.Second // one WebSocket message
	pingLimit     = 10 * time.Second // from a ping to its pong

	// answerLimit is how long a server may leave the first report of a connection
	// unanswered before that is put into words.
	answerLimit = 10 * time.Second

	// silenceLimit is how long a WebSocket may bring nothing before it is pinged.
	// It is longer than the default heartbeat, whose answer counts: a healthy idle
	// connection carries no pings.
	silenceLimit = 45 * time.Second

	// backoffBase and backoffMax bound the pause between connects, before jitter.
	backoffBase = time.Second
	backoffMax  = 30 * time.Second
	// throttledPause is how long to stay away from a server that answered 429 or 503 and
	// said no time, or none to come (OpAMP specification, Throttling: 30 seconds are the
	// least that it recommends). MaxRetryAfter bounds it like a time that was said.
	throttledPause = 30 * time.Second
	// outageMoment is how long an outage must last to be mentioned. It is less than the
	// shortest pause, so a lost server is always mentioned before it is tried again.
	outageMoment = 200 * time.Millisecond
	// proven is how long a connection must have lived, with at least one answer, for
	// the back-off to start anew after it. A server that answers once and closes is
	// as hard to live with as one that only closes.
	proven = 10 * time.Second

	// fullReportGap is the least time between two full reports that a server asks for.
	fullReportGap = time.Second

	// minHeartbeat and maxHeartbeat bound an offered heartbeat interval; what lies
	// outside is not taken.
	minHeartbeat = time.Second
	maxHeartbeat = 24 * time.Hour

	// maxUIDChanges and uidChangeWindow bound how often a server may re-identify us.
	maxUIDChanges   = 3
	uidChangeWindow = time.Minute
)

// Settings say where the server is and how to reach it. They are fixed for the life
// of a [Client].
type Settings struct {
	// Endpoint is the server's address; its scheme decides the transport: ws and wss
	// for WebSocket, http and https for polling.
	Endpoint *url.URL
	// HTTPClient sends the requests: TLS, proxy and authentication are its own. Its
	// redirect policy is not used, no redirect is ever followed (a credential would
	// go where the user did not send it). It must not use HTTP/2 for WebSockets. After
	// each conversation its idle connections are closed, so that the next attempt
	// resolves the host's name anew; it should not be shared.
	HTTPClient *http.Client
	// Header is added to each request, handshakes included.
	Header http.Header
	// PollingInterval is the longest time between two requests over plain HTTP.
	PollingInterval time.Duration
	// HeartbeatInterval is the longest time between two messages over WebSocket, if
	// the capabilities have ReportsHeartbeat.
	HeartbeatInterval time.Duration
	// MaxRetryAfter is the longest that a server may keep us away, before jitter.
	MaxRetryAfter time.Duration
	// Uncompressed says not to compress messages over plain HTTP. Without it those that
	// gain by it are, unless the server refuses one. WebSocket messages never are.
	Uncompressed bool
	// MaxReceive and MaxSend bound one message, in bytes after decompression.
	MaxReceive int64
	MaxSend    int
	// CustomMessages is where custom messages come from and go to. Nil is nowhere.
	CustomMessages CustomMessages
	// CustomPace is the least time between two custom messages, but for short bursts, for
	// a server that drops what comes faster. 0 is none.
	CustomPace time.Duration
	// Logger gets at most a few lines a minute, none a message.
	Logger *zap.Logger
	// Observer is told what happens, for metrics.
	Observer Observer
	// OnInstanceUID is called from the client's goroutine when the server has assigned
	// another instance UID, which is then already in use. It must not block.
	OnInstanceUID func(opampwire.InstanceUID)
}

func (s Settings) withDefaults() Settings {
	if s.PollingInterval <= 0 {
		s.PollingInterval = DefaultPollingInterval
	}
	if s.HeartbeatInterval <= 0 {
		s.HeartbeatInterval = DefaultHeartbeatInterval
	}
	if s.MaxRetryAfter <= 0 {
		s.MaxRetryAfter = DefaultMaxRetryAfter
	}
	if s.MaxReceive <= 0 {
		s.MaxReceive = DefaultMaxReceive
	}
	if s.MaxSend <= 0 {
		s.MaxSend = opampwire.DefaultMaxMessageSize
	}
	if s.HTTPClient == nil {
		s.HTTPClient = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.CustomMessages == nil {
		s.CustomMessages = noCustomMessages{}
	}
	if s.Observer == nil {
		s.Observer = NopObserver{}
	}
	if s.OnInstanceUID == nil {
		s.OnInstanceUID = func(opampwire.InstanceUID) {}
	}
	return s
}

// Observer is told what the client does. Its methods are called from the client's
// goroutines, never at the same time, and must not block.
type Observer interface {
	// Connected says whether the server answers now.
	Connected(up bool)
	// ConnectAttempt is one dial, or one HTTP exchange that ended an outage or began
	// one; result is "ok" or a [Reason].
	ConnectAttempt(result string)
	// Disconnected is the end of a connection that had been established.
	Disconnected(reason Reason)
	// Sent and Received are one message each, in bytes on the wire without framing.
	Sent(bytes int)
	Received(bytes int)
	// Reported and Heard are one part each of a message that went out or came in, by
	// its name in the protocol ("health", "remote_config", ...), and the bytes of it.
	Reported(part string, bytes int)
	Heard(part string, bytes int)
	// Dropped is one part or message that was not sent or not taken, and why.
	Dropped(what string, reason Reason)
	// Refused is an offer of the server that a read-only agent does not take.
	Refused(offer string)
	// Renamed says that the server assigned another instance UID.
	Renamed()
}

// NopObserver observes nothing. Embed it to implement part of [Observer].
type NopObserver struct{}

func (NopObserver) Connected(bool)         {}
func (NopObserver) ConnectAttempt(string)  {}
func (NopObserver) Disconnected(Reason)    {}
func (NopObserver) Sent(int)               {}
func (NopObserver) Received(int)           {}
func (NopObserver) Reported(string, int)   {}
func (NopObserver) Heard(string, int)      {}
func (NopObserver) Dropped(string, Reason) {}
func (NopObserver) Refused(string)         {}
func (NopObserver) Renamed()               {}
