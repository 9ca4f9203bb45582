// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"cmp"
	"expvar"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
)

// statusVariable is the name under which the process shows how its opamp extensions
// stand, by component id (package expvar; the zpages extension serves it).
const statusVariable = "opamp"

// statusPage is what is shown of one extension. It answers why there is no connection.
// The names are the ones that people and scripts read; they only ever get more.
type statusPage struct {
	Summary            string         `json:"summary"`
	Endpoint           string         `json:"endpoint"`
	Transport          string         `json:"transport"`
	InstanceUID        string         `json:"instance_uid"`
	Phase              string         `json:"phase"`
	ConnectedSince     time.Time      `json:"connected_since,omitzero"`
	OutageSince        time.Time      `json:"outage_since,omitzero"`
	Attempts           int            `json:"attempts"`
	NextAttemptAt      time.Time      `json:"next_attempt_at,omitzero"`
	LastFailure        *failurePage   `json:"last_failure,omitempty"`
	LastMessageAt      time.Time      `json:"last_message_at,omitzero"`
	ServerCapabilities []string       `json:"server_capabilities"`
	RefusedOffers      []refusedOffer `json:"refused_offers"`
	PendingParts       []string       `json:"pending_parts"`
}

type failurePage struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Error  string    `json:"error"`
}

type refusedOffer struct {
	Offer  string    `json:"offer"`
	Count  uint64    `json:"count"`
	LastAt time.Time `json:"last_at"`
}

// statusOf is the page for a client of the given endpoint. hide takes secrets out of a
// text that a server or an authenticator may have written.
func statusOf(s opampclient.Status, endpoint, transport string, hide func(string) string, now time.Time) statusPage {
	page := statusPage{
		Endpoint:           endpoint,
		Transport:          transport,
		InstanceUID:        s.InstanceUID.String(),
		Phase:              string(s.Phase),
		ConnectedSince:     s.ConnectedSince,
		OutageSince:        s.OutageSince,
		Attempts:           s.Attempts,
		NextAttemptAt:      s.NextAttempt,
		LastMessageAt:      s.LastMessage,
		ServerCapabilities: capabilityNames(s.ServerCapabilities),
		RefusedOffers:      []refusedOffer{},
		PendingParts:       []string{},
	}
	if f := s.LastFailure; f.Reason != "" {
		page.LastFailure = &failurePage{At: f.At, Reason: string(f.Reason), Error: hide(f.Error)}
	}
	for _, r := range s.Refused {
		page.RefusedOffers = append(page.RefusedOffers, refusedOffer{Offer: r.Offer, Count: r.Count, LastAt: r.Last})
	}
	for _, p := range s.Parts {
		if p.Pending {
			page.PendingParts = append(page.PendingParts, p.Part)
		}
	}
	page.Summary = summary(s, page.LastFailure, now)
	return page
}

// summary is the page in a sentence.
func summary(s opampclient.Status, last *failurePage, now time.Time) string {
	switch s.Phase {
	case opampclient.PhaseConnected:
		return "connected for " + age(s.ConnectedSince, now)
	case opampclient.PhaseStopped:
		return "stopped"
	case opampclient.PhaseNotStarted:
		return "not connected: waits for the collector's configuration before the first attempt"
	}
	text := "not connected"
	if !s.OutageSince.IsZero() {
		text += " for " + age(s.OutageSince, now)
	}
	switch {
	case s.Phase == opampclient.PhaseOpen:
		text += ": there is a connection, and the server has not answered on it"
		if last != nil && last.At.After(s.OutageSince) {
			text += "; before: " + last.Error
		}
	case last != nil:
		text += fmt.Sprintf(": %s: %s", last.Reason, last.Error)
	}
	if !s.NextAttempt.IsZero() {
		text += "; next attempt in " + age(now, s.NextAttempt)
	}
	return text
}

// age is how much later now is than then, in whole seconds.
func age(then, now time.Time) string {
	return max(0, now.Sub(then)).Round(time.Second).String()
}

// capabilityNames are the names of the bits that are set; a bit that this version of
// the protocol does not define is shown by its value.
func capabilityNames(c uint64) []string {
	names := make([]string, 0, bits.OnesCount64(c))
	for rest := c; rest != 0; rest &= rest - 1 {
		bit := rest & -rest
		name := fmt.Sprintf("%#x", bit)
		if bit <= math.MaxInt32 {
			name = cmp.Or(strings.TrimPrefix(protobufs.ServerCapabilities_name[int32(bit)], "ServerCapabilities_"), name)
		}
		names = append(names, name)
	}
	return names
}

// statusPages are the pages of the extensions that run in this process. expvar has no
// way to take a variable back, so there is one for all of them and for good.
var statusPages statusBook

type statusBook struct {
	publish sync.Once

	mu   sync.Mutex
	byID map[string]*statusEntry // guarded by mu
}

// statusEntry is one extension in the book.
type statusEntry struct{ page func() statusPage }

// add shows page under id until the returned function is called. A later extension of
// the same id takes its place.
func (b *statusBook) add(id component.ID, page func() statusPage) (remove func()) {
	b.publish.Do(b.publishVariable)
	entry := &statusEntry{page}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID == nil {
		b.byID = make(map[string]*statusEntry)
	}
	b.byID[id.String()] = entry
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.byID[id.String()] == entry {
			delete(b.byID, id.String())
		}
	}
}

// publishVariable leaves a name alone that somebody else in the process has taken.
// Publishing over it would end the process.
func (b *statusBook) publishVariable() {
	if expvar.Get(statusVariable) == nil {
		expvar.Publish(statusVariable, expvar.Func(b.pages))
	}
}

// pages are what the variable shows now.
func (b *statusBook) pages() any {
	b.mu.Lock()
	entries := maps.Clone(b.byID)
	b.mu.Unlock()
	pages := make(map[string]statusPage, len(entries))
	for id, entry := range entries {
		pages[id] = entry.page()
	}
	return pages
}

// list shows how the client stands, until the returned function is called.
func (e *opampExtension) list(client *opampclient.Client, endpoint *url.URL) (remove func()) {
	shown, transport := opampendpoint.Printable(endpoint), "websocket"
	if e.cfg.Server.HTTP.HasValue() {
		transport = "http"
	}
	return statusPages.add(e.set.ID, func() statusPage {
		return statusOf(client.Status(), shown, transport, e.redactor.text, time.Now())
	})
}
