// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
)

func TestRetryAfter(t *testing.T) {
	const forever = math.MaxInt64 / time.Second * time.Second
	tests := map[string]time.Duration{
		"":                     0,
		"0":                    0,
		"7":                    7 * time.Second,
		"-1":                   0,
		"soon":                 0,
		"315360000":            10 * 365 * 24 * time.Hour,
		"18446744073709551615": forever,
		"99999999999999999999": 0, // no number
		epoch.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		epoch.Add(-time.Hour).Format(http.TimeFormat):       0,
		epoch.AddDate(0, 0, 10).Format(http.TimeFormat):     240 * time.Hour,
	}
	for value, want := range tests {
		assert.Equal(t, want, opampdial.RetryAfter(http.Header{"Retry-After": {value}}, epoch), "Retry-After: %s", value)
	}
}

// A date is an instant on the server's clock. One of the two clocks may be hours wrong,
// or have just jumped.
func TestRetryAfterADateGoesByTheServersClock(t *testing.T) {
	for _, skew := range []time.Duration{-48 * time.Hour, -time.Minute, 0, time.Minute, 48 * time.Hour} {
		theirs := epoch.Add(skew)
		h := http.Header{
			"Date":        {theirs.Format(http.TimeFormat)},
			"Retry-After": {theirs.Add(40 * time.Second).Format(http.TimeFormat)},
		}
		assert.Equal(t, 40*time.Second, opampdial.RetryAfter(h, epoch), "skew %s", skew)
	}
}

func TestReasonsOfTheWay(t *testing.T) {
	tests := map[Reason]error{
		ReasonAuth:      fmt.Errorf("Get: %w \"x\": %w", opampdial.ErrAuth, context.DeadlineExceeded),
		ReasonProxyAuth: fmt.Errorf("%w: 127.0.0.1:3128 answered 407", opampdial.ErrProxyAuth),
		ReasonProxy:     fmt.Errorf("%w h: cannot be reached: %w", opampdial.ErrProxy, &net.DNSError{}),
		ReasonDNS:       &net.OpError{Op: "dial", Err: &net.DNSError{}},
	}
	for want, err := range tests {
		assert.Equal(t, want, reasonOf(&url.Error{Op: "Get", URL: "http://h", Err: err}))
	}
	for _, op := range []string{"proxyconnect", "socks connect"} {
		assert.Equal(t, ReasonProxy, reasonOf(&net.OpError{Op: op, Err: syscall.ECONNREFUSED}))
	}
}

func TestRefusal(t *testing.T) {
	tests := map[int]Reason{
		200: ReasonStatus, 301: ReasonRedirect, 307: ReasonRedirect, 400: ReasonStatus,
		401: ReasonUnauthorized, 403: ReasonUnauthorized, 404: ReasonStatus, 407: ReasonProxyAuth,
		409: ReasonStatus, 413: ReasonStatus, 429: ReasonThrottled, 500: ReasonStatus, 503: ReasonThrottled,
	}
	for code, want := range tests {
		f := refusal(&http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"9"}}})
		assert.Equal(t, want, f.reason, "%d", code)
		assert.Contains(t, f.Error(), fmt.Sprint(code))
		assert.Equal(t, want == ReasonThrottled, f.retryAfter == 9*time.Second, "%d: Retry-After", code)
	}
}

func TestErrorsDoNotCarryTheURL(t *testing.T) {
	err := fmt.Errorf("dial: %w", &url.Error{Op: "Get", URL: "http://h/?token=canary", Err: errors.New("refused")})
	assert.Equal(t, "refused", broken(err).Error())
}

func TestBackoffGrowsToItsCapAndIsSpread(t *testing.T) {
	var b backoff
	for step, want := 0, backoffBase; step < 40; step++ {
		d := b.next()
		assert.GreaterOrEqual(t, d, want/2, "step %d", step)
		assert.LessOrEqual(t, d, want, "step %d", step)
		want = min(2*want, backoffMax)
	}
	b.reset()
	assert.LessOrEqual(t, b.next(), backoffBase)

	seen := make(map[time.Duration]bool)
	for range 100 {
		d := after(time.Minute, DefaultMaxRetryAfter)
		assert.GreaterOrEqual(t, d, time.Minute)
		assert.LessOrEqual(t, d, 75*time.Second)
		seen[d] = true
	}
	assert.Greater(t, len(seen), 50, "a fleet must not come back in one instant")
	for _, limit := range []time.Duration{time.Nanosecond, time.Second, DefaultMaxRetryAfter, math.MaxInt64 / 2} {
		d := after(math.MaxInt64, limit)
		assert.GreaterOrEqual(t, d, limit)
		assert.LessOrEqual(t, d, limit+limit/4)
	}
}
