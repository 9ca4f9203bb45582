// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLedgerPairsInOrder(t *testing.T) {
	var l ledger
	assert.False(t, l.answered(), "nothing was written")
	for _, custom := range []bool{false, true, true, false, true} {
		l.wrote(custom, epoch)
	}
	for i, want := range []bool{false, true, true, false, true, false} {
		assert.Equal(t, want, l.answered(), "answer %d", i)
	}
	assert.Zero(t, l.custom)
}

func TestLedgerClosesItsWindow(t *testing.T) {
	var l ledger
	for range customWindow {
		require.True(t, l.open())
		l.wrote(true, epoch)
	}
	require.False(t, l.open())
	require.True(t, l.answered())
	require.True(t, l.open())
}

func TestLedgerLetsGoOfWhatIsNotAnswered(t *testing.T) {
	var l ledger
	l.wrote(true, epoch)
	l.wrote(true, epoch.Add(time.Second))
	never, soon := time.Time{}, epoch.Add(500*time.Millisecond)
	assert.Equal(t, overdue{wait: answerGrace - time.Second}, l.overdue(epoch.Add(time.Second), never))
	assert.Equal(t, overdue{doubt: true, wait: doubtGap}, l.overdue(epoch.Add(answerGrace), never),
		"nothing shows that it arrived")
	assert.Equal(t, overdue{expired: true, custom: true}, l.overdue(epoch.Add(answerGrace), soon))
	assert.Equal(t, overdue{doubt: true, wait: doubtGap}, l.overdue(epoch.Add(answerGrace), soon),
		"a server known for it gets the short grace, but this one was written after the ping")
	assert.Equal(t, overdue{expired: true, custom: true}, l.overdue(epoch.Add(answerGrace), epoch.Add(2*time.Second)))
	assert.Equal(t, overdue{}, l.overdue(epoch.Add(time.Hour), never))
}

func TestLedgerDoubtsWhatMayBeNoAnswer(t *testing.T) {
	var l ledger
	l.spoke()
	l.wrote(true, epoch)
	l.wrote(true, epoch)
	assert.Equal(t, overdue{wait: answerGrace}, l.overdue(epoch, epoch), "it spoke before anything was written")
	l.spoke()
	assert.Equal(t, 2, l.custom, "it may have spoken unasked")
	assert.Equal(t, overdue{expired: true, custom: true}, l.overdue(epoch.Add(shortGrace), epoch.Add(1)))
	assert.Equal(t, overdue{wait: answerGrace - shortGrace}, l.overdue(epoch.Add(shortGrace), epoch.Add(1)),
		"one answer shortens the wait of one message")
	assert.True(t, l.answered())
}

func TestPaceSpacesAfterABurst(t *testing.T) {
	p := pace{every: 100 * time.Millisecond}
	now := epoch
	for range customPaceBurst {
		require.Zero(t, p.early(now))
		p.take()
	}
	require.Equal(t, 100*time.Millisecond, p.early(now))
	now = now.Add(40 * time.Millisecond)
	require.Equal(t, 60*time.Millisecond, p.early(now))
	require.Equal(t, 60*time.Millisecond, p.early(now.Add(-time.Hour)), "a clock that goes back changes nothing")
	now = now.Add(-time.Hour).Add(60 * time.Millisecond)
	require.Zero(t, p.early(now))
	p.take()
	require.NotZero(t, p.early(now))
	require.Zero(t, p.early(now.Add(time.Hour)))
	var none pace
	none.take()
	require.Zero(t, none.early(now))
}
