// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	_ "embed"
	"net/http"
	"sync"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Settings of an [API]. A zero field takes its default.
type Settings struct {
	// MaxStreams bounds how many event streams are open at a time. Default 256.
	MaxStreams int
	// MaxStreamsPerPeer bounds how many of them one address has. Default 32. An address of this host may have half of
	// MaxStreams, for a proxy may speak for many.
	MaxStreamsPerPeer int
}

// API serves /api/. It is safe for concurrent use.
type API struct {
	// Fixed at construction.
	fleet   *fleet.Fleet
	mux     *http.ServeMux
	streams *streams
	closed  chan struct{}

	close sync.Once
}

//go:embed openapi.yaml
var openAPI []byte

const (
	defaultMaxStreams        = 256
	defaultMaxStreamsPerPeer = 32
)

// New returns the API of f.
func New(f *fleet.Fleet, s Settings) *API {
	if s.MaxStreams <= 0 {
		s.MaxStreams = defaultMaxStreams
	}
	if s.MaxStreamsPerPeer <= 0 {
		s.MaxStreamsPerPeer = defaultMaxStreamsPerPeer
	}
	a := &API{
		fleet:   f,
		mux:     http.NewServeMux(),
		streams: newStreams(s.MaxStreams, s.MaxStreamsPerPeer),
		closed:  make(chan struct{}),
	}
	a.route("/api/v1/agents", a.listAgents)
	a.route("/api/v1/agents/{uid}", a.showAgent)
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
