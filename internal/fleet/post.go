// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Bounds of what is sent to agents.
const (
	// MaxPostBytes bounds the data of a message to an agent.
	MaxPostBytes = 64 << 10
	// MaxPostType bounds its type, in bytes.
	MaxPostType = 256
	// maxLetters is how many messages may wait for one agent.
	maxLetters = 8
	// letterLife is how long a message waits for a poll: ten of them, at the interval that agents have by default.
	letterLife = 5 * time.Minute
)

// How often messages may be sent: to one agent, and to all.
var (
	postsToOne = pace{perSecond: 2, burst: 10}
	postsToAll = pace{perSecond: 50, burst: 200}
)

var (
	// ErrUnknownAgent says that no agent has this instance UID.
	ErrUnknownAgent = errors.New("no such agent is known")
	// ErrNotConnected says that the agent is gone.
	ErrNotConnected = errors.New("the agent is not connected")
	// ErrNotAnnounced says that the agent does not take messages of this capability.
	ErrNotAnnounced = errors.New("the agent does not announce this custom capability")
	// ErrTooManyPosts says that messages are sent faster than they may.
	ErrTooManyPosts = errors.New("messages are sent too often")
	// ErrMailboxFull says that as many messages wait for the agent's polls as may.
	ErrMailboxFull = errors.New("too many messages wait for the agent's next polls")
	// ErrBadPost says that a message is none that can be sent.
	ErrBadPost = errors.New("not a message that can be sent")
	// ErrPostTooLarge says that the data are more than MaxPostBytes.
	ErrPostTooLarge = errors.New("the data are too large")
)

// Posting is a custom message for an agent.
type Posting struct {
	Capability string
	Type       string // up to MaxPostType bytes; may be empty
	Data       []byte // up to MaxPostBytes
}

// Dispatch says how a [Posting] gets to its agent.
type Dispatch struct {
	// Conn is the WebSocket to send Message on, and then to tell [Fleet.Posted]; 0 for one that waits for a poll.
	Conn    uint64
	Message *protobufs.ServerToAgent
	// Expires is until when a message waits.
	Expires time.Time
}

// Letter is a message that waits for its agent to poll. It never changes.
type Letter struct {
	Message
	Expires time.Time

	data []byte // all of it
}

// Post takes a message for an agent. For one that polls it is put into its mailbox, and goes out with the answer to a
// poll, one a poll. The error is one of this file's.
func (f *Fleet) Post(uid opampwire.InstanceUID, p Posting, now time.Time) (Dispatch, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec, err := f.addresseeLocked(uid, p, now)
	if err != nil {
		f.stats.Messages[MessageRefused]++
		return Dispatch{}, err
	}
	a := rec.agent
	if a.Transport != TransportHTTP {
		return Dispatch{Conn: a.talk.speaker.id, Message: envelope(uid, p.Capability, p.Type, p.Data)}, nil
	}
	next := *a
	letter := &Letter{
		Message: p.message(MessageQueued, now), Expires: now.Add(letterLife), data: slices.Clone(p.Data),
	}
	next.said++
	next.Mail = append(slices.Clip(a.Mail), letter)
	f.publishLocked(rec, &next, ChangedMail)
	f.stats.Messages[MessageQueued]++
	return Dispatch{Expires: letter.Expires}, nil
}

// Posted notes that a message went out on the WebSocket of its [Dispatch].
func (f *Fleet) Posted(uid opampwire.InstanceUID, p Posting, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Messages[MessageDelivered]++
	rec := f.agents[uid]
	if rec == nil {
		return // forgotten meanwhile
	}
	next := *rec.agent
	m := p.message(MessageDelivered, now)
	next.keep(&m)
	f.publishLocked(rec, &next, ChangedMail)
	f.economizeLocked(rec, ChangedMail)
}

