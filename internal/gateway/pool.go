// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

const (
	// backoffBase and backoffMax bound the pause between two dials of a lane, before jitter.
	backoffBase = 500 * time.Millisecond
	backoffMax  = 30 * time.Second
	// settleTime is for how long after the start agents wait for a server that is not there
	// yet: one that starts beside the gateway, maybe in the same process, is there by then.
	settleTime = 2 * time.Second
	// settlePause is the longest pause between two dials meanwhile.
	settlePause = 200 * time.Millisecond
	// proven is how long a connection must have lived for the back-off to start anew.
	proven = 10 * time.Second
	// growPause is the least time between two connections more.
	growPause = 5 * time.Second
	// crowd is how many agents a connection has before there is one more: servers bound how many
	// may share one, ours at 10,000.
	crowd = 4_000
	// poolTick is how often the pool looks whether it should grow, or can do with less.
	poolTick = time.Second
	// unusedKeep is how long a connection is kept on which nothing was ever sent: servers
	// take one that stays silent for longer for a fault, and close it.
	unusedKeep = 10 * time.Second
	// samplePause is the least time between two measurements of how long a server takes to
	// answer, on one connection.
	samplePause = 50 * time.Millisecond
	// sampleLimit ends a measurement that has no end.
	sampleLimit = 5 * time.Second
	// forgetLimit is how long a message size that cost a connection is held against agents.
	forgetLimit = 10 * time.Minute
)

// pool has the connections to the server: a lane each, of which it has more when the
// server answers slowly. A lane that no agent needs is at rest: it has no connection until
// somebody does.
type pool struct {
	// Fixed at construction.
	set    Settings
	log    *zap.Logger
	router *router
	drop   *drops
	gw     *Gateway
	work   sync.WaitGroup
	wake   chan struct{} // size 1: there may be agents to announce
	began  moment        // set by start, before anything runs

	active    atomic.Int32 // index of the endpoint in use
	connected atomic.Int32 // lanes that have a connection
	met       atomic.Bool  // there has been a connection
	limit     atomic.Int64 // bytes: a larger message has cost a connection; 0: none has
	limited   atomic.Int64 // when, in Unix nanoseconds

	mu    sync.Mutex
	slots []*slot   // guarded by mu
	grown time.Time // guarded by mu: the last time that it grew
}

// slot is what makes a lane's connections.
type slot struct {
	// Fixed at construction.
	pool   *pool
	name   string
	lane   *lane
	header http.Header        // of its handshakes, besides the pool's
	first  chan struct{}      // closed at the first connection, or at a refusal that is final
	stop   context.CancelFunc // ends run; nil: the context of its own peer does

	looped   atomic.Bool           // the last attempt to connect has led back to this gateway
	settling atomic.Bool           // the last attempt has met nobody, shortly after the start; agents wait on
	refused  atomic.Bool           // the server will not have this agent; set before first is closed
	refusal  atomic.Pointer[error] // why not; set before refused
	once     sync.Once

	current atomic.Pointer[link]
	sample  atomic.Pointer[sample]
	sampled atomic.Int64 // when the last one began: nanoseconds since the gateway was made
	wait    atomic.Int64 // how long the server takes to answer, smoothed; nanoseconds

	// Owned by run.
	spared []time.Time // of each endpoint: until when it wants to be left alone

	// Owned by tend.
	unneeded time.Time // since when nobody is on it, as far as tend has seen; zero: somebody is
}

// sample is one measurement of how long the server takes to answer.
type sample struct {
	uid opampwire.InstanceUID
	at  moment
}

func newPool(gw *Gateway) *pool {
	return &pool{set: gw.set, log: gw.set.Logger, router: gw.router, drop: gw.drop, gw: gw, wake: make(chan struct{}, 1)}
}

