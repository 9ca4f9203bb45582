// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Reason says in a word why a connect, a connection or a message came to nothing. The
// set is closed, so that it can label a metric.
type Reason string

// What can go wrong.
const (
	ReasonRefused           Reason = "refused"            // nobody listens there
	ReasonDNS               Reason = "dns"                // the host's name has no address
	ReasonTLS               Reason = "tls"                // handshake or certificate
	ReasonTimeout           Reason = "timeout"            // no answer in time
	ReasonUnauthorized      Reason = "unauthorized"       // 401 or 403
	ReasonAuth              Reason = "auth"               // our authenticator failed, and nothing was sent
	ReasonProxy             Reason = "proxy"              // no way to the proxy, or through it
	ReasonProxyAuth         Reason = "proxy_unauthorized" // 407
	ReasonRedirect          Reason = "redirect"           // 3xx: never followed
	ReasonThrottled         Reason = "throttled"          // 429 or 503
	ReasonStatus            Reason = "http_status"        // any other status
	ReasonNetwork           Reason = "network"            // the connection broke
	ReasonClosed            Reason = "closed_by_server"   // with a Close frame
	ReasonUnavailable       Reason = "unavailable"        // ServerErrorResponse UNAVAILABLE
	ReasonMalformed         Reason = "malformed"          // not an OpAMP message
	ReasonTooLarge          Reason = "too_large"          // past a size limit
	ReasonNoAnswer          Reason = "no_answer"          // it is there, and leaves reports unanswered
	ReasonSilent            Reason = "silent"             // no pong
	ReasonStuck             Reason = "stuck"              // the server does not read
	ReasonShutdown          Reason = "shutdown"           // we hung up
	ReasonForeignUID        Reason = "foreign_uid"        // meant for another agent
	ReasonTooOften          Reason = "too_often"          // past a rate limit
	ReasonOutOfRange        Reason = "out_of_range"       // an absurd value
	ReasonRejected          Reason = "rejected"           // BAD_REQUEST: the server could not read it
	ReasonUnknownCapability Reason = "unknown_capability" // a custom message nobody here takes
	ReasonNotAccepted       Reason = "not_accepted"       // the server says that it has no use for it
)

// failure is a connect, an exchange or a connection that ended, and how long the server
// asked us to stay away; 0 is no word on it.
type failure struct {
	reason     Reason
	err        error
	retryAfter time.Duration
	open       bool // the connection stays
	tooBig     bool // the server takes no message of this size
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// refusal is the failure that an HTTP status means.
func refusal(resp *http.Response) *failure {
	f := &failure{reason: ReasonStatus, err: fmt.Errorf("server answered %s", statusText(resp.StatusCode))}
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		f.reason = ReasonUnauthorized
	case code == http.StatusProxyAuthRequired:
		f.reason = ReasonProxyAuth
	case code >= 300 && code < 400:
		f.reason = ReasonRedirect
		f.err = fmt.Errorf("server answered %s: redirects are not followed, set the endpoint to the final address", statusText(code))
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		f.reason = ReasonThrottled
		f.retryAfter = cmp.Or(opampdial.RetryAfter(resp.Header, time.Now()), throttledPause)
	case code == http.StatusRequestEntityTooLarge:
		f.tooBig = true
	case code < 300, code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		f.err = fmt.Errorf("server answered %s: is this the OpAMP endpoint?", statusText(code))
	}
	return f
}

func statusText(code int) string {
	return fmt.Sprintf("%d %s", code, http.StatusText(code))
}

// broken is the failure that an error of the network, TLS or the WebSocket means.
func broken(err error) *failure {
	return &failure{reason: reasonOf(err), err: opampdial.WithoutURL(err)}
}

func reasonOf(err error) Reason {
	var (
		dns       *net.DNSError
		unknownCA x509.UnknownAuthorityError
		badHost   x509.HostnameError
		badCert   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		closed    websocket.CloseError
		op        *net.OpError
		timeout   interface{ Timeout() bool }
	)
	switch { // where on the way it was comes before what it was
	case errors.Is(err, opampdial.ErrAuth):
		return ReasonAuth
	case errors.Is(err, opampdial.ErrProxyAuth):
		return ReasonProxyAuth
	case errors.Is(err, opampdial.ErrProxy), errors.As(err, &op) && ofProxy(op):
		return ReasonProxy
	case errors.Is(err, opampwire.ErrMalformed):
		return ReasonMalformed
	case errors.Is(err, opampwire.ErrTooLarge), errors.Is(err, websocket.ErrMessageTooBig):
		return ReasonTooLarge
	case errors.As(err, &verify), errors.As(err, &unknownCA), errors.As(err, &badHost),
		errors.As(err, &badCert), errors.As(err, &alert), errors.As(err, &record),
		errors.Is(err, http.ErrSchemeMismatch):
		return ReasonTLS
	case errors.As(err, &dns):
		return ReasonDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused
	case errors.As(err, &closed):
		return ReasonClosed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	}
	return ReasonNetwork
}

// ofProxy recognizes the errors of the proxies that net/http itself dials.
func ofProxy(err *net.OpError) bool {
	return err.Op == "proxyconnect" || strings.HasPrefix(err.Op, "socks")
}
