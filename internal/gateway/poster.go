// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	mediaType = "application/x-protobuf"
	// posterQueue is how many messages of the gateway's own wait to be posted.
	posterQueue = 1024
	// posterWorkers post them.
	posterWorkers = 4
	// movePause is the least time between two endpoints that are tried.
	movePause = 5 * time.Second
)

// errPost says that a message over plain HTTP did not get its answer.
var errPost = errors.New("exchange with the OpAMP server over plain HTTP")

// errAnswer says that the server is there, and its answer is no use.
var errAnswer = errors.New("the answer")

// poster carries messages to a server over plain HTTP: an exchange for each. An agent's
// reader makes it, so an agent has one at a time and its messages keep their order; what
// the server has for an agent comes with the answer to what the agent says.
type poster struct {
	// Fixed at construction.
	gw    *Gateway
	slot  *slot
	slots chan struct{} // one for each exchange at a time
	own   chan []byte   // frames of the gateway's own: announcements and goodbyes

	mu       sync.Mutex
	failures int       // guarded by mu: exchanges in a row for which the server was not there
	until    time.Time // guarded by mu: what the gateway has to say of its own waits
	moved    time.Time // guarded by mu: when the next endpoint was tried last
}

func newPoster(gw *Gateway, s *slot) *poster {
	return &poster{gw: gw, slot: s, slots: make(chan struct{}, gw.set.MaxConnections), own: make(chan []byte, posterQueue)}
}

// run posts what the gateway itself has to say, until ctx ends.
func (p *poster) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case frame := <-p.own:
			m, err := opampwire.ScanAgentMessage(frame[1:])
			if err == nil {
				err = p.carry(ctx, m.UID, frame[1:], nil)
			}
			if err != nil {
				p.gw.router.missedBy(m.UID, p.mayTell(err))
				p.gw.drop.note(ReasonUpstreamFailed, 1, err)
			}
		}
	}
}

// offer implements carrier.
func (p *poster) offer(frame []byte) bool {
	if p.waits(time.Now()) {
		return false
	}
	select {
	case p.own <- frame:
		return true
	default:
		return false
	}
}

// waits says whether the server was not there a moment ago.
func (p *poster) waits(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until)
}

// heed takes in how an exchange with an endpoint has ended. The agents decide on when they speak;
// what the gateway has to say for them after a loss waits until the server may be there again.
func (p *poster) heed(index int32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !absent(err) {
		p.failures, p.until = 0, time.Time{}
		return
	}
	now, wait := time.Now(), pause(p.failures)
	p.failures++
	if status := new(opampdial.StatusError); errors.As(err, &status) {
		wait = max(wait, min(opampdial.RetryAfter(status.Header, now), p.gw.set.MaxRetryAfter))
	}
	p.until = now.Add(wait + rand.N(wait/4+1)) //nolint:gosec // jitter, not a secret
	if now.Sub(p.moved) >= movePause {
		p.moved = now
		p.gw.pool.failOver(index, err)
	}
}

// absent says whether err, if it is one, is that the server was not there or had no time, whoever asks. A proxy says so as well.
func absent(err error) bool {
	var status *opampdial.StatusError
	switch {
	case err == nil, errors.Is(err, errLoop), errors.Is(err, errAnswer):
		return false
	case !errors.As(err, &status):
		return true
	}
	switch status.Code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// mayTell says whether the server may be told of an agent whose message has failed with err. One that the server has
// refused it may not, nor one that shows the server credentials of its own: an announcement has those of the gateway.
func (p *poster) mayTell(err error) bool { return absent(err) && len(p.gw.set.ForwardHeaders) == 0 }

// carry posts a message and delivers the answer.
func (p *poster) carry(ctx context.Context, uid opampwire.InstanceUID, message []byte, forwarded http.Header) error {
	g := p.gw
	ctx, cancel := context.WithTimeout(ctx, g.set.HandshakeTimeout)
	defer cancel()
	began := time.Now()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	index := g.pool.active.Load()
	reply, err := p.post(ctx, index, uid, message, forwarded)
	p.heed(index, err)
	if err != nil {
		return fmt.Errorf("%w: %w", errPost, err)
	}
	g.set.Observer.Forwarded(Up, time.Since(began))
	g.deliver(p.slot, nil, reply, time.Now())
	return nil
}

// post makes one exchange with an endpoint.
func (p *poster) post(ctx context.Context, index int32, uid opampwire.InstanceUID, message []byte, forwarded http.Header) ([]byte, error) {
	g := p.gw
	endpoint := g.set.Endpoints[index]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.URL.String(), bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	for _, h := range []http.Header{g.set.Header, forwarded} {
		for name, values := range h {
			req.Header[name] = values
		}
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("OpAMP-Instance-UID", uid.String())
	g.kin.sign(req.Header)
	resp, err := opampdial.NoRedirects(endpoint.Client).Do(req)
	if err != nil {
		err = opampdial.WithoutURL(err)
		g.set.Observer.Dialled(dialReason(err))
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read, or is of no use
	if resp.StatusCode != http.StatusOK {
		err := p.slot.unlooped(&opampdial.StatusError{Code: resp.StatusCode, Header: resp.Header})
		g.set.Observer.Dialled(dialReason(err))
		return nil, err
	}
	if err := g.kin.learn(p.slot, resp.Header); err != nil {
		g.set.Observer.Dialled(dialReason(err))
		return nil, err
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != mediaType {
		return nil, fmt.Errorf("%w: it is not %s: is this the OpAMP endpoint?", errAnswer, mediaType)
	}
	reply, err := opampwire.ReadLimited(io.LimitReader(resp.Body, g.set.MaxMessageSize+1), g.set.MaxMessageSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return reply, nil
}
