// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestParseRetryAfter(t *testing.T) {
	tests := map[string]time.Duration{
		"":                     0,
		"0":                    0,
		"7":                    7 * time.Second,
		"-1":                   0,
		"soon":                 0,
		"315360000":            maxRetryAfter, // ten years
		"18446744073709551615": maxRetryAfter,
		"99999999999999999999": 0, // no number
		epoch.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		epoch.Add(-time.Hour).Format(http.TimeFormat):       0,
		epoch.AddDate(10, 0, 0).Format(http.TimeFormat):     maxRetryAfter,
	}
	for value, want := range tests {
		assert.Equal(t, want, parseRetryAfter(value, epoch), "Retry-After: %s", value)
	}
}

func TestRefusal(t *testing.T) {
	tests := map[int]Reason{
		200: ReasonStatus, 301: ReasonRedirect, 307: ReasonRedirect, 400: ReasonStatus,
		401: ReasonUnauthorized, 403: ReasonUnauthorized, 404: ReasonStatus, 407: ReasonUnauthorized,
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
		d := after(time.Minute)
		assert.GreaterOrEqual(t, d, time.Minute)
		assert.LessOrEqual(t, d, 75*time.Second)
		seen[d] = true
	}
	assert.Greater(t, len(seen), 50, "a fleet must not come back in one instant")
	assert.LessOrEqual(t, after(1000*time.Hour), maxRetryAfter+maxRetryAfter/4)
}
