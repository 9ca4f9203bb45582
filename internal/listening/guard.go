// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// ErrUnauthorized is all that a peer is told of why it was not let in.
var ErrUnauthorized = errors.New("authentication failed")

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

// AgentsGuard stands in front of an OpAMP server, on its one path.
func AgentsGuard(l Listener, at string, server Agents) http.Handler {
	guarded := l.Open()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != at:
			server.Deny(w, r, http.StatusNotFound, opampserver.ReasonPath, fmt.Errorf("OpAMP is spoken at %s, not at %.100q", at, r.URL.Path))
		// Agents send no Origin. They may come through a proxy that keeps the name
		// they called, so the name alone is no reason here.
		case guarded && r.Header.Get("Origin") != "" && !Loopback(r.Host):
			server.Deny(w, r, http.StatusForbidden, opampserver.ReasonHost, ForeignHost(r))
		default:
			server.ServeHTTP(w, r)
		}
	})
}

// RefuseAgent answers an agent that an authenticator refused. What exactly the
// authenticator disliked stays here.
func RefuseAgent(l Listener, server Agents) Refuser {
	return func(w http.ResponseWriter, r *http.Request, text string, status int) {
		if status != http.StatusUnauthorized {
			server.Deny(w, r, status, opampserver.ReasonIncomplete, errors.New(text))
			return
		}
		w.Header().Set("WWW-Authenticate", Challenge(l.Config))
		server.Deny(w, r, status, opampserver.ReasonUnauthorized, ErrUnauthorized)
	}
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