// addresseeLocked finds whom a message is for, unless it must not be sent.
func (f *Fleet) addresseeLocked(uid opampwire.InstanceUID, p Posting, now time.Time) (*record, error) {
	rec := f.agents[uid]
	if rec == nil {
		return nil, ErrUnknownAgent
	}
	switch a := rec.agent; {
	case p.Capability == "":
		return nil, fmt.Errorf("%w: no capability", ErrBadPost)
	case len(p.Type) > MaxPostType:
		return nil, fmt.Errorf("%w: a type of %d bytes, limit %d", ErrBadPost, len(p.Type), MaxPostType)
	case !utf8.ValidString(p.Type):
		return nil, fmt.Errorf("%w: the type is not UTF-8", ErrBadPost)
	case len(p.Data) > MaxPostBytes:
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrPostTooLarge, len(p.Data), MaxPostBytes)
	case !a.Present():
		return nil, ErrNotConnected
	case !a.Announces(p.Capability):
		return nil, fmt.Errorf("%w: %.128q", ErrNotAnnounced, p.Capability)
	case len(a.Mail) >= maxLetters:
		return nil, fmt.Errorf("%w: %d", ErrMailboxFull, len(a.Mail))
	case !rec.posts.take(postsToOne, now) || !f.posts.take(postsToAll, now):
		return nil, ErrTooManyPosts
	}
	return rec, nil
}

func (p Posting) message(fate MessageFate, now time.Time) Message {
	return Message{
		Capability: p.Capability, Type: p.Type, Direction: DirectionSent, Fate: fate,
		At: now, Size: len(p.Data), Data: beginning(p.Data),
	}
}

func envelope(uid opampwire.InstanceUID, capability, kind string, data []byte) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid:   uid.Bytes(),
		Capabilities:  serverCapabilities,
		CustomMessage: &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data},
	}
}

// takeLetter puts the message that waits longest into a reply. One that the agent cannot take any more, or that is too
// old, is not sent.
func (a *Agent) takeLetter(reply *protobufs.ServerToAgent, now time.Time) (ch Changes) {
	ch = a.expireMail(now)
	if len(a.Mail) == 0 || !a.Present() || !a.Announces(a.Mail[0].Capability) {
		return ch
	}
	letter := a.Mail[0]
	a.Mail = slices.Clone(a.Mail[1:])
	reply.CustomMessage = &protobufs.CustomMessage{Capability: letter.Capability, Type: letter.Type, Data: letter.data}
	m := letter.Message
	m.Fate, m.At = MessageDelivered, now
	a.keep(&m)
	return ch | ChangedMail
}

// expireMail drops what waited too long, and says so among what was said.
func (a *Agent) expireMail(now time.Time) (ch Changes) {
	for len(a.Mail) > 0 && !now.Before(a.Mail[0].Expires) {
		m := a.Mail[0].Message
		m.Fate, m.At = MessageExpired, now
		a.Mail = slices.Clone(a.Mail[1:])
		a.keep(&m)
		ch = ChangedMail
	}
	return ch
}

// mailBytes is what waits.
func (a *Agent) mailBytes() (n int) {
	for _, l := range a.Mail {
		n += l.bytes() + len(l.data)
	}
	return n
}

// sortMailLocked keeps track of who has mail.
func (f *Fleet) sortMailLocked(rec *record) {
	switch waits := len(rec.agent.Mail) > 0; {
	case waits && rec.mail.in == nil:
		f.mailed.push(rec)
	case !waits:
		f.mailed.drop(rec)
	}
}

// expireMailLocked looks through the mailboxes. postsToAll bounds how many there are.
func (f *Fleet) expireMailLocked(now time.Time) {
	for rec := f.mailed.head; rec != nil; {
		following := rec.mail.next
		next := *rec.agent
		if ch := next.expireMail(now); ch != 0 {
			f.countMailLocked(rec.agent, &next, nil)
			f.publishLocked(rec, &next, ch)
		}
		rec = following
	}
}

// countMailLocked counts what became of the mail that prev had and next has not.
func (f *Fleet) countMailLocked(prev, next *Agent, reply *protobufs.ServerToAgent) {
	if prev == nil || len(prev.Mail) == len(next.Mail) {
		return
	}
	left := uint64(len(prev.Mail) - len(next.Mail)) //nolint:gosec // a report only takes mail away
	if reply.GetCustomMessage() != nil {
		f.stats.Messages[MessageDelivered]++
		left--
	}
	if left > 0 {
		f.stats.Messages[MessageExpired] += left
	}
}

// pace is how often something may happen.
type pace struct{ perSecond, burst float64 }

// allowance is what is left of a pace. The zero allowance is all of it.
type allowance struct {
	used float64 // of the burst
	at   time.Time
}

func (a *allowance) take(p pace, now time.Time) bool {
	if passed := now.Sub(a.at).Seconds(); passed > 0 {
		a.used = max(a.used-passed*p.perSecond, 0)
		a.at = now
	}
	if a.used+1 > p.burst {
		return false
	}
	a.used++
	return true
}
