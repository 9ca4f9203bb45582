// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tally := New([]string{"a", "b"})
		since, due := tally.Note("a", 2)
		assert.True(t, due)
		assert.Equal(t, int64(2), since)
		for range 10 {
			_, due = tally.Note("a", 1)
			assert.False(t, due)
		}
		tally.Add("a", 5)
		_, due = tally.Note("b", 1)
		assert.True(t, due, "another reason")
		time.Sleep(QuietPeriod)
		since, due = tally.Note("a", 1)
		assert.True(t, due)
		assert.Equal(t, int64(16), since, "all since the last line")
		assert.Equal(t, map[string]int64{"a": 18, "b": 1}, tally.Counts())
	})
}
