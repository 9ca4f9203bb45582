// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// contentSecurityPolicy lets the page run and show what this server serves, and
// nothing else: texts that agents report reach it.
const contentSecurityPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

var (
	errUnauthorized = errors.New("authentication failed")
	errHost         = errors.New("this listener has no authentication, so it answers to localhost and loopback addresses only")
)

// webGuard stands in front of everything on the web listener, authentication included,
// so that a refusal is guarded like a page.
func webGuard(l listener, next http.Handler) http.Handler {
	guarded := l.open()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setSecurityHeaders(w.Header())
		if r.ContentLength != 0 {
			// Few requests have a body that is read, and those that do bound how long it may take. Nobody waits for
			// the rest of one.
			w.Header().Set("Connection", "close")
		} else {
			// web.read_timeout is for reading the request, which has been read. Left
			// alone it would end an event stream.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if guarded && !loopback(r.Host) {
			http.Error(w, foreignHost(r).Error(), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreignHost refuses a request for another name. A web page can make its own name
// lead to 127.0.0.1 and would then, by the rules of browsers, be of the same origin
// as this server (DNS rebinding).
func foreignHost(r *http.Request) error {
	return fmt.Errorf("%w; the request is for %.100q", errHost, r.Host)
}

func setSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// agentsGuard stands in front of the OpAMP server, on its one path.
func agentsGuard(l listener, path string, server *opampserver.Server) http.Handler {
	guarded := l.open()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != path:
			server.Deny(w, r, http.StatusNotFound, opampserver.ReasonPath, fmt.Errorf("OpAMP is spoken at %s, not at %.100q", path, r.URL.Path))
		// Agents send no Origin. They may come through a proxy that keeps the name
		// they called, so the name alone is no reason here.
		case guarded && r.Header.Get("Origin") != "" && !loopback(r.Host):
			server.Deny(w, r, http.StatusForbidden, opampserver.ReasonHost, foreignHost(r))
		default:
			server.ServeHTTP(w, r)
		}
	})
}

// refuseAgent answers an agent that an authenticator refused. What exactly the
// authenticator disliked stays here.
func refuseAgent(l listener, server *opampserver.Server) refuser {
	return func(w http.ResponseWriter, r *http.Request, text string, status int) {
		if status != http.StatusUnauthorized {
			server.Deny(w, r, status, opampserver.ReasonIncomplete, errors.New(text))
			return
		}
		w.Header().Set("WWW-Authenticate", challenge(l.config))
		server.Deny(w, r, status, opampserver.ReasonUnauthorized, errUnauthorized)
	}
}

// refuseVisitor makes a browser ask for a password, where one would help.
func refuseVisitor(l listener) refuser {
	return func(w http.ResponseWriter, _ *http.Request, text string, status int) {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", challenge(l.config))
			text = errUnauthorized.Error()
		}
		http.Error(w, text, status)
	}
}

var basicAuth = component.MustNewType("basicauth")

// challenge is what a 401 asks for (RFC 9110 section 11.6.1). Only basicauth knows
// passwords; for all others a browser's dialog would lead nowhere.
func challenge(sc *confighttp.ServerConfig) string {
	if sc.Auth.HasValue() && sc.Auth.Get().AuthenticatorID.Type() == basicAuth {
		return `Basic realm="Fleetview", charset="UTF-8"`
	}
	return `Bearer realm="Fleetview"`
}
