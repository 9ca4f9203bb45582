// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Settings of a [UI]. A zero field takes its default.
type Settings struct {
	// OpAMPEndpoint is the URL that a collector must be pointed at, shown where there is no collector yet.
	// Default ws://127.0.0.1:4320/v1/opamp.
	OpAMPEndpoint string
	// History is where it is kept what happened. Without it the fleet's own memory is all there is.
	History fleethistory.Log
	// Load are the figures of the server itself. Without it the page of the server tells only what the fleet knows.
	Load func() Load
	// Sender takes questions to collectors. Without one none are asked.
	Sender *fleetsend.Sender
	// MaySend is as in fleetapi. It is asked, too, of a request for a page, which shows no button that may not be used.
	MaySend func(*http.Request) error
	// Index of the fleet, to share one with others. Default is one of its own.
	Index *fleetsearch.Index
}

const defaultOpAMPEndpoint = "ws://127.0.0.1:4320/v1/opamp"

// UI serves the pages. It is safe for concurrent use.
type UI struct {
	// Fixed at construction.
	fleet    *fleet.Fleet
	index    *fleetsearch.Index
	reader   *fleethistory.Reader
	settings Settings
	mux      *http.ServeMux
	pages    *template.Template
	assets   assets
	now      func() time.Time
	slots    chan struct{} // full of the questions about all agents that are being answered
}

// maxSearches is how many pages that look at all agents are made at a time. Others wait for as long as their browsers
// do, so that no crowd of people takes the cores from the agents.
const maxSearches = 2

//go:embed templates/*.html
var templates embed.FS

// New returns the pages of f.
func New(f *fleet.Fleet, s Settings) *UI {
	if s.OpAMPEndpoint == "" {
		s.OpAMPEndpoint = defaultOpAMPEndpoint
	}
	if s.Index == nil {
		s.Index = fleetsearch.New(f)
	}
	if s.History == nil {
		s.History = fleethistory.InMemory{Fleet: f}
	}
	s.MaySend = fleetsend.Guard(s.MaySend)
	u := &UI{
		fleet: f, index: s.Index, reader: fleethistory.New(s.History, s.Index), settings: s, mux: http.NewServeMux(),
		assets: loadAssets(), now: time.Now, slots: make(chan struct{}, maxSearches),
	}
	shared := newShared(f, s.Index, func() time.Time { return u.now() }, u.searching)
	u.pages = template.Must(template.New("").Funcs(template.FuncMap{
		"asset": u.assets.url, "facets": fleetquery.Facets,
	}).
		ParseFS(templates, "templates/*.html"))
	u.mux.HandleFunc("GET /{$}", shared.sharing(u.overview))
	u.mux.HandleFunc("GET /agents", shared.sharing(u.list))
	u.mux.HandleFunc("GET /agents/{uid}", u.searching(u.agent))
	u.mux.HandleFunc("GET /agents/{uid}/config", u.config)
	u.mux.HandleFunc("GET /problems", shared.sharing(u.problems))
	u.mux.HandleFunc("GET /configs", shared.sharing(u.configs))
	u.mux.HandleFunc("GET /configs/{hash}", shared.sharing(u.oneConfig))
	u.mux.HandleFunc("GET /configs/{hash}/text", u.configText)
	u.mux.HandleFunc("GET /configs/{hash}/diff", shared.sharing(u.diff))
	u.mux.HandleFunc("GET /rollout", shared.sharing(u.rollout))
	u.mux.HandleFunc("GET /events", u.listEvents)
	u.mux.HandleFunc("GET /complete", u.searching(u.complete))
	u.mux.HandleFunc("GET /topology", shared.sharing(u.topology))
	u.mux.HandleFunc("GET /server", u.server)
	if s.Sender != nil {
		u.mux.HandleFunc("POST /agents/{uid}/report", u.ask)
	}
	u.mux.HandleFunc("GET /assets/{file}", u.asset)
	u.mux.HandleFunc("GET /", u.nothing)
	return u
}

// policy lets the browser load this page's own files and nothing else, and lets nobody frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	u.mux.ServeHTTP(w, r)
}

// searching bounds how many requests of h are answered at a time.
func (u *UI) searching(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case u.slots <- struct{}{}:
			defer func() { <-u.slots }()
			h(w, r)
		case <-r.Context().Done():
			http.Error(w, "the browser did not wait", http.StatusServiceUnavailable)
		}
	}
}

// page is what every page has.
type page struct {
	Title string
	// Here is the path of the entry of the navigation that the page belongs to.
	Here string
	// Events is where the news for this page come from; empty for a page that nothing happens on.
	Events string
	// Every is after how many seconds the page is fetched again whatever happened; 0 is never.
	Every int
	// Unread is how many configs were not read when the page was made; 0 on a page that shows nothing of them.
	Unread int
	Body   any
}

// place is an entry of the navigation.
type place struct{ Path, Word string }

// Places are the entries of the navigation.
func (page) Places() []place {
	return []place{
		{"/", "Overview"},
		{"/agents", "Collectors"},
		{"/problems", "Problems"},
		{"/configs", "Configs"},
		{"/events", "Events"},
		{"/topology", "Topology"},
		{"/server", "Server"},
	}
}

func (u *UI) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	var out bytes.Buffer
	if err := u.pages.ExecuteTemplate(&out, name, p); err != nil {
		// Only a mistake in a template of ours can do this; every one is rendered in the tests.
		http.Error(w, "this page can't be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	send(w, r, status, out.Bytes(), nil)
}

// events is the stream that tells when what was true at p has changed; of one agent, if uid is not zero. unread is how many
// configs were not read at p.
func events(p fleet.Position, uid opampwire.InstanceUID, unread int) string {
	v := url.Values{"view": {"version"}, "since": {p.String()}}
	if !uid.IsZero() {
		v.Set("instance_uid", uid.String())
	}
	if unread > 0 {
		v.Set("unread", "true")
	}
	return "/api/v1/events?" + v.Encode()
}

// missing is the body of a page that is not there.
type missing struct {
	Heading string
	Text    string
}

func (u *UI) nothing(w http.ResponseWriter, r *http.Request) {
	u.render(w, r, http.StatusNotFound, "missing.html", page{
		Title: "Not found",
		Body:  missing{Heading: "There is no such page", Text: "The address may be mistyped."},
	})
}
