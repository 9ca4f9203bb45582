// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampendpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
)

// ValidateFor reports everything that is wrong with an endpoint whose scheme is plain
// or secure. The certificates are loaded, so that a missing file shows before the
// Collector runs; beside a plain scheme too, where they may tell that it is a slip.
func (c *Config) ValidateFor(plain, secure string) error {
	var errs []error
	if _, err := Parse(c.Endpoint, plain, secure); err != nil {
		errs = append(errs, fmt.Errorf("endpoint: %w", err))
	}
	if c.TLS.Validate() == nil { // whose errors the Collector shows itself
		if _, err := c.TLS.LoadTLSConfig(context.Background()); err != nil {
			errs = append(errs, fmt.Errorf("tls: %w", err))
		}
	}
	errs = append(errs, c.validateHeaders(), c.validateWay())
	switch {
	case c.MaxRetryAfter <= 0:
		errs = append(errs, fmt.Errorf("max_retry_after: %v must be greater than 0; leave it out for %v",
			c.MaxRetryAfter, opampdial.DefaultMaxRetryAfter))
	case c.MaxRetryAfter < leastRetryAfter:
		errs = append(errs, fmt.Errorf("max_retry_after: %v is too short, at least %v; is the unit missing?",
			c.MaxRetryAfter, leastRetryAfter))
	}
	return errors.Join(errs...)
}

// leastRetryAfter keeps a number without a unit, which is in nanoseconds, from meaning that a
// server is never left alone.
const leastRetryAfter = time.Millisecond

// Parse reads an absolute URL of one of the two schemes. No error repeats
// the user part, which may be a password.
func Parse(endpoint, plain, secure string) (*url.URL, error) {
	if endpoint == "" {
		return nil, ErrNoEndpoint
	}
	example := fmt.Sprintf("for example %s://opamp.example.com:4320/v1/opamp", secure)
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("not a valid URL, %s", example)
	}
	if u.Scheme != plain && u.Scheme != secure {
		return nil, fmt.Errorf("the scheme has to be %s or %s, %s", plain, secure, example)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("names no host, %s", example)
	}
	if err := validatePort(u); err != nil {
		return nil, err
	}
	if u.Fragment != "" || strings.TrimSpace(endpoint) != endpoint {
		return nil, errors.New("has a fragment or blanks around it, which no server would see")
	}
	if u.User != nil {
		return nil, errors.New("holds a user or a password, which would show wherever the endpoint does; use headers or auth")
	}
	return u, nil
}

func validatePort(u *url.URL) error {
	port := u.Port()
	if port == "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %s is not in 1 to 65535", port)
	}
	return nil
}

// Same says whether two endpoints, of one scheme or its secure kin each, are one, in whichever words.
func Same(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && Port(a) == Port(b) &&
		max(a.EscapedPath(), "/") == max(b.EscapedPath(), "/") && a.RawQuery == b.RawQuery
}

// Port is the port of an endpoint, that of its scheme where it names none.
func Port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "wss" || u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// reservedHeaders are made by the transport. Set by a user they would break it.
var reservedHeaders = map[string]bool{
	"accept-encoding":        true,
	"connection":             true,
	"content-encoding":       true,
	"content-length":         true,
	"content-type":           true,
	"fleetview-gateways":     true,
	"fleetview-gateway-bond": true,
	"http2-settings":         true,
	"keep-alive":             true,
	"opamp-instance-uid":     true,
	"proxy-connection":       true,
	"te":                     true,
	"trailer":                true,
	"transfer-encoding":      true,
	"upgrade":                true,
}

// ReservedHeader says whether the transport makes a header of this name, in whichever case. Host
// is not among them: a server behind a name of its own is reached by it.
func ReservedHeader(name string) bool {
	lower := strings.ToLower(name)
	return reservedHeaders[lower] || strings.HasPrefix(lower, "sec-websocket-")
}

func (c *Config) validateHeaders() error {
	var errs []error
	written := map[string]string{} // by the name that it has on the wire
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if err := validateHeader(name, string(c.Headers[name])); err != nil {
			errs = append(errs, fmt.Errorf("headers: %w", err))
			continue
		}
		wire := http.CanonicalHeaderKey(name)
		if other, twice := written[wire]; twice {
			errs = append(errs, fmt.Errorf("headers: %s and %s are one header, which has one value", other, name))
		}
		written[wire] = name
	}
	return errors.Join(errs...)
}

// validateHeader never repeats the value: it may be a credential.
func validateHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is not a header name", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%s: the value has a character that a header cannot hold, such as a line break", name)
	}
	if ReservedHeader(name) {
		return fmt.Errorf("%s: cannot be set, the transport makes it", name)
	}
	if strings.EqualFold(name, "host") && (value == "" || !httpguts.ValidHostHeader(value)) {
		return fmt.Errorf("%s: the value is not a host, with or without a port", name)
	}
	return nil
}

// Printable is the URL as far as a log line may show it: a query may hold a token.
func Printable(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
