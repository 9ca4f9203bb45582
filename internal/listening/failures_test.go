// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var failingSince = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// fail fails until the peer has to wait, and returns how often it could.
func fail(f *Failures, peer string, now time.Time) (times int) {
	for f.Wait(peer, now) == 0 && times < 10*failureBurstHere {
		f.Note(peer, now)
		times++
	}
	return times
}

func TestFailuresOfAnAddressAreBounded(t *testing.T) {
	f, now := new(Failures), failingSince
	assert.Equal(t, failureBurst, fail(f, "192.0.2.1:1000", now))
	assert.Equal(t, failurePause, f.Wait("192.0.2.1:2000", now), "from whichever port")
	assert.Zero(t, f.Wait("192.0.2.2:1000", now), "others need not wait")
	now = now.Add(failurePause)
	assert.Equal(t, 1, fail(f, "192.0.2.1:1000", now))
	now = now.Add(time.Hour)
	assert.Equal(t, failureBurst, fail(f, "192.0.2.1:1000", now), "it is forgotten")
}

func TestWhoseFailuresCountTogether(t *testing.T) {
	for _, tt := range []struct {
		one, other string
		together   bool
	}{
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", true},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:1", true},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		{"@", "", true},
		{"127.0.0.1:1", "192.0.2.1:1", false},
	} {
		f := new(Failures)
		fail(f, tt.one, failingSince)
		assert.Equal(t, tt.together, f.Wait(tt.other, failingSince) > 0, fmt.Sprint(tt))
	}
	for _, here := range []string{"127.0.0.1:1", "[::1]:1", "@"} {
		assert.Equal(t, failureBurstHere, fail(new(Failures), here, failingSince), "%s may be a proxy", here)
	}
}

func TestFailuresAreRememberedOfSomeOnly(t *testing.T) {
	f := new(Failures)
	stubborn := "192.0.2.1:1"
	fail(f, stubborn, failingSince)
	for i := range 2 * mostFailing {
		f.Note(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), failingSince)
	}
	assert.Len(t, f.peers, mostFailing)
	assert.Positive(t, f.Wait(stubborn, failingSince), "who failed once made room")
}
