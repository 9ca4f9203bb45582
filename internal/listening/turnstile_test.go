// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const site = "192.0.2.1:1000"

func presenting(token string, more ...string) http.Header {
	h := http.Header{"Authorization": {"Bearer " + token}}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

// door is an authenticator behind a Credentials, at which it takes no time to look.
type door struct {
	*turnstile
	now    time.Time
	looked int // how often it was
}

func newDoor() *door { return &door{turnstile: newTurnstile(), now: failingSince} }

// knock presents a token that is right or wrong, and reports whether it was let in, and how long it has to wait if
// nobody looked.
func (d *door) knock(remoteAddr, token string, right bool) (in bool, wait time.Duration) {
	p := d.presented(presenting(token))
	if wait := d.wait(remoteAddr, p, d.now); wait > 0 {
		return false, wait
	}
	d.looked++
	if right {
		d.letIn(remoteAddr, p, d.now)
	} else {
		d.refused(remoteAddr, p, d.now)
	}
	return right, 0
}

func TestAgentsThatAreRightWaitForNobody(t *testing.T) {
	d := newDoor()
	in, _ := d.knock(site, "good", true)
	require.True(t, in)
	for i := range 1000 { // one agent that tries one wrong token, and guesses
		d.now = d.now.Add(10 * time.Millisecond)
		d.knock(site, "wrong", false)
		d.knock(site, fmt.Sprint("guess", i), false)
		in, wait := d.knock(site, "good", true)
		require.True(t, in, wait)
	}
	in, _ = d.knock("192.0.2.2:1", "unknown", true)
	assert.True(t, in, "of another address")
}

func TestOneWrongTokenIsLookedAtSeldomAndKeepsNobodyOut(t *testing.T) {
	d := newDoor()
	for range 60_000 { // a minute, a try a millisecond
		d.now = d.now.Add(time.Millisecond)
		d.knock(site, "wrong", false)
	}
	assert.LessOrEqual(t, d.looked, failureBurst+int(time.Minute/failurePause))
	for i := range 1000 { // of a site that nobody has seen yet
		in, _ := d.knock(site, fmt.Sprint("agent", i), true)
		require.True(t, in, i)
	}
}

func TestGuessesTakeTurns(t *testing.T) {
	d := newDoor()
	const guesses = 60_000
	waits := 0
	for i := range guesses { // a minute, another one each millisecond
		d.now = d.now.Add(time.Millisecond)
		if _, wait := d.knock(site, fmt.Sprint("guess", i), false); wait > 0 {
			require.Less(t, wait, 10*time.Second)
			waits++
		}
	}
	assert.LessOrEqual(t, d.looked, failureBurst+1+int(time.Minute/turnPause))
	assert.Equal(t, guesses-d.looked, waits)

	d.now = d.now.Add(time.Second)
	in, _ := d.knock(site, "new", true)
	assert.True(t, in, "whose turn it is")
	d.now = d.now.Add((mostCounted + failureBurst + 1) * failurePause)
	for i := range failureBurst {
		_, wait := d.knock(site, fmt.Sprint("later", i), false)
		require.Zero(t, wait, "it is forgiven soon")
	}
}

// While somebody's credentials are looked at nobody else's are, and what took long is paid for.
func TestATurnIsAsLongAsItTakes(t *testing.T) {
	d := newDoor()
	for i := range failureBurst {
		d.knock(site, fmt.Sprint("guess", i), false)
	}
	slow, other := d.presented(presenting("slow")), d.presented(presenting("other"))
	require.Zero(t, d.wait(site, slow, d.now))
	d.now = d.now.Add(500 * time.Millisecond)
	require.Positive(t, d.wait(site, other, d.now))
	d.refused(site, slow, d.now)
	d.now = d.now.Add(turnShare*500*time.Millisecond - 1)
	require.Positive(t, d.wait(site, other, d.now))
	d.now = d.now.Add(1)
	require.Zero(t, d.wait(site, other, d.now))

	d.now = d.now.Add(turnLimit)
	require.Zero(t, d.wait(site, slow, d.now.Add(failurePause)), "nobody said how it ended")
}

// What was right and is not any more is looked at no more often than what never was.
func TestWhatIsRightNoLongerIsForgotten(t *testing.T) {
	d := newDoor()
	d.knock(site, "revoked", true)
	for range 60_000 {
		d.now = d.now.Add(time.Millisecond)
		d.knock(site, "revoked", false)
	}
	assert.LessOrEqual(t, d.looked, 1+failureBurst+int(time.Minute/failurePause))
	d.now = d.now.Add(failurePause)
	in, _ := d.knock(site, "revoked", true)
	assert.True(t, in, "and right again")
}

func TestWhatARequestPresents(t *testing.T) {
	c := newTurnstile()
	one := c.presented(presenting("a", "X-Api-Key", "k"))
	for _, same := range []http.Header{
		presenting("a", "X-Api-Key", "k", "Sec-WebSocket-Key", "x", "OpAMP-Instance-UID", "u", "Content-Length", "3"),
		presenting("a", "x-api-key", "k", "Traceparent", "00-1"),
		presenting("a", "X-Api-Key", "k", "Connection", "Upgrade", "Upgrade", "websocket", "User-Agent", "otelcol"),
	} {
		assert.Equal(t, one, c.presented(same))
	}
	for _, other := range []http.Header{
		{},
		presenting("a"), presenting("b", "X-Api-Key", "k"), presenting("a", "X-Api-Key", "l"), presenting("k", "X-Api-Key", "a"),
		{"Authorization": {"Bearer a", ""}, "X-Api-Key": {"k"}},
	} {
		assert.NotEqual(t, one, c.presented(other), other)
	}
	assert.NotEqual(t, one, newTurnstile().presented(presenting("a", "X-Api-Key", "k")), "of this process alone")
}

func TestCredentialsAreRememberedOfSomeOnly(t *testing.T) {
	d := newDoor()
	for i := range 2 * mostFailing {
		d.knock(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), fmt.Sprint("wrong", i), false)
		d.knock(site, fmt.Sprint("right", i), true)
	}
	assert.Len(t, d.wrong, mostFailing)
	assert.Len(t, d.right, mostFailing)
	assert.LessOrEqual(t, len(d.turns), mostFailing)
	assert.LessOrEqual(t, len(d.failures.peers), mostFailing)
}
