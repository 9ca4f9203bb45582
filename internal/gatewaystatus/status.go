// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gatewaystatus

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Capability is the custom capability that all messages of this package belong to.
const Capability = "io.github.otel-fleetview.gateway"

// Types of the messages of [Capability].
const (
	TypeStatus = "GatewayStatus" // a [Status] as JSON
	TypeAgents = "GatewayAgents" // an [Agents] as JSON
)

// Bounds on what is read.
const (
	// MaxSize bounds a message, in bytes.
	MaxSize = 256 << 10
	// MaxUpstreams bounds [Status.Upstreams], MaxReasons each of its maps.
	MaxUpstreams = 256
	MaxReasons   = 64
	// MaxOver bounds [Status.Over].
	MaxOver = 16
	// MaxText bounds every text, in bytes.
	MaxText = 256
	// MaxParts bounds [Agents.Parts], PartSize the agents in one.
	MaxParts = 1024
	PartSize = 2000
)

// ErrMalformed says that bytes are none of these messages.
var ErrMalformed = errors.New("malformed gateway status")

// Status is what a gateway carries. Counts are since its start, and only grow.
type Status struct {
	// Gateway is the component's id, such as opamp_gateway/edge. An agent may have several.
	Gateway string `json:"gateway"`
	// Name is one that the gateway made up at its start; Over are those of the gateways over which it reaches the server,
	// in no order. A gateway that goes to the server itself has none.
	Name string   `json:"name,omitempty"`
	Over []string `json:"over,omitempty"`
	// Updated is when this was true, a Unix time in nanoseconds.
	Updated int64 `json:"updated_unix_nano"`
	Started int64 `json:"started_unix_nano"`

	Agents      int        `json:"agents"`      // that it speaks for, those in their grace included
	Connections int        `json:"connections"` // downstream WebSockets
	Polling     int        `json:"polling"`     // agents over plain HTTP, among Agents
	Upstreams   []Upstream `json:"upstreams"`

	MessagesUp   uint64 `json:"messages_up"`
	MessagesDown uint64 `json:"messages_down"`
	BytesUp      uint64 `json:"bytes_up"`
	BytesDown    uint64 `json:"bytes_down"`

	// Drops counts messages that were not forwarded, by reason: a closed set.
	Drops map[string]uint64 `json:"drops,omitempty"`
	// Refused counts connections and requests that were refused, by reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
	// Duplicates counts instance UIDs that two connections spoke for.
	Duplicates uint64 `json:"duplicates"`
	Announced  uint64 `json:"announced"` // agents told to the server again, after a loss
	Goodbyes   uint64 `json:"goodbyes"`  // said for agents that said none
}

// Upstream is one connection to the server.
type Upstream struct {
	Name        string  `json:"name"`
	Endpoint    string  `json:"endpoint"` // without user and query
	Connected   bool    `json:"connected"`
	Idle        bool    `json:"idle,omitempty"` // not connected, because no agent needs it
	Agents      int     `json:"agents"`
	QueuedBytes int     `json:"queued_bytes"`
	AnswerTime  float64 `json:"answer_time_seconds"` // how long the server takes, smoothed
}

// Agents are some of the agents behind a gateway.
type Agents struct {
	Gateway string `json:"gateway"`
	// Version tells one listing from the next: it grows. Part is from 0 to Parts-1.
	Version uint64 `json:"version"`
	Part    int    `json:"part"`
	Parts   int    `json:"parts"`
	// UIDs are instance UIDs, 16 bytes each.
	UIDs []byte `json:"uids"`
}

// largestTime bounds [Upstream.AnswerTime]: what is beyond is made up.
const largestTime = 1e6

// ParseStatus reads a [Status]. The error is [ErrMalformed]. Figures that can't be, such as a negative number of
// agents, are the nearest that can.
func ParseStatus(data []byte) (*Status, error) {
	s := new(Status)
	if err := parse(data, s); err != nil {
		return nil, err
	}
	if len(s.Upstreams) > MaxUpstreams || len(s.Drops) > MaxReasons || len(s.Refused) > MaxReasons || len(s.Over) > MaxOver {
		return nil, fmt.Errorf("%w: too many upstreams, reasons or gateways", ErrMalformed)
	}
	texts := append([]string{s.Gateway, s.Name}, s.Over...)
	for _, u := range s.Upstreams {
		texts = append(texts, u.Name, u.Endpoint)
	}
	for _, m := range []map[string]uint64{s.Drops, s.Refused} {
		for reason := range m {
			texts = append(texts, reason)
		}
	}
	for _, text := range texts {
		if len(text) > MaxText {
			return nil, fmt.Errorf("%w: a text of %d bytes", ErrMalformed, len(text))
		}
	}
	s.bound()
	return s, nil
}

// bound holds every figure to what it may be.
func (s *Status) bound() {
	s.Updated, s.Started = max(s.Updated, 0), max(s.Started, 0)
	s.Agents, s.Connections, s.Polling = bounded(s.Agents), bounded(s.Connections), bounded(s.Polling)
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		u.Agents, u.QueuedBytes = bounded(u.Agents), bounded(u.QueuedBytes)
		u.AnswerTime = min(max(u.AnswerTime, 0), largestTime)
	}
}

// largestCount is more than any gateway has of anything, and small enough that the sum of many is a number.
const largestCount = math.MaxInt32

func bounded(n int) int { return min(max(n, 0), largestCount) }

// ParseAgents reads an [Agents]. The error is [ErrMalformed].
func ParseAgents(data []byte) (*Agents, error) {
	a := new(Agents)
	if err := parse(data, a); err != nil {
		return nil, err
	}
	switch {
	case len(a.Gateway) > MaxText:
		return nil, fmt.Errorf("%w: a text of %d bytes", ErrMalformed, len(a.Gateway))
	case a.Parts < 1 || a.Parts > MaxParts || a.Part < 0 || a.Part >= a.Parts:
		return nil, fmt.Errorf("%w: part %d of %d", ErrMalformed, a.Part, a.Parts)
	case len(a.UIDs)%len(opampwire.InstanceUID{}) != 0 || len(a.UIDs) > PartSize*len(opampwire.InstanceUID{}):
		return nil, fmt.Errorf("%w: %d bytes of instance UIDs", ErrMalformed, len(a.UIDs))
	}
	return a, nil
}

func parse(data []byte, into any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Each calls yield with the instance UIDs of a, until it returns false. Those that are none
// are left out.
func (a *Agents) Each(yield func(opampwire.InstanceUID) bool) {
	const size = len(opampwire.InstanceUID{})
	for b := a.UIDs; len(b) >= size; b = b[size:] {
		if uid, err := opampwire.InstanceUIDFromBytes(b[:size]); err == nil && !yield(uid) {
			return
		}
	}
}

// List divides the agents behind a gateway into messages. There is always one.
func List(gateway string, version uint64, uids []opampwire.InstanceUID) []Agents {
	parts := min(MaxParts, max(1, (len(uids)+PartSize-1)/PartSize))
	list := make([]Agents, 0, parts)
	for part := range parts {
		n := min(PartSize, len(uids))
		a := Agents{Gateway: gateway, Version: version, Part: part, Parts: parts, UIDs: make([]byte, 0, n*len(opampwire.InstanceUID{}))}
		for _, uid := range uids[:n] {
			a.UIDs = append(a.UIDs, uid[:]...)
		}
		list, uids = append(list, a), uids[n:]
	}
	return list
}
