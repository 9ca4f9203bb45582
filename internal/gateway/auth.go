// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// AuthMode is who decides whether an agent is let in, besides what stands before the
// gateway.
type AuthMode string

// Modes.
const (
	AuthNone AuthMode = "none" // nobody
	// AuthUpstream asks the server with a handshake that carries the agent's headers, and
	// remembers the answer for a while. Any server will do.
	AuthUpstream AuthMode = "upstream"
	// AuthConnect asks the server with a custom message of ConnectCapability, over the
	// connections that there are. The server has to know it.
	AuthConnect AuthMode = "connect"
)

// The custom messages of AuthConnect, as Bindplane's opampgateway has them.
const (
	ConnectCapability = "com.bindplane.opamp-gateway"

	connectType       = "connect"
	connectResultType = "connectResult"
)

// AuthSettings say how agents are let in.
type AuthSettings struct {
	Mode AuthMode // AuthNone
	// Headers of an agent's handshake that the server is asked with; Authorization.
	Headers []string
	// Clients make the handshakes of AuthUpstream, one for each endpoint. They must add no
	// credential: the gateway's own would vouch for everybody.
	Clients []*http.Client

	Accepted time.Duration // how long a yes holds; 5 min
	Rejected time.Duration // how long a no does; 10 s
	Most     int           // answers that are remembered; 10,000
	Parallel int           // questions at a time; 16
}

func (s AuthSettings) withDefaults() AuthSettings {
	orDefault(&s.Mode, AuthNone)
	if s.Headers == nil {
		s.Headers = []string{"Authorization"}
	}
	orDefault(&s.Accepted, 5*time.Minute)
	orDefault(&s.Rejected, 10*time.Second)
	orDefault(&s.Most, 10_000)
	orDefault(&s.Parallel, 16)
	return s
}

var (
	errRejected    = errors.New("the OpAMP server rejects these credentials")
	errNoDecision  = errors.New("the OpAMP server could not be asked about these credentials")
	errAskedTooFew = errors.New("too many agents are waiting to be authenticated")
)

// authority decides on agents before their handshake.
type authority struct {
	// Fixed at construction.
	gw    *Gateway
	set   AuthSettings
	key   []byte        // answers are kept under a digest of the credentials
	slots chan struct{} // one for each question at a time

	mu      sync.Mutex
	answers map[[32]byte]*answer   // guarded by mu
	asked   map[string]chan answer // guarded by mu: by request_uid; size 1
}

// answer is what the server said of an agent's credentials.
type answer struct {
	done   chan struct{} // closed when it is there; the rest is fixed then
	until  time.Time
	status int // 0: accepted
	header http.Header
	err    error
}

func newAuthority(g *Gateway) *authority {
	a := &authority{
		gw: g, set: g.set.Auth, key: make([]byte, 32), slots: make(chan struct{}, g.set.Auth.Parallel),
		answers: make(map[[32]byte]*answer), asked: make(map[string]chan answer),
	}
	_, _ = rand.Read(a.key) // never fails
	return a
}

// admit says whether a request goes on. If not it has been answered.
func (a *authority) admit(w http.ResponseWriter, r *http.Request) bool {
	var got answer
	switch a.set.Mode {
	case AuthUpstream:
		got = a.remembered(r)
	case AuthConnect:
		got = a.connect(r)
	default:
		return true
	}
	if got.status == 0 {
		return true
	}
	for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
		if values := got.header.Values(name); len(values) > 0 {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	a.gw.server.Deny(w, r, got.status, opampserver.ReasonUnauthorized, got.err)
	return false
}

// remembered is the server's answer, of now or of a while ago. Agents with the same
// credentials ask once.
func (a *authority) remembered(r *http.Request) answer {
	header := pick(r.Header, a.set.Headers)
	digest := a.digest(header)
	got, mine := a.entry(digest)
	if mine {
		*got = a.handshake(r.Context(), got.done, header)
		a.count(*got)
		close(got.done)
		return *got
	}
	select {
	case <-got.done:
		a.gw.set.Observer.Authenticated("cached")
		return *got
	case <-r.Context().Done():
		return answer{status: http.StatusServiceUnavailable, err: errNoDecision}
	}
}

// entry is the answer for a digest. mine says that the caller has to find it.
func (a *authority) entry(digest [32]byte) (got *answer, mine bool) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if got := a.answers[digest]; got != nil {
		select {
		case <-got.done:
			if now.Before(got.until) {
				return got, false
			}
		default:
			return got, false
		}
	}
	if len(a.answers) >= a.set.Most {
		a.forgetLocked(now)
	}
	got = &answer{done: make(chan struct{})}
	a.answers[digest] = got
	return got, true
}

// forgetLocked makes room: what has expired goes, else something.
func (a *authority) forgetLocked(now time.Time) {
	for digest, got := range a.answers {
		select {
		case <-got.done:
			if !now.Before(got.until) {
				delete(a.answers, digest)
			}
		default:
		}
	}
	for digest := range a.answers {
		if len(a.answers) < a.set.Most {
			return
		}
		delete(a.answers, digest)
	}
}

