// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Transports of a ConnInfo.
const (
	TransportWebSocket = "websocket"
	TransportHTTP      = "http"
)

// ConnInfo names where a message came from.
type ConnInfo struct {
	// ID is one WebSocket, or one exchange of plain HTTP, which has no connection
	// that would mean anything: proxies share them. Never zero, never used twice.
	ID         uint64
	Transport  string // TransportWebSocket or TransportHTTP
	RemoteAddr string // of the peer that dialled: a proxy's, where there is one
}

// Handler decides what to answer. It is called by many connections at a time.
type Handler interface {
	// OnMessage answers one message, whose instance_uid is valid. Calls for one
	// WebSocket come one after the other; exchanges of plain HTTP are all
	// concurrent. The message is the Handler's to keep, the reply must not change
	// after it was returned. The context ends when the server gives up waiting.
	OnMessage(ctx context.Context, c ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent
	// OnClose is called once for each WebSocket, after its last OnMessage.
	OnClose(c ConnInfo)
}

// cutGrace is how long Shutdown waits for goroutines whose connection it has cut.
const cutGrace = 250 * time.Millisecond

var (
	errMaxConnections = errors.New("too many connections")
	errMaxExchanges   = errors.New("too many exchanges at a time")
	errShuttingDown   = errors.New("server is shutting down")
)

// Server accepts OpAMP agents; as an http.Handler it belongs on one path of any
// http.Server that lets connections be hijacked. Stopping that http.Server does not
// close WebSockets: Shutdown does.
type Server struct {
	// Fixed at construction.
	settings Settings
	handler  Handler // nil with a relay
	relay    Relay   // nil with a handler
	made     time.Time
	ledger   *ledger
	budget   *budget
	unzip    chan struct{} // a slot for each body that is being decompressed
	large    chan struct{} // a slot for each message that is not small and is being dealt with
	ctx      context.Context
	cancel   context.CancelFunc
	drained  chan struct{} // closed when nothing is served any more, after closing was set

	lastID                                     atomic.Uint64
	unsent                                     atomic.Int64 // bytes that wait to be written, of all outboxes
	wsReceived, wsSent, httpReceived, httpSent traffic

	mu        sync.Mutex
	conns     map[uint64]*conn // guarded by mu: by ConnInfo.ID
	slots     int              // guarded by mu: WebSockets, from before the handshake
	exchanges int              // guarded by mu
	closing   bool             // guarded by mu
}

// New returns a Server that serves with h until Shutdown.
func New(s Settings, h Handler) *Server {
	server := newServer(s)
	server.handler = h
	return server
}

func newServer(s Settings) *Server {
	s = s.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		settings: s,
		made:     time.Now(),
		ledger:   newLedger(s.Logger),
		budget:   newBudget(s.MaxBufferedBytes, s.MaxMessageSize),
		unzip:    make(chan struct{}, costlySlots()),
		large:    make(chan struct{}, costlySlots()),
		ctx:      ctx,
		cancel:   cancel,
		drained:  make(chan struct{}),
		conns:    make(map[uint64]*conn),
	}
}

// ServeHTTP upgrades a WebSocket handshake and answers a POST (Transports).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case foreignOrigin(r):
		s.Deny(w, r, http.StatusForbidden, ReasonOrigin, fmt.Errorf("origin %.100q is not this server", r.Header.Get("Origin")))
	case r.Method == http.MethodPost:
		s.serveExchange(w, r)
	case r.Method == http.MethodGet:
		s.serveUpgrade(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		s.Deny(w, r, http.StatusMethodNotAllowed, ReasonMethod, fmt.Errorf("method %.20q", r.Method))
	}
}

// foreignOrigin says whether a web page of another host makes this request. Agents
// send no Origin; browsers always do, and apply no same-origin rule to WebSockets.
func foreignOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}

// Deny refuses a request with a plain text that says why, and counts it. A middleware
// in front of the Server refuses through it too, so that there is one count. A body
// that was not read ends the connection: waiting for it would be waiting on the peer.
func (s *Server) Deny(w http.ResponseWriter, r *http.Request, status int, reason Reason, err error) {
	s.ledger.note(reason, r.RemoteAddr, err)
	s.deny(w, r, status, err)
}

func (s *Server) deny(w http.ResponseWriter, r *http.Request, status int, err error) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", retryAfter())
	}
	http.Error(w, err.Error(), status)
}

// retryAfter spreads those who were turned away over half a minute, from the 30 s on
// that clients wait at least (Throttling).
func retryAfter() string { return strconv.Itoa(30 + rand.IntN(30)) } //nolint:gosec // jitter, no secret

// admission is what arrive hands out one of.
type admission struct {
	inUse  *int // guarded by Server.mu
	most   int
	reason Reason
	err    error
}

func (s *Server) connections() admission {
	return admission{&s.slots, s.settings.MaxConnections, ReasonMaxConnections, errMaxConnections}
}

func (s *Server) concurrentExchanges() admission {
	return admission{&s.exchanges, s.settings.MaxExchanges, ReasonMaxExchanges, errMaxExchanges}
}

// arrive takes a slot, unless there is none left or the server is leaving. Whoever
// got one calls leave.
func (s *Server) arrive(a admission) (Reason, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return ReasonShutdown, errShuttingDown
	case *a.inUse >= a.most:
		return a.reason, fmt.Errorf("%w: limit %d", a.err, a.most)
	}
	*a.inUse++
	return "", nil
}

func (s *Server) leave(a admission) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*a.inUse--
	s.noteDrainedLocked()
}

func (s *Server) noteDrainedLocked() {
	if !s.closing || s.slots+s.exchanges > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// track makes c known to Shutdown; one that is late goes away at once.
func (s *Server) track(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c.info.ID] = c
	if s.closing {
		c.goAway()
	}
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.info.ID)
}

// Shutdown refuses newcomers, closes every WebSocket with Close 1001 and waits until
// the Handler has been called for the last time. When ctx ends it cuts what is left
// and returns an error. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.close() {
		c.goAway()
	}
	select {
	case <-s.drained:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	left := s.open()
	for _, c := range left {
		c.cut()
	}
	// What was cut returns at once; only a Handler can hold it now.
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-s.drained:
	case <-grace.C:
	}
	return fmt.Errorf("%d OpAMP connections did not close in time: %w", len(left), ctx.Err())
}

// close refuses newcomers from now on and returns who is there.
func (s *Server) close() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.noteDrainedLocked()
	return slices.Collect(maps.Values(s.conns))
}

func (s *Server) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.conns))
}
