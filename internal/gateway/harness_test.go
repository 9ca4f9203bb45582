// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// patience is how long a test waits for what must come. It is no measure of anything.
const patience = time.Minute

// partner is opamp-go's server, unmodified, with as much of an application as servers have:
// it knows each agent's last sequence number and asks for everything after a gap. It can
// be killed and come back.
type partner struct {
	t    testing.TB
	addr string // host:port, the same after it comes back

	refuse   func(r *http.Request) int                                // status; 0: accept; nil: accept all
	reply    func(*protobufs.AgentToServer, *protobufs.ServerToAgent) // fills a reply in
	nameless func(*protobufs.AgentToServer) *protobufs.ServerToAgent  // answers what has no instance UID
	silent   func(*protobufs.AgentToServer) bool                      // no reply

	mu      sync.Mutex
	web     *http.Server
	opamp   server.OpAMPServer
	ln      *trackingListener
	agents  map[opampwire.InstanceUID]*seen
	largest map[opampwire.InstanceUID][]byte // messages of more than mostCopied/2, encoded again
	conns   map[types.Connection]bool
	headers []http.Header
	total   int   // connections ever
	limit   int64 // bytes of a message; 0: opamp-go's default
}

// seen is what the partner knows of an agent.
type seen struct {
	conn      types.Connection
	seq       uint64
	messages  int
	full      int // times that it was asked for everything
	goodbyes  int
	lastMsg   *protobufs.AgentToServer
	described bool // it has reported who it is
	conns     map[types.Connection]bool
}

func newPartner(t testing.TB) *partner { return newPartnerOf(t, 0) }

func newPartnerOf(t testing.TB, limit int64) *partner {
	t.Helper()
	p := &partner{t: t, limit: limit, agents: make(map[opampwire.InstanceUID]*seen), largest: make(map[opampwire.InstanceUID][]byte), conns: make(map[types.Connection]bool)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr = ln.Addr().String()
	p.serve(ln)
	t.Cleanup(p.kill)
	return p
}

func (p *partner) serve(ln net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ln = &trackingListener{Listener: ln}
	p.opamp = server.New(nil)
	handler, connContext, err := p.opamp.Attach(server.Settings{
		CustomCapabilities: []string{"test.custom"},
		MaxMessageSize:     p.limit,
		Callbacks:          types.Callbacks{OnConnecting: p.onConnecting},
	})
	require.NoError(p.t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/opamp", handler)
	p.web = &http.Server{Handler: mux, ConnContext: connContext, ReadHeaderTimeout: patience}
	go func(web *http.Server, ln net.Listener) { _ = web.Serve(ln) }(p.web, p.ln)
}

// kill ends it as a crash does: every connection breaks.
func (p *partner) kill() {
	p.mu.Lock()
	web, ln := p.web, p.ln
	p.web = nil
	p.mu.Unlock()
	if web == nil {
		return
	}
	_ = web.Close()
	ln.breakAll()
}

// revive brings it back, knowing what it knew.
func (p *partner) revive() {
	var ln net.Listener
	require.Eventually(p.t, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", p.addr)
		return err == nil
	}, patience, 10*time.Millisecond)
	p.serve(ln)
}

func (p *partner) onConnecting(r *http.Request) types.ConnectionResponse {
	p.mu.Lock()
	p.headers = append(p.headers, r.Header.Clone())
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != nil {
		if status := refuse(r); status != 0 {
			return types.ConnectionResponse{HTTPStatusCode: status}
		}
	}
	return types.ConnectionResponse{Accept: true, ConnectionCallbacks: types.ConnectionCallbacks{
		OnConnected: func(_ context.Context, c types.Connection) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.conns[c] = true
			p.total++
		},
		OnMessage: p.onMessage,
		OnConnectionClose: func(c types.Connection) {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, c)
		},
	}}
}

