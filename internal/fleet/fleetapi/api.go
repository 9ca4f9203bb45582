// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	_ "embed"
	"net/http"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
)

// Settings of an [API]. A zero field takes its default.
type Settings struct {
	// MaxStreams bounds how many event streams are open at a time. Default 256.
	MaxStreams int
	// MaxStreamsPerPeer bounds how many of them one address has. Default 32. An address of this host may have half of
	// MaxStreams, for a proxy may speak for many.
	MaxStreamsPerPeer int
	// MaxStreamLife is how long a stream lasts, or up to a fifth less, so that not all end together. Who may see it is
	// decided when it is opened, so a client has to come again. Default 5 minutes.
	MaxStreamLife time.Duration
	// Sender takes custom messages to agents. Without one none can be sent.
	Sender *fleetsend.Sender
	// MaySend says why a request may not send a custom message. nil permits everybody. A request that a web page of
	// another origin makes is refused in any case.
	MaySend func(*http.Request) error
	// MaxSearches bounds how many questions that look at all agents are answered at a time; others wait, and past
	// 32 times as many waiting they are refused. Default 2.
	MaxSearches int
	// Index of the fleet, to share one with others. Default is one of its own.
	Index *fleetsearch.Index
	// History is where it is kept what happened. Default the memory of the fleet.
	History fleethistory.Log
}

// API serves /api/. It is safe for concurrent use.
type API struct {
	// Fixed at construction.
	fleet    *fleet.Fleet
	index    *fleetsearch.Index
	reader   *fleethistory.Reader
	settings Settings
	now      func() time.Time
	began    time.Time
	work     *work
	mux      *http.ServeMux
	streams  *streams
	closed   chan struct{}

	close sync.Once
}

//go:embed openapi.yaml
var openAPI []byte

const (
	defaultMaxStreams        = 256
	defaultMaxStreamsPerPeer = 32
	defaultMaxStreamLife     = 5 * time.Minute
	defaultMaxSearches       = 2
)

// New returns the API of f.
func New(f *fleet.Fleet, s Settings) *API {
	if s.MaxStreams <= 0 {
		s.MaxStreams = defaultMaxStreams
	}
	if s.MaxStreamsPerPeer <= 0 {
		s.MaxStreamsPerPeer = defaultMaxStreamsPerPeer
	}
	if s.MaxStreamLife <= 0 {
		s.MaxStreamLife = defaultMaxStreamLife
	}
	if s.MaxSearches <= 0 {
		s.MaxSearches = defaultMaxSearches
	}
	if s.Index == nil {
		s.Index = fleetsearch.New(f)
	}
	if s.History == nil {
		s.History = fleethistory.InMemory{Fleet: f}
	}
	s.MaySend = fleetsend.Guard(s.MaySend)
	a := &API{
		fleet:    f,
		index:    s.Index,
		reader:   fleethistory.New(s.History, s.Index),
		settings: s,
		now:      time.Now,
		began:    time.Now(),
		work:     newWork(s.MaxSearches),
		mux:      http.NewServeMux(),
		streams:  newStreams(s.MaxStreams, s.MaxStreamsPerPeer),
		closed:   make(chan struct{}),
	}
	a.route("/api/v1/agents", a.listAgents)
	a.route("/api/v1/agents/{uid}", a.showAgent)
	a.route("/api/v1/agents/{uid}/graph", a.showGraph)
	a.routeBoth("/api/v1/agents/{uid}/custom-messages", a.listMessages, a.sendMessage)
	a.route("/api/v1/facets", a.countFacets)
	a.route("/api/v1/components", a.listComponents)
	a.route("/api/v1/query/complete", a.completeQuery)
	a.route("/api/v1/problems", a.listProblems)
	a.route("/api/v1/configs", a.listConfigs)
	a.route("/api/v1/configs/{hash}", a.showConfig)
	a.route("/api/v1/configs/{hash}/diff/{other}", a.diffConfigs)
	a.route("/api/v1/agents/{uid}/history", a.agentHistory)
	a.route("/api/v1/history", a.listHistory)
	a.route("/api/v1/agents/{uid}/transition", a.showTransition)
	a.route("/api/v1/disappeared", a.listDisappeared)
	a.route("/api/v1/coverage", a.showCoverage)
	a.route("/api/v1/rollout", a.showRollout)
	a.route("/api/v1/topology", a.showTopology)
	a.route("/api/v1/events", a.streamEvents)
	a.route("/api/v1/openapi.yaml", a.describe)
	a.mux.HandleFunc("/", notFound)
	return a
}

// route serves GET and HEAD of a path, and refuses everything else in JSON.
func (a *API) route(path string, h http.HandlerFunc) {
	a.mux.HandleFunc("GET "+path, h)
	a.mux.HandleFunc(path, methodNotAllowed)
}

// routeBoth serves GET and HEAD of a path, and POST where messages can be sent.
func (a *API) routeBoth(path string, get, post http.HandlerFunc) {
	if a.settings.Sender == nil {
		a.route(path, get)
		return
	}
	a.mux.HandleFunc("GET "+path, get)
	a.mux.HandleFunc("POST "+path, post)
	a.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "use GET or POST")
	})
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	a.mux.ServeHTTP(w, r)
}

// Close ends every event stream, now and from now on; their handlers return right after it. http.Server.Shutdown
// waits for handlers and doesn't cancel their contexts, so close the API before. Closing twice is no event.
func (a *API) Close() { a.close.Do(func() { close(a.closed) }) }

func (a *API) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // the client is gone if this fails
}
