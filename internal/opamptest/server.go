// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opamptest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// patience is how long a test waits for what must come. It decides how long a failing
// test takes, nothing else.
const patience = time.Minute

// Path is where a Server takes agents.
const Path = "/v1/opamp"

// Server is an OpAMP server for both transports that does as its script says.
type Server struct {
	// Fixed at construction.
	ln     net.Listener
	http   *http.Server
	script Script
	heard  chan Heard // never closed
	work   sync.WaitGroup

	mu    sync.Mutex
	conns map[*websocket.Conn]struct{} // guarded by mu
	total int                          // guarded by mu: connections ever
	most  int                          // guarded by mu: open at one time
}

// Script says how a Server behaves where it shall not behave well. Every field may be left out.
type Script struct {
	// Refuse answers a request in place of the server, if it returns true.
	Refuse func(w http.ResponseWriter, r *http.Request) bool
	// Accepted is called with each new WebSocket before anything is read; if it returns
	// false the connection is left to it.
	Accepted func(c *websocket.Conn) bool
	// Reply makes the answer to a message; nil is none. Without it each is acknowledged.
	Reply func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent
}

// Heard is one message of an agent.
type Heard struct {
	*protobufs.AgentToServer
	Conn   int // counted from 1; 0 is plain HTTP
	Header http.Header
	Bytes  int // on the wire, without framing
}

// NewServer starts a server on a free loopback port, and ends it with the test.
func NewServer(t testing.TB, script Script) *Server {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return Serve(t, ln, script)
}

// Serve starts a server on ln, and ends it with the test.
func Serve(t testing.TB, ln net.Listener, script Script) *Server {
	t.Helper()
	s := &Server{
		ln:     ln,
		script: script,
		heard:  make(chan Heard, 1<<16),
		conns:  make(map[*websocket.Conn]struct{}),
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes that a test makes fail
	}
	s.work.Go(func() { _ = s.http.Serve(ln) }) // ends with Close
	t.Cleanup(s.Close)
	return s
}

// Ack is the least that a server of everything that is reported may answer.
func Ack(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid: msg.GetInstanceUid(),
		Capabilities: uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus |
			protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig),
	}
}

// URL is the server's endpoint for a scheme.
func (s *Server) URL(scheme string) *url.URL {
	return &url.URL{Scheme: scheme, Host: s.Addr(), Path: Path}
}

// Addr is host and port.
func (s *Server) Addr() string {
	if a, ok := s.ln.Addr().(*net.TCPAddr); ok {
		return a.String()
	}
	return "server"
}

// Close hangs up on everybody and waits.
func (s *Server) Close() {
	_ = s.http.Close()
	s.HangUp()
	s.work.Wait()
}

// HangUp breaks every open connection, without a Close frame.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.CloseNow()
	}
}

// Push sends msg on every open WebSocket.
func (s *Server) Push(t testing.TB, msg *protobufs.ServerToAgent) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotEmpty(t, s.conns, "nobody is connected")
	for c := range s.conns {
		require.NoError(t, write(c, msg))
	}
}

// Connections counts WebSockets: ever, open now, and the most that were open at a time.
func (s *Server) Connections() (total, open, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, len(s.conns), s.most
}

// Next is the next message that was heard.
func (s *Server) Next(t testing.TB) Heard {
	t.Helper()
	select {
	case h := <-s.heard:
		return h
	case <-time.After(patience):
		require.FailNow(t, "no message came")
		return Heard{}
	}
}

// NextWith is the next message that ok accepts; those before it are left out.
func (s *Server) NextWith(t testing.TB, ok func(Heard) bool) Heard {
	t.Helper()
	for {
		if h := s.Next(t); ok(h) {
			return h
		}
	}
}

// Rest is what was heard so far and not yet taken.
func (s *Server) Rest() []Heard {
	var all []Heard
	for {
		select {
		case h := <-s.heard:
			all = append(all, h)
		default:
			return all
		}
	}
}

// Take waits for a message and forgets it. It reports false when quit is closed first.
func (s *Server) Take(quit <-chan struct{}) bool {
	select {
	case <-s.heard:
		return true
	case <-quit:
		return false
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.script.Refuse != nil && s.script.Refuse(w, r) {
		return
	}
	if r.Method == http.MethodPost {
		s.exchange(w, r)
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	c.SetReadLimit(opampwire.DefaultMaxMessageSize)
	n := s.add(c)
	defer s.remove(c)
	if s.script.Accepted != nil && !s.script.Accepted(c) {
		return
	}
	s.converse(c, n, r.Header)
}

func (s *Server) add(c *websocket.Conn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work.Add(1)
	s.conns[c] = struct{}{}
	s.total++
	s.most = max(s.most, len(s.conns))
	return s.total
}

func (s *Server) remove(c *websocket.Conn) {
	_ = c.CloseNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.work.Done()
}

func (s *Server) converse(c *websocket.Conn, n int, header http.Header) {
	for {
		_, data, err := c.Read(context.Background())
		if err != nil {
			return
		}
		msg := new(protobufs.AgentToServer)
		if opampwire.ParseFrame(data, msg) != nil {
			return
		}
		s.heard <- Heard{AgentToServer: msg, Conn: n, Header: header, Bytes: len(data)}
		if reply := s.reply(msg); reply != nil && write(c, reply) != nil {
			return
		}
	}
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	wire := &counter{Reader: r.Body}
	read := opampwire.ReadLimited
	if r.Header.Get("Content-Encoding") == "gzip" {
		read = opampwire.Gunzip
	}
	body, err := read(wire, opampwire.DefaultMaxMessageSize)
	msg := new(protobufs.AgentToServer)
	if err = errors.Join(err, opampwire.ParseMessage(body, msg)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.heard <- Heard{AgentToServer: msg, Header: r.Header, Bytes: wire.bytes}
	reply, err := proto.Marshal(s.reply(msg))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(reply)
}

// counter counts what is read through it.
type counter struct {
	io.Reader
	bytes int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes += n
	return n, err
}

func (s *Server) reply(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	if s.script.Reply == nil {
		return Ack(msg)
	}
	return s.script.Reply(msg)
}

func write(c *websocket.Conn, msg proto.Message) error {
	frame, err := opampwire.AppendFrame(nil, msg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.Write(ctx, websocket.MessageBinary, frame)
}
