// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// tickEvery is how often the gateway looks for agents whose grace is over.
const tickEvery = 250 * time.Millisecond

// Gateway carries agents to a server. As an http.Handler it belongs on one path of any
// http.Server that lets connections be hijacked.
type Gateway struct {
	// Fixed at construction.
	set    Settings
	made   time.Time
	drop   *drops
	router *router
	pool   *pool
	server *opampserver.Server
	auth   *authority
	kin    *kinship

	soft    context.Context // ends when agents are no longer taken
	leave   context.CancelFunc
	hard    context.Context // ends when the connections to the server have to
	cut     context.CancelFunc
	running sync.WaitGroup

	connects   chan struct{} // size 1: see Connects
	up, down   traffic
	leaving    atomic.Bool     // the same as closing
	awaiting   atomic.Int64    // agents that wait before their handshake for a connection to the server
	turnedAway atomic.Int64    // agents that came while there was no connection to the server
	unanswered atomic.Int64    // exchanges over plain HTTP that the server let wait too long
	offers     [2]atomic.Int64 // stripped, rewritten

	serverErrors atomic.Int64 // error responses for agents

	mu       sync.Mutex
	sessions map[*session]struct{}              // guarded by mu
	boxes    map[opampwire.InstanceUID]*mailbox // guarded by mu
	closing  bool                               // guarded by mu
}

// New returns a Gateway that does nothing before Start.
func New(set Settings) (*Gateway, error) {
	set = set.withDefaults()
	if len(set.Endpoints) == 0 {
		return nil, errors.New("no endpoint of an OpAMP server")
	}
	if set.Auth.Mode == AuthUpstream && len(set.Auth.Clients) != len(set.Endpoints) {
		return nil, errors.New("authentication by the server needs a client for each endpoint")
	}
	g := &Gateway{
		set: set, made: time.Now(), drop: newDrops(set.Logger),
		connects: make(chan struct{}, 1),
		sessions: make(map[*session]struct{}), boxes: make(map[opampwire.InstanceUID]*mailbox),
	}
	g.soft, g.leave = context.WithCancel(context.Background())
	g.hard, g.cut = context.WithCancel(context.Background())
	g.router = newRouter(routerSettings{
		maxAgents: set.MaxAgents, maxPerPeer: set.MaxPerConnection,
		duplicates: set.Duplicates, silence: set.Silence, grace: set.Grace,
	})
	g.pool = newPool(g)
	g.server = opampserver.NewRelay(opampserver.Settings{
		Logger:              set.Logger,
		MaxMessageSize:      set.MaxMessageSize,
		MaxConnections:      set.MaxConnectionsIn,
		MaxBufferedBytes:    max(2*set.MaxMessageSize, 64<<20),
		MaxUnsentMessages:   set.MaxQueuedMessages,
		MaxUnsentBytes:      set.MaxQueuedBytes,
		FirstMessageTimeout: set.FirstMessage,
		PingInterval:        set.PingInterval,
		WriteTimeout:        set.WriteTimeout,
	}, relay{g})
	g.auth = newAuthority(g)
	g.kin = newKinship()
	return g, nil
}

// Connects has something whenever there is another connection to the server: it may be another server by now, or one that
// was restarted. For one receiver.
func (g *Gateway) Connects() <-chan struct{} { return g.connects }

// now is the router's time.
func (g *Gateway) now() moment { return time.Since(g.made) }

// Start connects to the server, to find out whether it can be reached, and keeps that
// connection if agents need it. It does not wait: an agent does, until the attempt has
// succeeded or failed.
func (g *Gateway) Start() {
	g.pool.start(g.hard)
	g.running.Go(g.tick)
}

func (g *Gateway) tick() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-g.hard.Done():
			return
		case <-ticker.C:
			if g.leaving.Load() {
				continue // whoever goes now is on the way to another gateway
			}
			g.expire()
			g.router.bury(g.now())
		}
	}
}

