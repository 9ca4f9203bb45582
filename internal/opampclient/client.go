// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// maxRejection bounds what a log line repeats of a server's rejection, in bytes.
const maxRejection = 256

// errStopped ends a conversation that Stop ended.
var errStopped = errors.New("stopped")

// Client reports one agent to one server. All methods are safe for concurrent use and
// none but Stop ever waits.
type Client struct {
	// Fixed at construction.
	set      Settings
	wake     chan struct{} // a level of size 1: the state has changed
	converse func() *failure
	soft     context.Context // ends when Stop begins: dials and pauses end with it, an exchange soon after
	softEnd  context.CancelFunc
	hard     context.Context // ends when Stop runs out of time: everything ends with it
	hardEnd  context.CancelFunc
	done     chan struct{} // closed when run has returned

	board board // what Status shows

	mu      sync.Mutex
	state   state // guarded by mu
	started bool  // guarded by mu
	stopped bool  // guarded by mu

	// Owned by run.
	session  session
	ledger   ledger // of the WebSocket that is up
	pace     pace
	outage   outage
	backoff  backoff
	interval time.Duration // between heartbeats, or polls; a server may move it
	answered bool          // this conversation has had an answer
	plain    bool          // the server has refused a compressed message
	told     map[string]time.Time
	sent     [partCount]uint64 // the newest version of each part that ever went out
}

// New makes a client that does nothing until Start.
func New(set Settings, initial Report) *Client {
	set = set.withDefaults()
	c := &Client{
		set:      set,
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		state:    newState(initial),
		session:  session{maxSend: set.MaxSend},
		pace:     pace{every: set.CustomPace},
		outage:   outage{logger: set.Logger},
		interval: set.HeartbeatInterval,
		told:     make(map[string]time.Time),
	}
	c.soft, c.softEnd = context.WithCancel(context.Background())
	c.hard, c.hardEnd = context.WithCancel(context.Background())
	c.converse = c.converseWebSocket
	if s := set.Endpoint.Scheme; s == "http" || s == "https" {
		c.converse = c.converseHTTP
		c.interval = set.PollingInterval
	}
	return c
}

// Start begins to report. It returns at once; a second Start, or one after Stop, does
// nothing.
func (c *Client) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.stopped {
		return
	}
	c.started = true
	go c.run()
}

// Stop says goodbye if a connection is up and ends everything that Start began, within
// 1.5 s or when ctx ends, whichever is first. Stopping twice is harmless.
func (c *Client) Stop(ctx context.Context) {
	c.mu.Lock()
	c.stopped = true
	started := c.started
	c.mu.Unlock()

	c.softEnd()
	if started {
		limit := time.AfterFunc(stopLimit, c.hardEnd)
		defer limit.Stop()
		defer context.AfterFunc(ctx, c.hardEnd)()
		<-c.done
	}
	c.hardEnd()
}

// SetInstanceUID names the agent before Start. Afterwards only the server does, and it
// does nothing.
func (c *Client) SetInstanceUID(uid opampwire.InstanceUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.state.uid = uid
	}
}

// SetDescription sets who the agent says it is.
func (c *Client) SetDescription(d *protobufs.AgentDescription) { set(c, partDescription, d) }

// SetHealth sets how it is. The caller limits how often; see componenthealth.
func (c *Client) SetHealth(h *protobufs.ComponentHealth) { set(c, partHealth, h) }

// SetEffectiveConfig sets what it runs.
func (c *Client) SetEffectiveConfig(e *protobufs.EffectiveConfig) { set(c, partEffectiveConfig, e) }

// SetComponents sets what it is built of: the hash and the whole list.
func (c *Client) SetComponents(a *protobufs.AvailableComponents) { set(c, partComponents, a) }

// SetCustomCapabilities sets which custom capabilities it has.
func (c *Client) SetCustomCapabilities(cc *protobufs.CustomCapabilities) {
	set(c, partCustomCapabilities, cc)
}

func set[M partValue](c *Client, p part, m M) {
	var none M
	if m == none {
		return
	}
	c.mu.Lock()
	news := setPart(&c.state, p, m)
	c.mu.Unlock()
	if !news {
		c.board.suppressed[p].Add(1)
		return
	}
	c.Nudge()
}

