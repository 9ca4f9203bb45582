// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/listening"
)

// contentSecurityPolicy is of every answer that is no page: it runs nothing, shows nothing and is shown in nothing. The
// pages bring their own, which lets them load what this server serves.
const contentSecurityPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// refusal is why somebody did not get what they asked the web listener for.
type refusal string

// The refusals there are.
const (
	refusedHost         refusal = "host"
	refusedUnauthorized refusal = "unauthorized"
	refusedTooMany      refusal = "too_many_failures"
	refusedViewer       refusal = "viewer"   // who may not look
	refusedOperator     refusal = "operator" // who may look and not send
	refusedOrigin       refusal = "origin"
	refusedRequest      refusal = "request" // what a handler of confighttp refuses
)

// refusals are all of them.
func refusals() []refusal {
	return []refusal{
		refusedHost, refusedUnauthorized, refusedTooMany, refusedViewer, refusedOperator, refusedOrigin, refusedRequest,
	}
}

// codes are what the API calls the refusals of which there is no more to say than forbidden.
var codes = map[refusal]string{
	refusedHost:         "misdirected",
	refusedUnauthorized: "unauthorized",
	refusedTooMany:      "too_many_failures",
	refusedViewer:       "forbidden",
	refusedRequest:      "refused",
}

// webGuard stands around everything on the web listener: outside of the authenticator, so that what that refuses is
// guarded like a page, and within, where it is known who asks. It is safe for concurrent use.
type webGuard struct {
	// Fixed at construction.
	listener listening.Listener
	access   *listening.Access
	send     func(*http.Request) error
	log      *zap.Logger
	counts   map[refusal]*atomic.Int64

	failures listening.Failures
}

func newWebGuard(l listening.Listener, roles listening.Roles, log *zap.Logger) *webGuard {
	g := &webGuard{listener: l, access: l.Access(roles), log: listening.OnceAMinute(log), counts: map[refusal]*atomic.Int64{}}
	// Page and API have a guard each. This one knows the origin before they do, and can count what comes from another.
	g.send = fleetsend.Guard(func(r *http.Request) error { return g.access.Check(listening.Operator, r) })
	for _, why := range refusals() {
		g.counts[why] = new(atomic.Int64)
	}
	return g
}

// around is what every request passes before the authenticator.
func (g *webGuard) around(next http.Handler) http.Handler {
	guarded := g.listener.Open()
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
			g.deny(w, r, http.StatusMisdirectedRequest, refusedHost, listening.ForeignHost(r))
			return
		}
		if wait := g.wait(r); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			g.deny(w, r, http.StatusTooManyRequests, refusedTooMany, errors.New("too many attempts to authenticate failed from this address; wait"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wait is how long whoever presents credentials has to wait before anybody looks at them. A request without any guesses
// nothing: a browser makes one before it asks for a password.
func (g *webGuard) wait(r *http.Request) time.Duration {
	if !g.listener.Config.Auth.HasValue() || r.Header.Get("Authorization") == "" {
		return 0
	}
	return g.failures.Wait(r.RemoteAddr, time.Now())
}

// within is what every request passes after the authenticator: whoever gets further may look.
func (g *webGuard) within(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.access.Check(listening.Viewer, r); err != nil {
			g.deny(w, r, http.StatusForbidden, refusedViewer, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maySend says why a request may not send. Page and API ask it. It is no refusal if a page asks only to know whether
// to show a button: that request would send nothing.
func (g *webGuard) maySend(r *http.Request) error {
	err := g.send(r)
	if err == nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return err
	}
	why := refusedOrigin
	if role := (*listening.RoleError)(nil); errors.As(err, &role) {
		why = refusedOperator
	}
	g.note(r, why, err)
	return err
}

// refuse answers whom the authenticator refused, and makes a browser ask for a password where one would help. What
// exactly the authenticator disliked stays here.
func (g *webGuard) refuse(w http.ResponseWriter, r *http.Request, text string, status int) {
	if status != http.StatusUnauthorized {
		g.deny(w, r, status, refusedRequest, errors.New(text))
		return
	}
	if r.Header.Get("Authorization") != "" {
		g.failures.Note(r.RemoteAddr, time.Now())
	}
	w.Header().Set("WWW-Authenticate", listening.Challenge(g.listener.Config))
	g.deny(w, r, status, refusedUnauthorized, listening.ErrUnauthorized)
}

// deny answers a program in JSON, and a person in words.
func (g *webGuard) deny(w http.ResponseWriter, r *http.Request, status int, why refusal, err error) {
	g.note(r, why, err)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		fleetapi.Refuse(w, status, codes[why], err.Error())
		return
	}
	http.Error(w, err.Error(), status)
}

// note counts a refusal, and logs one of each kind a minute.
func (g *webGuard) note(r *http.Request, why refusal, err error) {
	g.counts[why].Add(1)
	// The text of the line is the same for all of its kind: that is what the sampler goes by.
	g.log.Warn(fmt.Sprintf("Refused a request on web (%s); more of this within a minute is not logged", why),
		zap.String("reason", string(why)), zap.String("peer", r.RemoteAddr), zap.String("method", r.Method),
		zap.String("path", r.URL.Path[:min(len(r.URL.Path), 200)]), zap.Error(err))
}

func setSecurityHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store") // only what has no data in it says otherwise
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}