func (p *partner) onMessage(_ context.Context, c types.Connection, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	if len(msg.GetInstanceUid()) == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.nameless(msg)
	}
	uid := opampwire.InstanceUID(msg.GetInstanceUid())
	reply := &protobufs.ServerToAgent{
		InstanceUid:  msg.GetInstanceUid(),
		Capabilities: uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a, known := p.agents[uid]
	if !known {
		a = &seen{conns: make(map[types.Connection]bool)}
		p.agents[uid] = a
	}
	complete := msg.GetAgentDescription() != nil
	if (!known || a.seq+1 != msg.GetSequenceNum()) && !complete && msg.GetAgentDisconnect() == nil {
		reply.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
		a.full++
	}
	a.conn, a.seq = c, msg.GetSequenceNum()
	if proto.Size(msg) > mostCopied/2 {
		p.largest[uid], _ = proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	} else {
		a.lastMsg = proto.CloneOf(msg)
	}
	a.conns[c] = true
	a.described = a.described || complete
	a.messages++
	if msg.GetAgentDisconnect() != nil {
		a.goodbyes++
	}
	if p.reply != nil {
		p.reply(msg, reply)
	}
	if p.silent != nil && p.silent(msg) {
		return nil
	}
	return reply
}

// agent is a copy of what it knows of one.
func (p *partner) agent(uid opampwire.InstanceUID) seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.agents[uid]; a != nil {
		return *a
	}
	return seen{}
}

// connects says whether an agent was last heard of on a connection that lives.
func (p *partner) connects(uid opampwire.InstanceUID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agents[uid] != nil && p.conns[p.agents[uid].conn]
}

func (p *partner) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *partner) ever() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// push sends an agent something that it did not ask for.
func (p *partner) push(uid opampwire.InstanceUID, msg *protobufs.ServerToAgent) {
	p.t.Helper()
	msg.InstanceUid = uid.Bytes()
	p.pushRaw(uid, msg)
}

func (p *partner) pushRaw(via opampwire.InstanceUID, msg *protobufs.ServerToAgent) {
	p.t.Helper()
	c := p.agent(via).conn
	require.NotNil(p.t, c)
	require.NoError(p.t, c.Send(context.Background(), msg))
}

// trackingListener knows its connections.
type trackingListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *trackingListener) breakAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// rig is a gateway on loopback in front of a partner.
type rig struct {
	*Gateway
	t    testing.TB
	addr string
}

// endpoint is the way to a partner, without keeping anything open behind the test's back.
func endpoint(t testing.TB, raw string) Endpoint {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return Endpoint{URL: u, Client: &http.Client{Transport: transport}}
}

func newRig(t testing.TB, set Settings, upstream string) *rig {
	t.Helper()
	if set.Endpoints == nil {
		set.Endpoints = []Endpoint{endpoint(t, upstream)}
	}
	return newRigOn(t, set, httptest.NewUnstartedServer(nil))
}

// newRigOn is a rig that listens where web does, which was not started.
func newRigOn(t testing.TB, set Settings, web *httptest.Server) *rig {
	t.Helper()
	if set.Drain == 0 {
		set.Drain = time.Millisecond
	}
	if set.MaxConnections == 0 && !set.overHTTP() {
		set.MaxConnections = max(1, set.MinConnections) // a slow machine is no reason for another one
	}
	if set.Logger == nil {
		set.Logger = zaptest.NewLogger(t)
	}
	g, err := New(set)
	require.NoError(t, err)
	web.Config.Handler = g
	web.Start()
	g.Start()
	r := &rig{Gateway: g, t: t, addr: web.Listener.Addr().String()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		web.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return r
}

// connected is a rig whose gateway has reached its server.
func connected(t testing.TB, set Settings, p *partner) *rig {
	t.Helper()
	r := newRig(t, set, "ws://"+p.addr+"/v1/opamp")
	r.eventually(func() bool { return r.pool.connected.Load() > 0 }, "no connection to the server")
	return r
}

func (r *rig) eventually(ok func() bool, format string, args ...any) {
	r.t.Helper()
	require.Eventuallyf(r.t, ok, patience, 2*time.Millisecond, format, args...)
}

// returns waits for what happens at the pace of gateways that have failed often: they connect every backoffMax, and
// may need several attempts.
func (r *rig) returns(ok func() bool, format string, args ...any) {
	r.t.Helper()
	require.Eventuallyf(r.t, ok, 6*backoffMax, 2*time.Millisecond, format, args...)
}

func (r *rig) waitDropped(why Reason, n int64) {
	r.t.Helper()
	r.eventually(func() bool { return r.drop.counts()[why] >= n }, "%d × %s", n, why)
}

// testAgent is an OpAMP agent over WebSocket, as dumb as an agent can be.
type testAgent struct {
	t   testing.TB
	ws  *websocket.Conn
	uid opampwire.InstanceUID
	seq uint64
}

func (r *rig) dial(header http.Header) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+r.addr+"/v1/opamp", &websocket.DialOptions{HTTPHeader: header})
	if ws != nil {
		ws.SetReadLimit(-1)
	}
	return ws, resp, err
}

