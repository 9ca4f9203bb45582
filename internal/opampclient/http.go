// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const contentType = "application/x-protobuf"

// converseHTTP polls until an exchange fails. One request is in flight at a time.
func (c *Client) converseHTTP() *failure {
	began := time.Now()
	poll := time.NewTimer(c.interval)
	defer poll.Stop()
	early := time.NewTimer(time.Hour)
	defer early.Stop()
	due := false
	for {
		if c.soft.Err() != nil { // the goodbye takes along what is left to say
			return c.leaveHTTP(&failure{reason: ReasonShutdown, err: errStopped})
		}
		out, wait := c.session.next(c.snapshot(), time.Now())
		if out.msg == nil {
			var later time.Duration
			out, later = c.nextCustom(time.Now())
			wait = sooner(wait, later)
		}
		if out.msg == nil && due {
			out.msg = c.session.heartbeat(c.snapshot())
		}
		if out.msg != nil {
			if f := c.poll(out); f != nil {
				if c.answered && time.Since(began) >= proven {
					c.backoff.reset()
				}
				return c.leaveHTTP(f)
			}
			due = false
			poll.Reset(c.interval)
			continue // what was said may want an answer
		}
		if wait > 0 {
			early.Reset(wait)
		}
		select {
		case <-c.soft.Done():
		case <-c.wake:
		case <-early.C:
		case <-poll.C:
			due = true
		}
	}
}

// poll is one exchange and what follows from it. Stop lets it end, for a moment: what is
// called off may still be on its way, and come to the server after the goodbye.
func (c *Client) poll(out outgoing) *failure {
	ctx, cancel := context.WithTimeout(c.hard, exchangeLimit)
	defer cancel()
	defer context.AfterFunc(c.soft, func() { time.AfterFunc(exchangeGrace, cancel) })()
	before := c.answered
	reply, size, f := c.exchange(ctx, out)
	if f == nil {
		var v verdict
		v, f = c.take(reply, size)
		c.settle(out, v, f)
	} else if out.custom && f.tooBig && before {
		// It is an answer, and to this message alone.
		c.set.CustomMessages.Again(time.Now(), FaultTooLarge)
		f = nil
	}
	switch {
	case f == nil:
		if !before && c.answered {
			c.set.Observer.ConnectAttempt("ok")
		}
	case c.soft.Err() != nil:
		c.set.Observer.Disconnected(ReasonShutdown)
	case before:
		c.set.Observer.Disconnected(f.reason)
	default:
		c.set.Observer.ConnectAttempt(string(f.reason))
	}
	return f
}

// settle says what became of a custom message whose exchange has brought a reply.
func (c *Client) settle(out outgoing, v verdict, f *failure) {
	switch {
	case !out.custom || f != nil:
	case v.rejected != "":
		c.set.CustomMessages.Rejected(ReasonRejected)
	default:
		c.set.CustomMessages.Answered()
	}
}

// exchange posts a message and reads the reply.
func (c *Client) exchange(ctx context.Context, out outgoing) (*protobufs.ServerToAgent, int, *failure) {
	body, err := proto.Marshal(out.msg)
	if err != nil {
		return nil, 0, &failure{reason: ReasonMalformed, err: err}
	}
	resp, size, err := c.postPacked(ctx, body)
	if err != nil {
		return nil, 0, broken(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, refusal(resp)
	}
	c.noteSent(out, size)
	return c.readReply(resp)
}

// postPacked sends body compressed where that makes it smaller, and says how large it was.
// A server that can't take it gets the same as it is, at once, and from then on.
func (c *Client) postPacked(ctx context.Context, body []byte) (*http.Response, int, error) {
	if c.set.Uncompressed || c.plain {
		resp, err := c.post(ctx, body, "")
		return resp, len(body), err
	}
	packed := compressed(body)
	if packed == nil {
		resp, err := c.post(ctx, body, "")
		return resp, len(body), err
	}
	resp, err := c.post(ctx, packed, "gzip")
	if err != nil || !refusesEncoding(resp.StatusCode) {
		return resp, len(packed), err
	}
	_ = resp.Body.Close() // it holds words, if anything
	c.plain = true
	c.set.Logger.Info("The OpAMP server refused a compressed message, they are sent as they are from now on",
		zap.Int("status", resp.StatusCode))
	resp, err = c.post(ctx, body, "")
	return resp, len(body), err
}

// post is one request. Its headers are made anew for each, and an authenticator in the
// HTTP client sees them all, and the body as it is sent.
func (c *Client) post(ctx context.Context, body []byte, encoding string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.set.Endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept-Encoding", "gzip")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	// Not sent (it has no value), but net/http then tries once more where a kept
	// connection was closed under it. The same report twice does no harm.
	req.Header["Idempotency-Key"] = []string{}
	return opampdial.NoRedirects(c.set.HTTPClient).Do(req)
}

func (c *Client) readReply(resp *http.Response) (*protobufs.ServerToAgent, int, *failure) {
	if got := resp.Header.Get("Content-Type"); got != "" {
		if media, _, err := mime.ParseMediaType(got); err != nil || media != contentType {
			return nil, 0, &failure{reason: ReasonMalformed, err: fmt.Errorf(
				"%w: reply of type %.64q, want %s; is this the OpAMP endpoint?", opampwire.ErrMalformed, got, contentType)}
		}
	}
	body, err := readBody(resp, c.set.MaxReceive)
	if err != nil {
		return nil, 0, broken(err)
	}
	reply := new(protobufs.ServerToAgent)
	if err := opampwire.ParseMessage(body, reply); err != nil {
		return nil, 0, broken(err)
	}
	return reply, len(body), nil
}

// leaveHTTP passes f on, and says goodbye first where Stop has ended a conversation that
// went well. An exchange that was in flight has been called off, and what it told may not
// have arrived, so the goodbye tells everything again.
func (c *Client) leaveHTTP(f *failure) *failure {
	if c.soft.Err() == nil || c.outage.down {
		return f
	}
	if f.err == errStopped { //nolint:errorlint // identity: no exchange was in flight
		c.finishHTTP()
	} else {
		c.session.forget()
	}
	ctx, cancel := context.WithTimeout(c.hard, goodbyeLimit)
	defer cancel()
	// Nobody waits for the reply: the agent is gone.
	_, _, _ = c.exchange(ctx, c.session.goodbye(c.snapshot()))
	return f
}

// finishHTTP sends the custom messages that wait, as far as that goes within
// customFlushLimit.
func (c *Client) finishHTTP() {
	ctx, cancel := context.WithTimeout(c.hard, customFlushLimit)
	defer cancel()
	for c.answered && ctx.Err() == nil {
		out, _ := c.nextCustom(time.Now())
		if out.msg == nil {
			return
		}
		reply, size, f := c.exchange(ctx, out)
		if f != nil {
			return
		}
		v, f := c.take(reply, size)
		c.settle(out, v, f)
		if f != nil {
			return
		}
	}
}