func (c *Client) snapshot() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// run has one conversation after the other until Stop.
func (c *Client) run() {
	defer close(c.done)
	defer c.board.stopped()
	for {
		c.session.begin()
		c.answered = false
		c.board.trying(time.Now())
		c.board.knows(c.session.told, nil, &c.sent)
		f := c.converse()
		c.resend(f)
		// The next attempt asks anew where the server is, and no dial outlives its attempt.
		c.set.HTTPClient.CloseIdleConnections()
		if c.answered {
			c.set.Observer.Connected(false)
		}
		if c.soft.Err() != nil {
			return
		}
		c.board.ended(f, time.Now())
		if !c.sitOut(f, time.Now()) {
			return
		}
	}
}

// sitOut waits until the server may be tried again, and reports whether to go on. The
// outage is put into words after a moment only: a server that stops together with this
// collector, in the same process, is none.
func (c *Client) sitOut(f *failure, began time.Time) bool {
	d := c.delay(f)
	c.board.waiting(began.Add(d))
	moment := min(d, outageMoment)
	if !c.pause(moment) {
		return false
	}
	c.outage.failed(f, began)
	return c.pause(d - moment)
}

// delay is how long to stay away after f.
func (c *Client) delay(f *failure) time.Duration {
	d := c.backoff.next()
	if f.retryAfter > 0 {
		d = max(d, after(f.retryAfter, c.set.MaxRetryAfter))
	}
	return d
}

// pause waits, and reports whether to go on.
func (c *Client) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.soft.Done():
		return false
	}
}

// take acts on a message of the server, and says what it comes to. A failure ends the
// conversation.
func (c *Client) take(msg *protobufs.ServerToAgent, size int) (verdict, *failure) {
	c.set.Observer.Received(size)
	eachPart(msg, c.set.Observer.Heard)
	c.board.heard(msg, time.Now())
	v := c.session.receive(msg, c.snapshot(), time.Now())
	for _, d := range v.dropped {
		c.set.Observer.Dropped(d.what, d.reason)
	}
	switch {
	case v.foreign:
		return v, nil
	case v.unavailable:
		return v, &failure{
			reason:     ReasonUnavailable,
			err:        errors.New("server answered that it is unavailable"),
			retryAfter: v.retryAfter,
		}
	}
	c.noteAnswer()
	c.refuse(v.refused)
	if v.rejected != "" {
		c.set.Observer.Dropped("report", ReasonRejected)
		c.say("rejected", "The OpAMP server rejected a message of this agent",
			zap.String("error", bounded(v.rejected, maxRejection)))
	}
	if v.heartbeat > 0 {
		c.interval = v.heartbeat
	}
	if v.newUID != nil {
		c.mu.Lock()
		c.state.uid = *v.newUID
		c.mu.Unlock()
		c.set.Observer.Renamed()
		c.set.OnInstanceUID(*v.newUID)
	}
	if v.custom != nil {
		c.dispatch(v.custom)
	}
	return v, nil
}

// noteAnswer notes that a server of ours is there and speaks OpAMP.
func (c *Client) noteAnswer() {
	if !c.answered {
		c.answered = true
		c.board.answered(time.Now())
		c.set.Observer.Connected(true)
	}
	c.outage.answered(time.Now())
}

// refuse counts what the server would have us do.
func (c *Client) refuse(offers []string) {
	for _, offer := range offers {
		c.set.Observer.Refused(offer)
		c.board.refuse(offer, time.Now())
		c.say("refused "+offer, "Refused an offer of the OpAMP server: this agent only reports",
			zap.String("offer", offer))
	}
}

// say logs a line that may recur, once a minute for one kind. The kinds are a closed set.
func (c *Client) say(kind, text string, fields ...zap.Field) {
	now := time.Now()
	if last, ok := c.told[kind]; ok && now.Sub(last) < quiet {
		return
	}
	c.told[kind] = now
	c.set.Logger.Warn(text, fields...)
}

// noteSent counts a message that went out and what was too large to go with it.
func (c *Client) noteSent(out outgoing, size int) {
	c.set.Observer.Sent(size)
	eachPart(out.msg, c.set.Observer.Reported)
	c.board.knows(c.session.told, out.reported, &c.sent)
	for _, p := range out.tooLarge {
		c.set.Observer.Dropped(parts[p].name, ReasonTooLarge)
		c.say("too large "+parts[p].name, "A part of the report is too large to send and was left out",
			zap.String("part", parts[p].name), zap.Int("limit_bytes", c.set.MaxSend))
	}
}
