// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// ErrUnauthorized is all that a peer is told of why it was not let in.
var ErrUnauthorized = errors.New("authentication failed")

// errTooManyFailures is what a peer is told whose credentials nobody looks at.
var errTooManyFailures = errors.New("too many attempts to authenticate failed from this address; wait")

var errHost = errors.New("this listener has no authentication, so it answers to localhost and loopback addresses only")

// plainPath is a path that stands for itself, in a URL as well as here: no pattern, no
// escape.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._~!$&'()+,;=:@-]*$`)

// ValidatePath says what is wrong with where OpAMP is to be spoken.
func ValidatePath(key, at string) error {
	if !plainPath.MatchString(at) || path.Clean(at) != at {
		return fmt.Errorf("%s: %q is not a path like /v1/opamp", key, at)
	}
	return nil
}

// Agents is what stands behind a listener for agents.
type Agents interface {
	http.Handler
	// Deny refuses a request and counts it.
	Deny(w http.ResponseWriter, r *http.Request, status int, reason opampserver.Reason, err error)
}

// ForeignHost refuses a request for another name. A web page can make its own name
// lead to 127.0.0.1 and would then, by the rules of browsers, be of the same origin
// as this server (DNS rebinding).
func ForeignHost(r *http.Request) error {
	return fmt.Errorf("%w; the request is for %.100q", errHost, r.Host)
}

// AgentsGuard stands around and before an OpAMP server, on its one path.
type AgentsGuard struct {
	// Fixed at construction.
	listener Listener
	path     string
	server   Agents
	open     bool // nobody is asked who they are
	presents bool // who speaks is known by what a request presents

	turnstile *turnstile
}

// NewAgentsGuard returns the guard of a listener on which OpAMP is spoken at a path.
func NewAgentsGuard(l Listener, at string, server Agents) *AgentsGuard {
	return &AgentsGuard{
		listener: l, path: at, server: server, open: l.Open(), presents: l.Config.Auth.HasValue(), turnstile: newTurnstile(),
	}
}

// Open opens the guard's listener. Requests end when ctx does. maxBody bounds the body of one, in bytes.
func (g *AgentsGuard) Open(ctx context.Context, host component.Host, set component.TelemetrySettings, maxBody int64) (*Front, error) {
	front, err := Open(ctx, g.listener, host, set, Settings{Handler: http.HandlerFunc(g.within), Refuse: g.refuse, MaxBody: maxBody})
	if err == nil && g.presents {
		front.Server.Handler = g.around(front.Server.Handler)
	}
	return front, err
}

// around is what a request passes before the authenticator.
func (g *AgentsGuard) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait := g.turnstile.wait(r.RemoteAddr, g.turnstile.presented(r.Header), time.Now()); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			g.server.Deny(w, r, http.StatusTooManyRequests, opampserver.ReasonTooManyFailures, errTooManyFailures)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// within is what a request passes after the authenticator.
func (g *AgentsGuard) within(w http.ResponseWriter, r *http.Request) {
	if g.presents {
		g.turnstile.letIn(r.RemoteAddr, g.turnstile.presented(r.Header), time.Now())
	}
	switch {
	case r.URL.Path != g.path:
		g.server.Deny(w, r, http.StatusNotFound, opampserver.ReasonPath, fmt.Errorf("OpAMP is spoken at %s, not at %.100q", g.path, r.URL.Path))
	// Agents send no Origin. They may come through a proxy that keeps the name
	// they called, so the name alone is no reason here.
	case g.open && r.Header.Get("Origin") != "" && !Loopback(r.Host):
		g.server.Deny(w, r, http.StatusForbidden, opampserver.ReasonHost, ForeignHost(r))
	default:
		g.server.ServeHTTP(w, r)
	}
}

// refuse answers an agent that an authenticator refused. What exactly the authenticator disliked stays here.
func (g *AgentsGuard) refuse(w http.ResponseWriter, r *http.Request, text string, status int) {
	if status != http.StatusUnauthorized {
		g.server.Deny(w, r, status, opampserver.ReasonIncomplete, errors.New(text))
		return
	}
	g.turnstile.refused(r.RemoteAddr, g.turnstile.presented(r.Header), time.Now())
	w.Header().Set("WWW-Authenticate", Challenge(g.listener.Config))
	g.server.Deny(w, r, status, opampserver.ReasonUnauthorized, ErrUnauthorized)
}

var basicAuth = component.MustNewType("basicauth")

// Challenge is what a 401 asks for (RFC 9110 section 11.6.1). Only basicauth knows
// passwords; for all others a browser's dialog would lead nowhere.
func Challenge(sc *confighttp.ServerConfig) string {
	if sc.Auth.HasValue() && sc.Auth.Get().AuthenticatorID.Type() == basicAuth {
		return `Basic realm="Fleetview", charset="UTF-8"`
	}
	return `Bearer realm="Fleetview"`
}
