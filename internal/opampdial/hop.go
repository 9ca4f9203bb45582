// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// DefaultMaxRetryAfter is the longest that a server may keep us away: enough for one that
// restarts and not too long for one that is wrong about it.
const DefaultMaxRetryAfter = 5 * time.Minute

// NoRedirects is client with another redirect policy: none is followed, since a credential
// would go where the user did not send it.
func NoRedirects(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = oneHop{c.Transport}
	return &c
}

// oneHop takes the address out of a redirect before net/http looks at it. That no
// redirect is followed is the client's policy; but net/http reads the address first, and
// one that it cannot read becomes an error which repeats it, with whatever the server put
// there, a header that it was sent for example.
type oneHop struct{ base http.RoundTripper }

func (t oneHop) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// RetryAfter reads seconds or a date; what makes no sense is no word on it. A date is
// taken by the server's own clock, if it tells the time: ours may be wrong.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(math.MaxInt64/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return max(0, at.Sub(now))
}