// digest is what an agent's credentials are known by here, so that they are not kept.
func (a *authority) digest(header http.Header) (sum [32]byte) {
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	sort.Strings(names)
	mac := hmac.New(sha256.New, a.key)
	for _, name := range names {
		for _, value := range header[name] {
			fmt.Fprintf(mac, "%d:%s=%d:%s;", len(name), name, len(value), value)
		}
	}
	mac.Sum(sum[:0])
	return sum
}

// handshake asks the server for a WebSocket as the agent would, and hangs up.
func (a *authority) handshake(ctx context.Context, done chan struct{}, header http.Header) answer {
	failed := func(err error) answer {
		return answer{done: done, status: http.StatusServiceUnavailable, err: err} // and asked again next time
	}
	// Others may wait for this answer, so it does not end with the agent that asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.gw.set.HandshakeTimeout)
	defer cancel()
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return failed(errAskedTooFew)
	}
	index := a.gw.pool.active.Load()
	asking := header.Clone()
	a.gw.kin.sign(asking)
	conn, _, err := opampdial.Upgrade(ctx, a.set.Clients[index], a.gw.set.Endpoints[index].URL, asking)
	if err == nil {
		_, _ = conn.Write(wsframe.AppendMasked(nil, wsframe.OpClose, newMask(), wsframe.ClosePayload(wsframe.CloseNormal, "")))
		_ = conn.Close() // it has served
		return answer{done: done, until: time.Now().Add(a.set.Accepted)}
	}
	var status *opampdial.StatusError
	if !errors.As(err, &status) {
		return failed(errNoDecision)
	}
	switch status.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return answer{done: done, until: time.Now().Add(a.set.Rejected), status: status.Code, header: status.Header, err: errRejected}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		got := failed(errNoDecision)
		got.header = http.Header{"Retry-After": status.Header.Values("Retry-After")}
		return got
	default:
		return failed(fmt.Errorf("%w: it answers %d", errNoDecision, status.Code))
	}
}

func (a *authority) count(got answer) {
	result := "failed"
	switch {
	case got.status == 0:
		result = "accepted"
	case errors.Is(got.err, errRejected):
		result = "rejected"
	}
	a.gw.set.Observer.Authenticated(result)
}

// connectRequest and connectResult are the data of the custom messages.
type connectRequest struct {
	RequestUID    string      `json:"request_uid"`
	RemoteAddress string      `json:"remote_address"`
	Headers       http.Header `json:"headers"`
}

type connectResult struct {
	RequestUID      string            `json:"request_uid"`
	Accept          bool              `json:"accept"`
	HTTPStatusCode  int               `json:"http_status_code"`
	ResponseHeaders map[string]string `json:"response_headers"`
}

// connect asks the server over a connection that there is.
func (a *authority) connect(r *http.Request) answer {
	id := uuid.NewString()
	come := a.ask(id)
	defer a.forget(id)
	ctx, cancel := context.WithTimeout(r.Context(), a.gw.set.HandshakeTimeout)
	defer cancel()
	got := answer{status: http.StatusGatewayTimeout, header: http.Header{"Retry-After": {"30"}}, err: errNoDecision}
	if err := a.send(ctx, id, r); err != nil {
		got.status = http.StatusServiceUnavailable
		a.count(got)
		return got
	}
	select {
	case got = <-come:
	case <-ctx.Done():
	}
	a.count(got)
	return got
}

func (a *authority) ask(id string) <-chan answer {
	come := make(chan answer, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[id] = come
	return come
}

func (a *authority) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, id)
}

// send sends a question. It has no instance_uid, as that protocol wants it.
func (a *authority) send(ctx context.Context, id string, r *http.Request) error {
	data, err := json.Marshal(connectRequest{RequestUID: id, RemoteAddress: r.RemoteAddr, Headers: pick(r.Header, a.set.Headers)})
	if err != nil {
		return err
	}
	frame, err := opampwire.AppendFrame(nil, &protobufs.AgentToServer{
		CustomMessage: &protobufs.CustomMessage{Capability: ConnectCapability, Type: connectType, Data: data},
	})
	if err != nil {
		return err
	}
	for _, s := range a.gw.pool.all() {
		if l := s.current.Load(); l != nil {
			return l.carry(ctx, a.gw.set.WriteTimeout, body{first: frame[1:]})
		}
	}
	return errNoUpstream
}

// took says whether a message of the server's is an answer to a question. It is no agent's.
func (a *authority) took(message []byte) bool {
	if a.set.Mode != AuthConnect {
		return false
	}
	c, ok := opampwire.ServerCustomMessage(message)
	if !ok || c.Capability != ConnectCapability {
		return false
	}
	var result connectResult
	if c.Type != connectResultType || json.Unmarshal(c.Data, &result) != nil {
		return true
	}
	a.mu.Lock()
	come := a.asked[result.RequestUID]
	a.mu.Unlock()
	if come == nil {
		return true // too late
	}
	select {
	case come <- result.answer():
	default: // answered twice
	}
	return true
}

// answer is what a result means: without a sensible status a no is a 401.
func (r *connectResult) answer() answer {
	if r.Accept {
		return answer{}
	}
	got := answer{status: r.HTTPStatusCode, header: make(http.Header), err: errRejected}
	if got.status < http.StatusBadRequest || got.status > 599 {
		got.status = http.StatusUnauthorized
	}
	for name, value := range r.ResponseHeaders {
		if !strings.ContainsAny(value, "\r\n") {
			got.header.Set(name, value)
		}
	}
	return got
}
