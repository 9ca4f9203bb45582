// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
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
)

// errPost says that a message over plain HTTP did not get its answer.
var errPost = errors.New("exchange with the OpAMP server over plain HTTP")

// poster carries messages to a server over plain HTTP: an exchange for each. An agent's
// reader makes it, so an agent has one at a time and its messages keep their order; what
// the server has for an agent comes with the answer to what the agent says.
type poster struct {
	// Fixed at construction.
	gw    *Gateway
	slot  *slot
	slots chan struct{} // one for each exchange at a time
	own   chan []byte   // frames of the gateway's own: announcements and goodbyes
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
				p.gw.drop.note(ReasonUpstreamFailed, 1, err)
			}
		}
	}
}

// offer implements carrier.
func (p *poster) offer(frame []byte) bool {
	select {
	case p.own <- frame:
		return true
	default:
		return false
	}
}

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
	reply, err := p.post(ctx, uid, message, forwarded)
	if err != nil {
		return fmt.Errorf("%w: %w", errPost, err)
	}
	g.set.Observer.Forwarded(Up, time.Since(began))
	g.deliver(p.slot, nil, reply, time.Now())
	return nil
}

func (p *poster) post(ctx context.Context, uid opampwire.InstanceUID, message []byte, forwarded http.Header) ([]byte, error) {
	g := p.gw
	index := g.pool.active.Load()
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
		g.pool.failOver(index, err)
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
		return nil, fmt.Errorf("the answer is not %s: is this the OpAMP endpoint?", mediaType)
	}
	return opampwire.ReadLimited(io.LimitReader(resp.Body, g.set.MaxMessageSize+1), g.set.MaxMessageSize)
}
