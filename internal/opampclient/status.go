// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Phase is what a client is doing about its connection.
type Phase string

// The phases of a client.
const (
	PhaseNotStarted Phase = "not_started" // before Start
	PhaseConnecting Phase = "connecting"  // dialing, or the first exchange is under way
	PhaseOpen       Phase = "open"        // there is a WebSocket, and no answer on it yet
	PhaseConnected  Phase = "connected"   // the server answers
	PhaseWaiting    Phase = "waiting"     // for NextAttempt
	PhaseStopped    Phase = "stopped"
)

// Status is how a client stands with its server at one moment: why there is no
// connection, for people, and how much there is to tell, for metrics. Times are zero
// where there is nothing to tell.
type Status struct {
	InstanceUID        opampwire.InstanceUID
	Phase              Phase
	ConnectedSince     time.Time
	OutageSince        time.Time // since when the server should answer and does not
	Attempts           int       // within this outage
	NextAttempt        time.Time
	LastFailure        Failure
	LastMessage        time.Time      // when the server last sent one that could be read
	ServerCapabilities uint64         // as it last stated them, bits that are not defined included
	Refused            []RefusedOffer // by name; a closed set, so it is short
	Parts              []PartStatus   // in the order of the protocol
}

// Failure is the last thing that went wrong with the connection. It stays when the
// server is back.
type Failure struct {
	At     time.Time
	Reason Reason // empty if nothing ever went wrong
	// Error is at most [maxErrorText] bytes. It may repeat what a server, a proxy or an
	// authenticator said.
	Error string
}

// RefusedOffer is what the server would have had this agent take.
type RefusedOffer struct {
	Offer string
	Count uint64
	Last  time.Time
}

// PartStatus is how much was and was not said of one part of the report.
type PartStatus struct {
	Part       string
	Pending    bool   // there is something that this connection has not been told
	Suppressed uint64 // times that it was set to what it was
	Coalesced  uint64 // changes that a later one replaced before they were sent
}

// maxErrorText bounds what is kept of a text that may come from elsewhere, in bytes.
const maxErrorText = 512

// board holds what Status shows. The client's goroutine writes, anybody reads.
type board struct {
	suppressed [partCount]atomic.Uint64
	coalesced  [partCount]atomic.Uint64

	mu      sync.Mutex
	status  Status                  // guarded by mu; without what others hold
	told    [partCount]uint64       // guarded by mu: versions that this connection was told
	refused map[string]RefusedOffer // guarded by mu
}

func (b *board) update(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
}

// trying notes that a conversation begins.
func (b *board) trying(now time.Time) {
	b.update(func(s *Status) {
		s.Phase, s.NextAttempt = PhaseConnecting, time.Time{}
		s.Attempts++
		if s.OutageSince.IsZero() {
			s.OutageSince = now
		}
	})
}

// opened notes that there is a connection on which nothing was said yet.
func (b *board) opened() {
	b.update(func(s *Status) { s.Phase = PhaseOpen })
}

// answered notes that the server is there and speaks OpAMP.
func (b *board) answered(now time.Time) {
	b.update(func(s *Status) {
		s.Phase, s.ConnectedSince = PhaseConnected, now
		s.OutageSince, s.Attempts = time.Time{}, 0
	})
}

// heard notes a message of the server. No capabilities are no word on them.
func (b *board) heard(msg *protobufs.ServerToAgent, now time.Time) {
	b.update(func(s *Status) {
		s.LastMessage = now
		if c := msg.GetCapabilities(); c != 0 {
			s.ServerCapabilities = c
		}
	})
}

// troubled notes what went wrong without the conversation being over.
func (b *board) troubled(f *failure, now time.Time) {
	text := bounded(f.Error(), maxErrorText)
	b.update(func(s *Status) { s.LastFailure = Failure{At: now, Reason: f.reason, Error: text} })
}

// bounded is a text that may come from elsewhere, as valid UTF-8 of at most limit bytes
// and a sign that there was more.
func bounded(text string, limit int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}

// ended notes the end of a conversation.
func (b *board) ended(f *failure, now time.Time) {
	b.troubled(f, now)
	b.update(func(s *Status) {
		s.Phase, s.ConnectedSince = PhaseWaiting, time.Time{}
		if s.OutageSince.IsZero() {
			s.OutageSince = now
		}
	})
}

// waiting notes when the next attempt is due.
func (b *board) waiting(until time.Time) {
	b.update(func(s *Status) { s.NextAttempt = until })
}

// stopped notes that nothing more will come.
func (b *board) stopped() {
	b.update(func(s *Status) {
		s.Phase = PhaseStopped
		s.ConnectedSince, s.OutageSince, s.NextAttempt = time.Time{}, time.Time{}, time.Time{}
	})
}

// refuse notes an offer. Their names are a closed set.
func (b *board) refuse(offer string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = make(map[string]RefusedOffer)
	}
	b.refused[offer] = RefusedOffer{Offer: offer, Count: b.refused[offer].Count + 1, Last: now}
}

// knows notes what this connection was told, and how many changes of the parts that
// went out were never told because a later one replaced them.
func (b *board) knows(told [partCount]uint64, reported []part, before *[partCount]uint64) {
	for _, p := range reported {
		if v := told[p]; v > before[p] {
			b.coalesced[p].Add(v - before[p] - 1)
			before[p] = v
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = told
}

// Status is how things stand now. It may be asked for at any time, also after Stop.
func (c *Client) Status() Status {
	st := c.snapshot()
	b := &c.board
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.InstanceUID = st.uid
	if s.Phase == "" {
		s.Phase = PhaseNotStarted
	}
	for _, r := range b.refused {
		s.Refused = append(s.Refused, r)
	}
	slices.SortFunc(s.Refused, func(a, b RefusedOffer) int { return strings.Compare(a.Offer, b.Offer) })
	for p, h := range st.parts {
		s.Parts = append(s.Parts, PartStatus{
			Part:       parts[p].name,
			Pending:    s.Phase != PhaseStopped && h.version != b.told[p],
			Suppressed: b.suppressed[p].Load(),
			Coalesced:  b.coalesced[p].Load(),
		})
	}
	return s
}