func (r *rig) connect(uid opampwire.InstanceUID) *testAgent {
	r.t.Helper()
	ws, _, err := r.dial(nil)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	return &testAgent{t: r.t, ws: ws, uid: uid}
}

// arrive connects and reports.
func (r *rig) arrive() *testAgent {
	r.t.Helper()
	a := r.connect(opampwire.NewInstanceUID())
	a.report()
	return a
}

func (a *testAgent) send(msg *protobufs.AgentToServer) {
	a.t.Helper()
	a.seq++
	msg.InstanceUid, msg.SequenceNum = a.uid.Bytes(), a.seq
	frame, err := opampwire.AppendFrame(nil, msg)
	require.NoError(a.t, err)
	a.sendRaw(frame)
}

func (a *testAgent) sendRaw(frame []byte) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(a.t, a.ws.Write(ctx, websocket.MessageBinary, frame))
}

func (a *testAgent) read() (*protobufs.ServerToAgent, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, payload, err := a.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	msg := new(protobufs.ServerToAgent)
	return msg, opampwire.ParseFrame(payload, msg)
}

func (a *testAgent) receive() *protobufs.ServerToAgent {
	a.t.Helper()
	msg, err := a.read()
	require.NoError(a.t, err)
	return msg
}

// awaitFlags reads up to a message with these flags.
func (a *testAgent) awaitFlags(flags uint64) {
	a.t.Helper()
	for got := a.receive(); got.GetFlags() != flags; {
		got = a.receive()
	}
}

// say sends a message and returns the answer.
func (a *testAgent) say(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	a.t.Helper()
	a.send(msg)
	return a.receive()
}

func (a *testAgent) report() *protobufs.ServerToAgent {
	a.t.Helper()
	reply := a.say(described("agent"))
	require.Equal(a.t, a.uid.Bytes(), reply.GetInstanceUid())
	return reply
}

func (a *testAgent) beat() *protobufs.ServerToAgent {
	a.t.Helper()
	return a.say(&protobufs.AgentToServer{})
}

func described(name string) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{
		Capabilities: uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus),
		AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{
			Key: "service.name", Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: name}},
		}}},
	}
}

// requireClosed reads up to the gateway's Close frame.
func (a *testAgent) requireClosed(code websocket.StatusCode) {
	a.t.Helper()
	for {
		_, err := a.read()
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		require.ErrorAs(a.t, err, &closed)
		require.Equal(a.t, code, closed.Code, closed.Reason)
		return
	}
}

// attend reads whatever comes, from now on, and so answers pings.
func (a *testAgent) attend() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := a.ws.Read(context.Background()); err != nil {
				return
			}
		}
	}()
	a.t.Cleanup(func() {
		_ = a.ws.CloseNow()
		<-done
	})
}

// vanish breaks the connection as a crash of the agent does.
func (a *testAgent) vanish() { _ = a.ws.CloseNow() }

func opamp(n byte) opampwire.InstanceUID { return opampwire.InstanceUID{0: 1, 15: n} }