// ServeHTTP takes an agent, if the server can be reached and the agent is let in.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.leaving.Load() {
		g.server.Deny(w, r, http.StatusServiceUnavailable, opampserver.ReasonShutdown, errLeft)
		return
	}
	if r = g.meet(w, r); r == nil {
		return
	}
	if r.Method == http.MethodGet || g.set.Auth.Mode == AuthConnect {
		reached := g.reachFor(r)
		if r = g.meet(w, r); r == nil {
			return
		}
		if !reached {
			g.turnedAway.Add(1)
			g.server.TurnAway(w, r, http.StatusServiceUnavailable, g.absence())
			return
		}
	}
	if !g.auth.admit(w, r) {
		return
	}
	g.server.ServeHTTP(w, r)
}

var errNoUpstream = errors.New("this gateway has no connection to the OpAMP server")

// reachFor is reach for a request, which may be a gateway's.
func (g *Gateway) reachFor(r *http.Request) bool {
	ctx, left := g.kin.arrive(r)
	defer left()
	return g.reach(ctx)
}

// reach says whether an agent that comes now could be heard. If no agent has needed a
// connection for a while this one waits for it. Where each has a connection of its own that
// shows when it is made.
func (g *Gateway) reach(ctx context.Context) bool {
	if g.set.overHTTP() || g.set.Multiplexing == MultiplexPerAgent {
		return true
	}
	ok, arrival := g.router.open()
	if ok || arrival == nil {
		return ok
	}
	defer g.awaiting.Add(-1)
	if g.awaiting.Add(1) > int64(g.set.MaxConnectionsIn) {
		return false
	}
	timer := time.NewTimer(g.set.HandshakeTimeout)
	defer timer.Stop()
	for ; arrival != nil; ok, arrival = g.router.open() {
		if !g.arrives(ctx, arrival, timer) {
			return false
		}
	}
	return ok
}

// route asks the router where a message of p goes, and waits for a connection to the server
// where one has to be made for it first.
func (g *Gateway) route(ctx context.Context, p *peer, m opampwire.AgentMessage) verdict {
	v := g.router.fromAgent(p, m, g.now())
	if v.arrival == nil {
		return v
	}
	timer := time.NewTimer(g.set.HandshakeTimeout)
	defer timer.Stop()
	for v.arrival != nil {
		if !g.arrives(ctx, v.arrival, timer) {
			return g.router.fromAgentAtOnce(p, m, g.now())
		}
		v = g.router.fromAgent(p, m, g.now())
	}
	return v
}

// arrives waits until it is decided whether a connection comes. It is false when that
// takes longer than anybody waits.
func (g *Gateway) arrives(ctx context.Context, arrival <-chan struct{}, timer *time.Timer) bool {
	select {
	case <-arrival:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-g.soft.Done():
	}
	return false
}

// Deny refuses a request with a text that says why, and counts it: for what stands in front of
// the gateway.
func (g *Gateway) Deny(w http.ResponseWriter, r *http.Request, status int, reason opampserver.Reason, err error) {
	g.server.Deny(w, r, status, reason, err)
}

// fromServer brings a message of s to its agent. It is called by the connection's reader
// and waits for nobody.
func (g *Gateway) fromServer(s *slot, l *link, frame []byte) {
	began := time.Now()
	message, err := opampwire.Unframe(frame)
	if err != nil {
		g.drop.note(ReasonServerMalformed, 1, err)
		return
	}
	g.deliver(s, l.peer, message, began)
}

