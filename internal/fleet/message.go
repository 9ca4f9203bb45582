// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// What is kept of an agent's custom messages.
const (
	maxChannels    = 32       // capabilities; the one that was silent for the longest time makes room
	maxLast        = 6        // messages of each capability
	maxMessageData = 4 << 10  // bytes of the data of each
	maxAllData     = 64 << 10 // bytes of the data of all; the oldest message makes room
)

// Direction is who sent a [Message].
type Direction string

const (
	DirectionReceived Direction = "received" // by the agent, to this server
	DirectionSent     Direction = "sent"     // to the agent
)

// MessageFate is what became of a [Message].
type MessageFate string

const (
	MessageReceived  MessageFate = "received"  // from an agent
	MessageDelivered MessageFate = "delivered" // handed to the agent's connection, or put into the answer to its poll
	MessageQueued    MessageFate = "queued"    // it waits for the agent's next poll
	MessageExpired   MessageFate = "expired"   // it waited, and the agent did not poll in time, or the server was restarted
	MessageRefused   MessageFate = "refused"   // Post said no
)

// MessageFates lists every fate.
func MessageFates() []MessageFate {
	return []MessageFate{MessageReceived, MessageDelivered, MessageQueued, MessageExpired, MessageRefused}
}

// Message is a custom message from or to an agent. It never changes.
type Message struct {
	N          uint64 // which message of its channel this is, from 1
	Capability string
	Type       string
	Direction  Direction
	Fate       MessageFate
	At         time.Time // when it came, was handed over, or expired
	Size       int       // bytes of its data
	Data       []byte    // the beginning of its data
}

// Truncated reports whether Data is only the beginning.
func (m *Message) Truncated() bool { return len(m.Data) < m.Size }

// Text is Data as a text, if they are one: UTF-8 without control characters but tabs and line ends.
func (m *Message) Text() (string, bool) {
	text := string(m.Data)
	if m.Truncated() { // perhaps within a character
		for range utf8.UTFMax - 1 {
			if r, n := utf8.DecodeLastRuneInString(text); r != utf8.RuneError || n != 1 {
				break
			}
			text = text[:len(text)-1]
		}
	}
	control := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		return "", false
	}
	return text, true
}

// Channel is what an agent and this server said with one custom capability. It never changes.
type Channel struct {
	Capability string
	Received   uint64     // messages from the agent
	Sent       uint64     // messages to it
	Last       []*Message // the last few, the newest first
}

// Channel of a capability; nil if nothing was said with it, or it was forgotten.
func (a *Agent) Channel(capability string) *Channel {
	if i, ok := a.findChannel(capability); ok {
		return a.Channels[i]
	}
	return nil
}

// Announces reports whether the agent takes messages of a capability.
func (a *Agent) Announces(capability string) bool {
	_, ok := slices.BinarySearch(a.CustomCapabilities, capability)
	return ok
}

func (a *Agent) findChannel(capability string) (int, bool) {
	return slices.BinarySearchFunc(a.Channels, capability, func(c *Channel, name string) int {
		return cmp.Compare(c.Capability, name)
	})
}

// decodeMessage takes a message within its limits. begins is how its data begin, if not as they are.
func decodeMessage(c *cutter, m *protobufs.CustomMessage, begins []byte) *Message {
	out := &Message{
		Capability: c.name(m.GetCapability()), Type: c.name(m.GetType()),
		Direction: DirectionReceived, Fate: MessageReceived, Size: len(m.GetData()),
	}
	if begins == nil {
		begins = m.GetData()
	}
	out.Data = beginning(begins)
	if out.Truncated() {
		c.note(CutMessageData)
	}
	return out
}

func beginning(data []byte) []byte { return bytes.Clone(data[:min(len(data), maxMessageData)]) }

// keep adds a message, which nobody has seen yet, to what was said, and makes room for it.
func (a *Agent) keep(m *Message) {
	a.said++
	a.Channels = slices.Clone(a.Channels) // the old ones are others' to look at
	i, ok := a.findChannel(m.Capability)
	if !ok && len(a.Channels) >= maxChannels {
		a.dropQuietest()
		i, _ = a.findChannel(m.Capability)
	}
	if !ok {
		a.Channels = slices.Insert(a.Channels, i, &Channel{Capability: m.Capability})
	}
	a.Channels[i] = a.Channels[i].with(m)
	for a.messageData() > maxAllData {
		a.dropOldest()
	}
}

func (c *Channel) with(m *Message) *Channel {
	next := *c
	if m.Direction == DirectionSent {
		next.Sent++
	} else {
		next.Received++
	}
	m.N = next.Received + next.Sent
	next.Last = append(make([]*Message, 0, maxLast), m)
	next.Last = append(next.Last, c.Last[:min(len(c.Last), maxLast-1)]...)
	return &next
}

// spokeAt is when the newest message that is kept was said.
func (c *Channel) spokeAt() time.Time {
	if len(c.Last) == 0 {
		return time.Time{}
	}
	return c.Last[0].At
}

func (a *Agent) dropQuietest() {
	quietest := slices.MinFunc(a.Channels, func(x, y *Channel) int { return x.spokeAt().Compare(y.spokeAt()) })
	a.Channels = slices.DeleteFunc(a.Channels, func(c *Channel) bool { return c == quietest })
}

func (a *Agent) messageData() (n int) {
	for _, c := range a.Channels {
		for _, m := range c.Last {
			n += len(m.Data)
		}
	}
	return n
}

// dropOldest forgets the oldest message; its channel goes on counting.
func (a *Agent) dropOldest() {
	at := -1
	for i, c := range a.Channels {
		if n := len(c.Last); n > 0 && (at < 0 || c.Last[n-1].At.Before(a.Channels[at].oldest().At)) {
			at = i
		}
	}
	shorter := *a.Channels[at]
	shorter.Last = shorter.Last[:len(shorter.Last)-1]
	a.Channels[at] = &shorter
}

func (c *Channel) oldest() *Message { return c.Last[len(c.Last)-1] }

// channelsBytes is what the channels take.
func (a *Agent) channelsBytes() (n int) {
	for _, c := range a.Channels {
		n += channelBytes + len(c.Capability)
		for _, m := range c.Last {
			n += m.bytes()
		}
	}
	return n
}

func (m *Message) bytes() int { return messageBytes + len(m.Capability) + len(m.Type) + len(m.Data) }

// foldMessage takes a custom message, and what it tells of an ingest or a gateway.
func (a *Agent) foldMessage(r report, now time.Time) Changes {
	if r.message == nil {
		return 0
	}
	m := *r.message
	m.At = now
	a.keep(&m)
	a.foldIngest(r.ingest, now)
	a.foldGateway(r.gateway, now)
	a.Dropped &^= PartMessages
	return ChangedMessages
}
