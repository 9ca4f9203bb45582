// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/listening"
)

// contentSecurityPolicy is for all that is no page, refusals among it: it lets a browser
// load nothing. The pages have one of their own, for their own files.
const contentSecurityPolicy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// webGuard stands in front of everything on the web listener, authentication included,
// so that a refusal is guarded like a page.
func webGuard(l listening.Listener, next http.Handler) http.Handler {
	guarded := l.Open()
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
		if guarded && !listening.Loopback(r.Host) {
			http.Error(w, listening.ForeignHost(r).Error(), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func setSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// refuseVisitor makes a browser ask for a password, where one would help.
func refuseVisitor(l listening.Listener) listening.Refuser {
	return func(w http.ResponseWriter, _ *http.Request, text string, status int) {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", listening.Challenge(l.Config))
			text = listening.ErrUnauthorized.Error()
		}
		http.Error(w, text, status)
	}
}