// start begins to connect, and goes on until ctx ends. One connection is made at once, to
// find out whether the server can be reached before the first agent needs it.
func (p *pool) start(ctx context.Context) {
	p.began = p.gw.now()
	p.work.Go(func() { p.announce(ctx) })
	switch {
	case p.set.overHTTP():
		s := p.newSlot("http", newLane(0), nil)
		poster := newPoster(p.gw, s)
		p.router.laneUp(s.lane, poster)
		for range posterWorkers {
			p.work.Go(func() { poster.run(ctx) })
		}
		return
	case p.set.Multiplexing == MultiplexPerAgent:
		return
	}
	for i := range p.set.MinConnections {
		s := p.add()
		p.router.laneRests(s.lane)
		p.run(ctx, s, i == 0)
	}
	p.work.Go(func() { p.tend(ctx) })
}

// add makes one lane more.
func (p *pool) add() *slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := len(p.slots)
	s := p.newSlot(fmt.Sprint(number), newLane(number), nil)
	p.slots = append(p.slots, s)
	p.grown = time.Now()
	return s
}

// run connects s, at once or when it is needed, until ctx or s.stop ends that.
func (p *pool) run(ctx context.Context, s *slot, atOnce bool) {
	ctx, s.stop = context.WithCancel(ctx)
	p.work.Go(func() { s.run(ctx, atOnce) })
}

func (p *pool) newSlot(name string, l *lane, header http.Header) *slot {
	return &slot{
		pool: p, name: name, lane: l, header: header, first: make(chan struct{}),
		spared: make([]time.Time, len(p.set.Endpoints)),
	}
}

func (p *pool) all() []*slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*slot(nil), p.slots...)
}

// tend makes the pool grow while the server takes long to answer, because it deals with the
// messages of one connection one after the other, and while too many agents share a
// connection, and lets connections go that nobody needs.
func (p *pool) tend(ctx context.Context) {
	ticker := time.NewTicker(min(poolTick, max(p.set.UpstreamIdle/4, time.Millisecond)))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		slots := p.all()
		if len(slots) < p.set.MaxConnections {
			if why := p.short(slots); why != "" {
				p.log.Info("connecting to the OpAMP server once more", zap.String("reason", why),
					zap.Int("connections", len(slots)+1), zap.Int("max_connections", p.set.MaxConnections))
				p.run(ctx, p.add(), true)
			}
		}
		for _, s := range slots {
			s.tidy(time.Now())
		}
		p.shrink()
	}
}

// short says why there should be a connection more; empty if there should not.
func (p *pool) short(slots []*slot) string {
	switch {
	case p.router.crowded(len(slots)):
		return "many agents"
	case p.slow(slots):
		return "the server answers slowly"
	default:
		return ""
	}
}

// slow says whether all connections that somebody needs are there and most keep agents
// waiting.
func (p *pool) slow(slots []*slot) bool {
	p.mu.Lock()
	recent := time.Since(p.grown) < growPause
	p.mu.Unlock()
	if recent {
		return false
	}
	slow, live := 0, 0
	for _, s := range slots {
		switch {
		case s.current.Load() != nil:
			live++
			if time.Duration(s.wait.Load()) > p.set.GrowAfter {
				slow++
			}
		case !p.router.resting(s.lane):
			return false
		}
	}
	return 2*slow > live
}

// tidy hangs up when nobody has needed s's connection for long.
func (s *slot) tidy(now time.Time) {
	l := s.current.Load()
	if l == nil || s.pool.router.needed(s.lane) {
		s.unneeded = time.Time{}
		return
	}
	if s.unneeded.IsZero() {
		s.unneeded = now
	}
	keep := s.pool.set.UpstreamIdle
	if !l.used.Load() {
		keep = min(keep, unusedKeep)
	}
	if now.Sub(s.unneeded) < keep || !s.pool.router.letGo(s.lane, l) {
		return
	}
	l.idle.Store(true)
	s.current.CompareAndSwap(l, nil)
	s.unneeded = time.Time{}
	s.pool.work.Go(l.leave)
}

// shrink takes back lanes that the pool has grown by, once they are at rest.
func (p *pool) shrink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for last := len(p.slots) - 1; last >= p.set.MinConnections && p.router.remove(p.slots[last].lane); last-- {
		p.slots[last].stop()
		p.slots = p.slots[:last]
	}
}

