// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// A server says how long to stay away, the user how long at most.
func TestStayingAwayEndsWithTheUsersLimit(t *testing.T) {
	unavailable := func(asked time.Duration) hostile {
		return func(*bubble) opamptest.Script {
			return opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				reply.ErrorResponse = &protobufs.ServerErrorResponse{
					Type: protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
					Details: &protobufs.ServerErrorResponse_RetryInfo{
						RetryInfo: &protobufs.RetryInfo{RetryAfterNanoseconds: uint64(asked)},
					},
				}
				return reply
			}}
		}
	}
	throttled := func(asked time.Duration) hostile {
		return refusing(503, "Retry-After", fmt.Sprint(int(asked.Seconds())))
	}
	for name, server := range map[string]func(asked time.Duration) hostile{"retry_info": unavailable, "Retry-After": throttled} {
		for _, tt := range []struct{ asked, limit, want time.Duration }{
			{time.Hour, 0, DefaultMaxRetryAfter},
			{time.Hour, 2 * time.Hour, time.Hour},
			{time.Hour, 40 * time.Second, 40 * time.Second},
			{45 * time.Second, time.Minute, 45 * time.Second},
		} {
			t.Run(fmt.Sprintf("%s %s within %s", name, tt.asked, tt.limit), func(t *testing.T) {
				onBoth(t, func(b *bubble) {
					b.client.set.MaxRetryAfter = tt.limit
					b.client.set = b.client.set.withDefaults()
					came := make(chan time.Time, 100)
					script := server(tt.asked)(b)
					refuse := script.Refuse
					script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
						came <- time.Now()
						return refuse != nil && refuse(w, r)
					}
					b.serve(script)
					for range 5 {
						before := <-came
						next := <-came
						assert.GreaterOrEqual(t, next.Sub(before), tt.want)
						assert.LessOrEqual(t, next.Sub(before), tt.want+tt.want/4+time.Millisecond)
					}
				})
			})
		}
	}
}

// A server that is too busy and says no time is left alone for the half minute that the
// specification recommends, by everybody a little different, and not longer than the user
// would have it wait. Less, if it says so itself.
func TestWhoIsTooBusyToSayIsLeftForHalfAMinute(t *testing.T) {
	for name, tt := range map[string]struct {
		server      hostile
		limit       time.Duration
		least, most time.Duration
	}{
		"429":                  {refusing(429), 0, throttledPause, throttledPause * 5 / 4},
		"503":                  {refusing(503), 0, throttledPause, throttledPause * 5 / 4},
		"503, 0":               {refusing(503, "Retry-After", "0"), 0, throttledPause, throttledPause * 5 / 4},
		"503, junk":            {refusing(503, "Retry-After", "soon"), 0, throttledPause, throttledPause * 5 / 4},
		"503, the user's five": {refusing(503), 5 * time.Second, 5 * time.Second, 25 * time.Second / 4},
		"503, its own five":    {refusing(503, "Retry-After", "5"), 0, 5 * time.Second, 25 * time.Second / 4},
		"500":                  {refusing(500), 0, backoffBase / 2, backoffBase},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				b.client.set.MaxRetryAfter = tt.limit
				b.client.set = b.client.set.withDefaults()
				came := make(chan time.Time, 100)
				script := tt.server(b)
				refuse := script.Refuse
				script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
					came <- time.Now()
					return refuse(w, r)
				}
				b.serve(script)
				first := <-came
				gap := (<-came).Sub(first)
				assert.GreaterOrEqual(t, gap, tt.least)
				assert.LessOrEqual(t, gap, tt.most+time.Millisecond)
			})
		})
	}
}

// Whatever an attempt or a connection ends with, the next one tells everything.
func TestNothingIsLostByARefusal(t *testing.T) {
	for _, code := range []int{301, 400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 502, 503, 504} {
		onBoth(t, func(b *bubble) {
			refused := false
			s := b.serve(opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
				if refused {
					return false
				}
				refused = true
				w.WriteHeader(code)
				return true
			}})
			synctest.Wait()
			require.True(t, refused)
			b.client.SetHealth(health("StatusPermanentError"))
			time.Sleep(throttledPause * 5 / 4)
			heard := s.Rest()
			require.NotEmpty(t, heard)
			assert.Equal(t, "description health=StatusPermanentError config components custom", told(heard[0].AgentToServer), "%d", code)
		})
	}
}

func TestRejectedReportIsNotRepeatedOverHTTP(t *testing.T) {
	inBubble(t, "http", func(b *bubble) {
		s := b.serve(failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest)(b))
		time.Sleep(time.Minute + time.Second)
		assert.Equal(t, []string{everything, "", ""}, tellings(s.Rest()), "polls go on")
		assert.Equal(t, map[string]int{"ok": 1}, b.seen.now().attempts)
	})
}
