// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// savedSaid is how it is written down what an agent said by custom messages, and what was said to it.
type savedSaid struct {
	Channels []savedChannel `json:"channels,omitempty"`
	Ingests  []savedIngest  `json:"ingests,omitempty"`
	Gateways []savedGateway `json:"gateways,omitempty"`
	Mail     []savedMessage `json:"mail,omitempty"`
}

type savedChannel struct {
	Capability string         `json:"capability"`
	Received   uint64         `json:"received,omitempty"`
	Sent       uint64         `json:"sent,omitempty"`
	Last       []savedMessage `json:"last,omitempty"`
}

type savedMessage struct {
	N          uint64      `json:"n,omitempty"`
	Capability string      `json:"capability,omitempty"` // of mail; else that of the channel
	Type       string      `json:"type,omitempty"`
	Direction  Direction   `json:"direction"`
	Fate       MessageFate `json:"fate"`
	At         int64       `json:"at"`
	Size       int         `json:"size,omitempty"`
	Text       string      `json:"text,omitempty"`
}

type savedIngest struct {
	Progress ingestprogress.Progress `json:"progress"`
	Detailed bool                    `json:"detailed,omitempty"`
	Since    int64                   `json:"since"`
	Heard    int64                   `json:"heard"`
	From     int64                   `json:"from,omitempty"`
}

type savedGateway struct {
	Status gatewaystatus.Status `json:"status"`
	Told   bool                 `json:"told,omitempty"`
	Heard  int64                `json:"heard"`
}

// Said grows whenever something is said that [Agent.MarshalSaid] writes down.
func (a *Agent) Said() uint64 { return a.said }

// MarshalSaid writes down what was said by custom messages; nothing if nothing was. Left out are:
//   - the data of what was sent to the agent, and of what is no text: nobody has looked for secrets in them;
//   - which agents are behind a gateway: that is much, and soon told again.
func (a *Agent) MarshalSaid() ([]byte, error) {
	if len(a.Channels)+len(a.Ingests)+len(a.Gateways)+len(a.Mail) == 0 {
		return nil, nil
	}
	var s savedSaid
	for _, c := range a.Channels {
		saved := savedChannel{Capability: c.Capability, Received: c.Received, Sent: c.Sent}
		for _, m := range c.Last {
			saved.Last = append(saved.Last, m.save())
		}
		s.Channels = append(s.Channels, saved)
	}
	for _, in := range a.Ingests {
		s.Ingests = append(s.Ingests, savedIngest{
			Progress: in.Progress, Detailed: in.Detailed, Since: saveTime(in.Since), Heard: saveTime(in.Heard), From: in.from,
		})
	}
	for _, g := range a.Gateways {
		s.Gateways = append(s.Gateways, savedGateway{Status: g.Status, Told: g.Told, Heard: saveTime(g.Heard)})
	}
	for _, l := range a.Mail {
		saved := l.save()
		saved.Capability = l.Capability
		s.Mail = append(s.Mail, saved)
	}
	return json.Marshal(s)
}

func (m *Message) save() savedMessage {
	out := savedMessage{
		N: m.N, Type: m.Type, Direction: m.Direction, Fate: m.Fate, At: saveTime(m.At), Size: m.Size,
	}
	if text, ok := m.Text(); ok && m.Direction == DirectionReceived {
		out.Text = text
	}
	return out
}

func (s *savedMessage) restore(capability string) *Message {
	return &Message{
		N: s.N, Capability: capability, Type: s.Type, Direction: s.Direction, Fate: s.Fate, At: restoreTime(s.At),
		Size: s.Size, Data: []byte(s.Text),
	}
}

// RestoreSaid reads what MarshalSaid wrote, into an agent that nobody has seen yet. Messages that waited for a poll
// wait no longer: they are told of as expired.
func (a *Agent) RestoreSaid(raw []byte, now time.Time) error {
	var s savedSaid
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("%w: what was said: %w", ErrNotSaved, err)
	}
	for _, saved := range s.Channels[:min(len(s.Channels), maxChannels)] {
		c := &Channel{Capability: saved.Capability, Received: saved.Received, Sent: saved.Sent}
		for _, m := range saved.Last[:min(len(saved.Last), maxLast)] {
			c.Last = append(c.Last, m.restore(c.Capability))
		}
		a.Channels = append(a.Channels, c)
	}
	slices.SortFunc(a.Channels, func(x, y *Channel) int { return cmp.Compare(x.Capability, y.Capability) })
	for _, saved := range s.Ingests[:min(len(s.Ingests), maxIngests)] {
		a.Ingests = append(a.Ingests, &Ingest{
			Progress: saved.Progress, Detailed: saved.Detailed,
			Since: restoreTime(saved.Since), Heard: restoreTime(saved.Heard), from: saved.From,
		})
	}
	slices.SortStableFunc(a.Ingests, ingestOrder)
	for _, saved := range s.Gateways[:min(len(s.Gateways), maxGateways)] {
		a.Gateways = append(a.Gateways, &Gateway{Status: saved.Status, Told: saved.Told, Heard: restoreTime(saved.Heard)})
	}
	slices.SortFunc(a.Gateways, func(x, y *Gateway) int { return cmp.Compare(x.Gateway, y.Gateway) })
	a.said++
	for _, saved := range s.Mail[:min(len(s.Mail), maxLetters)] {
		m := saved.restore(saved.Capability)
		m.Fate, m.At = MessageExpired, now
		a.keep(m)
	}
	return nil
}