func (g *Gateway) deliver(s *slot, to *peer, message []byte, began time.Time) {
	m, err := opampwire.ScanServerMessage(message)
	if err != nil {
		g.drop.note(ReasonServerMalformed, 1, err)
		return
	}
	if m.CustomMessage && g.auth.took(message) {
		return
	}
	if !m.UID.IsZero() {
		s.noteAnswer(m.UID, began.Sub(g.made))
	}
	d := g.router.fromServer(s.lane, to, m)
	if d.peer == nil {
		if d.why != "" {
			g.drop.note(d.why, 1, fmt.Errorf("the server sent a message for %s", m.UID))
		}
		return
	}
	if m.ConnectionSettings {
		if message = g.redirect(message, m.UID); message == nil {
			return
		}
	}
	if d.capabilities != nil || d.offers != nil {
		// Fields of one message may stand in any order, so what is missing is appended.
		message = append(append(message[:len(message):len(message)], d.capabilities...), d.offers...)
	}
	if m.Error {
		g.serverErrors.Add(1)
	}
	g.down.add(len(message))
	d.peer.owner.(recipient).receive(message, m, d.bye)
	g.set.Observer.Forwarded(Down, time.Since(began))
}

// recipient is where an agent gets its messages.
type recipient interface {
	// receive takes a message, which is valid during the call. It does not wait. To an agent
	// that has said bye nothing is lost.
	receive(message []byte, m opampwire.ServerMessage, bye bool)
}

// redirect does to an offer of connection settings what the policy says. It returns nil if that can't be done with
// certainty.
func (g *Gateway) redirect(message []byte, uid opampwire.InstanceUID) []byte {
	if g.set.Offers == OffersForward {
		return message
	}
	to, count, what := "", &g.offers[0], "taken out"
	if g.set.Offers == OffersRewrite {
		to, count, what = g.set.OwnEndpoint, &g.offers[1], "replaced by the gateway's own endpoint"
	}
	out, d, err := opampwire.RedirectOffers(message, to)
	switch {
	case err != nil:
		g.drop.note(ReasonServerMalformed, 1, err)
		return nil
	case !d.Found:
		return message
	}
	if count.Add(1) == 1 {
		g.set.Logger.Warn("the server offers agents another OpAMP endpoint, which would lead them round this gateway: it is "+what,
			zap.String("endpoint", printableText(d.Endpoint)), zap.Stringer("instance_uid", uid),
			zap.String("remedy", "connection_settings.policy decides; more of these are counted, not logged"))
	}
	return out
}

// Shutdown sends agents away, over Settings.Drain at most and less if ctx ends sooner, and
// then hangs up on the server. Agents that leave because of it are not said goodbye for:
// they come back elsewhere.
func (g *Gateway) Shutdown(ctx context.Context) error {
	err := g.drain(ctx)
	g.leave()
	if down := g.server.Shutdown(ctx); down != nil {
		err = errors.Join(err, down)
	}
	g.cut()
	g.pool.work.Wait()
	g.running.Wait()
	return err
}

// drain tells agents to leave, spread over time so that they do not all arrive
// somewhere else at once.
func (g *Gateway) drain(ctx context.Context) error {
	sessions := g.close()
	if len(sessions) == 0 {
		return nil
	}
	const turns = 50
	ticker := time.NewTicker(max(g.set.Drain/turns, time.Millisecond))
	defer ticker.Stop()
	perTurn := (len(sessions) + turns - 1) / turns
	for len(sessions) > 0 {
		n := min(perTurn, len(sessions))
		for _, s := range sessions[:n] {
			s.conn.Dismiss(wsframe.CloseGoingAway, "gateway is shutting down")
		}
		if sessions = sessions[n:]; len(sessions) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil // the server's shutdown says what is left
		}
	}
	return nil
}

// close refuses newcomers from now on and returns who is there.
func (g *Gateway) close() []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	g.leaving.Store(true)
	all := make([]*session, 0, len(g.sessions))
	for s := range g.sessions {
		all = append(all, s)
	}
	return all
}

// printable is a URL as far as a log line may show it: a query may hold a token.
func printable(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func printableText(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	text := printable(u)
	return text[:min(len(text), 200)]
}

// traffic counts what went one way.
type traffic struct {
	messages atomic.Int64
	bytes    atomic.Int64
}

func (t *traffic) add(bytes int) {
	t.messages.Add(1)
	t.bytes.Add(int64(bytes))
}
