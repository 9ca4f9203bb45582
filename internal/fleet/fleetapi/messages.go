// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	// MaxBodyBytes bounds the body of a request: the most that a message may carry, each byte as JSON's longest escape.
	MaxBodyBytes = 6*fleet.MaxPostBytes + 8<<10
	// bodyTimeout is how long a body may take to come.
	bodyTimeout = 10 * time.Second
)

// messageList is the answer to GET /api/v1/agents/{uid}/custom-messages.
type messageList struct {
	Capabilities []channel  `json:"capabilities"`
	Waiting      []outgoing `json:"waiting"`
}

// channel is what was said with one custom capability.
type channel struct {
	Capability string    `json:"capability"`
	Announced  bool      `json:"announced"`
	Received   uint64    `json:"received"`
	Sent       uint64    `json:"sent"`
	Last       []message `json:"last"`
}

type message struct {
	Number    uint64            `json:"number"`
	Type      string            `json:"type"`
	Direction fleet.Direction   `json:"direction"`
	Fate      fleet.MessageFate `json:"fate"`
	Time      time.Time         `json:"time"`
	Size      int               `json:"size"`
	Data      string            `json:"data"`
	Text      *string           `json:"text"`
	Truncated bool              `json:"truncated"`
}

// outgoing is a message that waits for its agent's poll.
type outgoing struct {
	Capability string    `json:"capability"`
	Type       string    `json:"type"`
	Since      time.Time `json:"since"`
	Expires    time.Time `json:"expires"`
	Size       int       `json:"size"`
}

// newMessage is the body of POST /api/v1/agents/{uid}/custom-messages.
type newMessage struct {
	Capability string `json:"capability"`
	Type       string `json:"type"`
	Data       string `json:"data"`
	Encoding   string `json:"encoding"`
}

// sent is the answer to it.
type sent struct {
	Outcome fleet.MessageFate `json:"outcome"`
	Expires *time.Time        `json:"expires"`
}

func (a *API) listMessages(w http.ResponseWriter, r *http.Request) {
	if agent, ok := a.find(w, r); ok {
		answer(w, http.StatusOK, newMessageList(agent))
	}
}

func newMessageList(a *fleet.Agent) messageList {
	names := slices.Clone(a.CustomCapabilities)
	for _, c := range a.Channels {
		names = append(names, c.Capability)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	out := messageList{Capabilities: make([]channel, 0, len(names)), Waiting: make([]outgoing, 0, len(a.Mail))}
	for _, name := range names {
		out.Capabilities = append(out.Capabilities, newChannel(a, name))
	}
	for _, l := range a.Mail {
		out.Waiting = append(out.Waiting, outgoing{
			Capability: l.Capability, Type: l.Type, Since: l.At.UTC(), Expires: l.Expires.UTC(), Size: l.Size,
		})
	}
	return out
}

func newChannel(a *fleet.Agent, name string) channel {
	out := channel{Capability: name, Announced: a.Announces(name), Last: []message{}}
	c := a.Channel(name)
	if c == nil {
		return out
	}
	out.Received, out.Sent = c.Received, c.Sent
	for _, m := range c.Last {
		one := message{
			Number: m.N, Type: m.Type, Direction: m.Direction, Fate: m.Fate, Time: m.At.UTC(), Size: m.Size,
			Data: base64.StdEncoding.EncodeToString(m.Data), Truncated: m.Truncated(),
		}
		if text, ok := m.Text(); ok {
			one.Text = &text
		}
		out.Last = append(out.Last, one)
	}
	return out
}

func (a *API) sendMessage(w http.ResponseWriter, r *http.Request) {
	// Whoever may not send learns nothing, not even whether there is such an agent.
	if err := a.settings.MaySend(r); err != nil {
		fail(w, http.StatusForbidden, "forbidden", err.Error())
		return
	}
	uid, err := opampwire.ParseInstanceUID(r.PathValue("uid"))
	if err != nil {
		badRequest(w, fmt.Errorf("instance_uid: %w", err))
		return
	}
	posting, status, code, err := parsePosting(w, r)
	if err != nil {
		fail(w, status, code, err.Error())
		return
	}
	receipt, err := a.settings.Sender.Send(uid, posting)
	if err != nil {
		failToSend(w, err)
		return
	}
	status = http.StatusOK
	if receipt.Fate == fleet.MessageQueued {
		status = http.StatusAccepted
	}
	answer(w, status, sent{Outcome: receipt.Fate, Expires: knownTime(receipt.Expires)})
}

// parsePosting reads the body. Only JSON is taken: a form of another site's page can't send it.
func parsePosting(w http.ResponseWriter, r *http.Request) (p fleet.Posting, status int, code string, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		err := errors.New("the body must be application/json")
		return p, http.StatusUnsupportedMediaType, "unsupported_media_type", err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // where there are none, the server's rules hold
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return p, http.StatusRequestEntityTooLarge, "too_large", fmt.Errorf("the body is larger than %d bytes", MaxBodyBytes)
	} else if err != nil {
		return p, http.StatusBadRequest, "bad_request", errors.New("the body did not come whole")
	}
	var m newMessage
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	err = in.Decode(&m)
	if err == nil && in.More() {
		err = errors.New("more than one value")
	}
	if err != nil {
		return p, http.StatusBadRequest, "bad_request", fmt.Errorf("body: %w", err)
	}
	p, err = m.posting()
	return p, http.StatusBadRequest, "bad_request", err
}

func (m newMessage) posting() (fleet.Posting, error) {
	p := fleet.Posting{Capability: m.Capability, Type: m.Type, Data: []byte(m.Data)}
	switch m.Encoding {
	case "", "text":
	case "base64":
		data, err := base64.StdEncoding.DecodeString(m.Data)
		if err != nil {
			return fleet.Posting{}, fmt.Errorf("data: not base64: %w", err)
		}
		p.Data = data
	default:
		return fleet.Posting{}, fmt.Errorf("encoding: %.32q is neither text nor base64", m.Encoding)
	}
	return p, nil
}

// failures of sending, by what the fleet says.
var failures = []struct {
	err        error
	status     int
	code       string
	retryAfter string
}{
	{fleet.ErrUnknownAgent, http.StatusNotFound, "not_found", ""},
	{fleet.ErrNotConnected, http.StatusConflict, "not_connected", ""},
	{fleet.ErrNotAnnounced, http.StatusUnprocessableEntity, "not_announced", ""},
	{fleet.ErrPostTooLarge, http.StatusRequestEntityTooLarge, "too_large", ""},
	{fleet.ErrTooManyPosts, http.StatusTooManyRequests, "too_many_messages", "1"},
	{fleet.ErrMailboxFull, http.StatusTooManyRequests, "mailbox_full", "30"},
	{fleetsend.ErrBusy, http.StatusServiceUnavailable, "busy", "5"},
	{fleet.ErrBadPost, http.StatusBadRequest, "bad_request", ""},
}

func failToSend(w http.ResponseWriter, err error) {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			if f.retryAfter != "" {
				w.Header().Set("Retry-After", f.retryAfter)
			}
			fail(w, f.status, f.code, err.Error())
			return
		}
	}
	fail(w, http.StatusInternalServerError, "internal", "the message can't be sent")
}