// announce tells the server of agents after a loss, at a pace.
func (p *pool) announce(ctx context.Context) {
	const perTurn = 100
	pause := time.Second * perTurn / time.Duration(p.set.AnnouncePerSecond)
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		n, more := p.router.announce(perTurn, p.gw.now())
		switch {
		case more, n > 0:
			timer.Reset(pause)
		default:
			timer.Reset(time.Second) // where a lane had no room, or a message found none
		}
	}
}

func (p *pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run keeps s connected until ctx ends, at once or from when somebody needs it. A lane that
// could not connect goes on trying, whoever has needed it: somebody will.
func (s *slot) run(ctx context.Context, atOnce bool) {
	failures := 0
	for {
		if !atOnce && !s.awaited(ctx) {
			return
		}
		began := time.Now()
		asked, err := s.converse(ctx)
		if ctx.Err() != nil || s.refused.Load() {
			return
		}
		if s.settling.Load() {
			s.pool.log.Debug("the OpAMP server is not there yet", zap.String("upstream", s.name), zap.Error(err))
			if !slept(ctx, jittered(settlePause)) {
				return
			}
			atOnce = true
			continue
		}
		atOnce = s.lane.peer != nil || !s.pool.router.resting(s.lane)
		if !atOnce {
			failures = 0
			s.pool.gw.kin.rests(s)
			s.pool.log.Info("no agent needs this connection to the OpAMP server; it is made again when one does",
				zap.String("upstream", s.name), zap.String("reason", lostReason(err)))
			continue
		}
		if time.Since(began) >= proven {
			failures = 0
		}
		wait := pause(failures)
		if asked > 0 {
			wait = asked
		}
		failures++
		if s.lane.peer == nil {
			s.pool.log.Warn("no connection to the OpAMP server", zap.String("upstream", s.name),
				zap.String("endpoint", printable(s.pool.endpoint().URL)), zap.Duration("retry_in", wait), zap.Error(err))
		}
		if !slept(ctx, wait) {
			return
		}
	}
}

// slept returns when d has passed. It is false if ctx ends before.
func slept(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// awaited waits until somebody needs s. It is false if that does not come.
func (s *slot) awaited(ctx context.Context) bool {
	select {
	case <-s.lane.wanted:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause grows with failures, and is jittered so that gateways that lost their server do not
// come back as one.
func pause(failures int) time.Duration {
	step := backoffMax
	if failures < 10 {
		step = min(backoffMax, backoffBase<<failures)
	}
	return jittered(step)
}

// jittered is d, or up to half less.
func jittered(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter, not a secret
}

func (p *pool) endpoint() Endpoint { return p.set.Endpoints[int(p.active.Load())%len(p.set.Endpoints)] }

// failOver moves on to the next endpoint because of err, unless somebody is connected to
// this one or has moved on already.
func (p *pool) failOver(from int32, err error) {
	if len(p.set.Endpoints) > 1 && p.connected.Load() == 0 {
		next := (from + 1) % int32(len(p.set.Endpoints)) //nolint:gosec // a handful
		if p.active.CompareAndSwap(from, next) {
			level := zap.WarnLevel
			if p.young() {
				level = zap.DebugLevel // every endpoint is tried many times in a moment
			}
			p.log.Log(level, "trying the next endpoint", zap.String("endpoint", printable(p.set.Endpoints[next].URL)), zap.Error(err))
		}
	}
}

// dial connects to the server: to the endpoint in use, or, since somebody may be waiting,
// to the first of the others that can be reached. It returns how long all of them asked to
// be left alone.
func (s *slot) dial(ctx context.Context) (conn io.ReadWriteCloser, at Endpoint, asked time.Duration, err error) {
	p := s.pool
	for range p.set.Endpoints {
		index := p.active.Load()
		at = p.set.Endpoints[index]
		if conn, err = s.dialAt(ctx, index); err == nil {
			return conn, at, 0, nil
		}
		p.failOver(index, err)
		if s.refused.Load() || ctx.Err() != nil || p.active.Load() == index {
			break
		}
	}
	return nil, at, s.sparing(), err
}

// dialAt connects to one endpoint, unless that wants to be left alone.
func (s *slot) dialAt(ctx context.Context, index int32) (io.ReadWriteCloser, error) {
	p := s.pool
	if time.Now().Before(s.spared[index]) {
		return nil, errSpared
	}
	ctx, cancel := context.WithTimeout(ctx, p.set.HandshakeTimeout)
	defer cancel()
	conn, err := s.upgrade(ctx, p.set.Endpoints[index])
	s.looped.Store(errors.Is(err, errLoop))
	if err == nil {
		p.set.Observer.Dialled("ok")
		return conn, nil
	}
	p.set.Observer.Dialled(dialReason(err))
	if asked := min(s.turnedDown(err), p.set.MaxRetryAfter); asked > 0 {
		s.spared[index] = time.Now().Add(asked + rand.N(asked/4+1)) //nolint:gosec // jitter, not a secret
	}
	return nil, err
}

var errSpared = errors.New("the OpAMP server has asked to be left alone for a while")

// sparing is how long it takes until an endpoint may be asked; 0: one may be now.
func (s *slot) sparing() time.Duration {
	least := time.Until(s.spared[0])
	for _, until := range s.spared[1:] {
		least = min(least, time.Until(until))
	}
	return max(least, 0)
}

// converse has one connection, from dial to close. It returns how long the server asked to
// be left alone.
func (s *slot) converse(ctx context.Context) (time.Duration, error) {
	p := s.pool
	conn, endpoint, asked, err := s.dial(ctx)
	s.settling.Store(err != nil && s.settles(err))
	if s.settling.Load() {
		return 0, err // who waits for the lane waits on
	}
	if err != nil {
		p.router.laneFailed(s.lane)
		return asked, err
	}
	l := newLink(conn, s, linkSettings{
		maxMessage: p.set.MaxMessageSize, maxQueue: p.set.MaxUpstreamQueue,
		pingInterval: p.set.UpstreamPing, writeTimeout: p.set.WriteTimeout,
		onMessage: func(l *link, message []byte) { p.gw.fromServer(s, l, message) },
		onWritten: func(waited time.Duration) { p.set.Observer.Forwarded(Up, waited) },
	})
	s.sample.Store(nil)
	s.wait.Store(0)
	s.current.Store(l)
	p.router.laneUp(s.lane, l)
	p.connected.Add(1)
	p.met.Store(true)
	s.once.Do(func() { close(s.first) })
	p.nudge()
	if s.lane.peer == nil {
		select {
		case p.gw.connects <- struct{}{}:
		default:
		}
		p.log.Info("connected to the OpAMP server", zap.String("upstream", s.name), zap.String("endpoint", printable(endpoint.URL)))
	}
	stop := context.AfterFunc(ctx, l.leave)
	err = l.run()
	stop()
	if l.idle.Load() {
		err = errIdle
	}
	p.gw.kin.ended(s)
	p.router.laneDown(s.lane, l)
	s.current.Store(nil)
	p.connected.Add(-1) // once nobody is sent there any more
	p.nudge()
	p.drop.note(ReasonUpstreamLost, l.unwritten.Load(), err)
	p.set.Observer.Lost(lostReason(err))
	s.blame(l, err)
	s.sentAway(err)
	return 0, err
}

// settles says whether agents may wait on, although err has kept a lane from being connected:
// the gateway is young, and nobody has answered. A server that has is taken at its word.
func (s *slot) settles(err error) bool {
	return s.lane.peer == nil && s.pool.young() && unanswered(err)
}

// young says whether the gateway has just been started and knows no server yet.
func (p *pool) young() bool { return !p.met.Load() && p.gw.now()-p.began+settlePause <= settleTime }

// unanswered says whether err is that nobody listens, or that whatever listens has nobody
// behind it yet.
func unanswered(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// handshake is the header of a handshake.
func (s *slot) handshake() http.Header {
	h := s.pool.set.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	for name, values := range s.header {
		h[name] = values
	}
	return h
}

// turnedDown is how long the server wants to be left alone. One that refuses the agent
// whose connection it is is taken at its word.
func (s *slot) turnedDown(err error) time.Duration {
	var status *opampdial.StatusError
	switch {
	case errors.Is(err, errLoop):
		if s.lane.peer != nil {
			s.refuse(errLooped)
		}
		return 0
	case !errors.As(err, &status):
		return 0
	case status.Code == http.StatusServiceUnavailable && len(gatewaysIn(status.Header)) > 0:
		return 0 // a gateway without a server; what it tells agents to wait is not for other gateways
	}
	switch status.Code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return opampdial.RetryAfter(status.Header, time.Now())
	case http.StatusUnauthorized, http.StatusForbidden:
		if s.lane.peer != nil {
			s.refuse(errRefusedByServer)
		}
	}
	return 0
}

// refuse says that the agent whose connection s is will not have one, and why.
func (s *slot) refuse(err error) {
	s.refusal.Store(&err)
	s.refused.Store(true)
	s.once.Do(func() { close(s.first) })
}

// sentAway says whether a server closed the connection of one agent because it will not have it.
func (s *slot) sentAway(err error) {
	var closed *closedError
	if s.lane.peer != nil && errors.As(err, &closed) && closed.code == wsframe.ClosePolicy {
		s.refuse(fmt.Errorf("%w: %.120q", errRefusedByServer, closed.text))
	}
}

// blame remembers the size of a message for which the server has closed the connection. Who
// sends one like it again would close it again, for everybody.
func (s *slot) blame(l *link, err error) {
	size := int64(l.tooLarge(err))
	if size == 0 {
		return
	}
	p := s.pool
	if was := p.limit.Load(); was == 0 || size < was {
		p.limit.Store(size)
	}
	p.limited.Store(time.Now().UnixNano())
	p.log.Warn("the server closed a connection because of a message that it finds too large; messages of that size are refused from now on",
		zap.Int64("bytes", size), zap.Duration("for", forgetLimit), zap.String("remedy", "set limits.max_message_size to the server's limit"))
}

// tooLarge says whether the server has closed a connection for a message of so many bytes.
func (p *pool) tooLarge(size int) bool {
	limit := p.limit.Load()
	if limit == 0 || int64(size) < limit {
		return false
	}
	if time.Since(time.Unix(0, p.limited.Load())) > forgetLimit {
		p.limit.CompareAndSwap(limit, 0)
		return false
	}
	return true
}

// noteSent begins a measurement, now and then.
func (s *slot) noteSent(uid opampwire.InstanceUID, now moment) {
	if now-moment(s.sampled.Load()) < samplePause {
		return
	}
	if open := s.sample.Load(); open != nil && now-open.at < sampleLimit {
		return
	}
	s.sampled.Store(int64(now))
	s.sample.Store(&sample{uid: uid, at: now})
}

// noteAnswer ends one. What comes after sampleLimit answers something else.
func (s *slot) noteAnswer(uid opampwire.InstanceUID, now moment) {
	open := s.sample.Load()
	if open == nil || open.uid != uid || !s.sample.CompareAndSwap(open, nil) || now-open.at >= sampleLimit {
		return
	}
	was := s.wait.Load()
	s.wait.Store(was + (int64(now-open.at)-was)/4)
}

// dialReason is a word on why there is no connection.
func dialReason(err error) string {
	var (
		status  *opampdial.StatusError
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errLoop):
		return "loop"
	case errors.As(err, &status):
		switch status.Code {
		case http.StatusUnauthorized, http.StatusForbidden:
			return "unauthorized"
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			return "throttled"
		default:
			return "http_status"
		}
	case errors.Is(err, opampdial.ErrAuth):
		return "auth"
	case errors.Is(err, opampdial.ErrProxy), errors.Is(err, opampdial.ErrProxyAuth):
		return "proxy"
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return "network"
	}
}

// lostReason is a word on why a connection ended.
func lostReason(err error) string {
	var closed *closedError
	switch {
	case errors.Is(err, errIdle):
		return "idle"
	case errors.As(err, &closed):
		return "closed_by_server"
	case errors.Is(err, errSilent):
		return "silent"
	case errors.Is(err, errStuck):
		return "stuck"
	case errors.Is(err, errLeft):
		return "shutdown"
	case errors.Is(err, wsframe.ErrFrame), errors.Is(err, opampwire.ErrMalformed):
		return "protocol"
	case errors.Is(err, errTooLarge):
		return "too_large"
	case errors.Is(err, errFault):
		return "fault"
	case errors.Is(err, io.EOF):
		return "closed_by_server"
	default:
		return "network"
	}
}
