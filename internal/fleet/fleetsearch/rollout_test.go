// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRollout(t *testing.T) {
	minute := func(m int) time.Time { return now.Add(time.Duration(m) * time.Minute) }
	changes := []Change{
		{At: minute(15), From: "1.0", To: "1.1"},
		{At: minute(25), From: "1.0", To: "1.1"},
		{At: minute(5), To: "1.0"},
		{At: minute(35), From: "1.1"},
		{At: minute(99), From: "1.1", To: "2.0"}, // after the span
	}
	got := Rollout(map[string]int{"1.0": 1, "1.1": 1}, changes, minute(0), minute(40), 5)
	assert.Equal(t, []time.Time{minute(0), minute(10), minute(20), minute(30), minute(40)}, got.At)
	assert.Equal(t, []Series{
		{Value: "1.0", Counts: []int{2, 3, 2, 1, 1}},
		{Value: "1.1", Counts: []int{0, 0, 1, 2, 1}},
	}, got.Series)

	many := map[string]int{}
	for i := range 30 {
		many[fmt.Sprintf("v%02d", i)] = 30 - i
	}
	got = Rollout(many, nil, minute(0), minute(1), 0)
	require.Len(t, got.Series, maxSeries+1)
	assert.Empty(t, got.Series[maxSeries].Value)
	assert.Equal(t, []int{171, 171}, got.Series[maxSeries].Counts)

	holes := Rollout(map[string]int{}, []Change{{At: minute(1), From: "a", To: "b"}}, minute(0), minute(2), 2)
	assert.Equal(t, []Series{{Value: "a", Counts: []int{1, 0}}}, holes.Series, "no count is below zero")
}

func TestAHeartbeatIsNoWork(t *testing.T) {
	f, x := fewFleet(t)
	x.Refresh()
	msg := collector{id: 1}.report()
	msg.AgentDescription, msg.Health = nil, nil
	msg.SequenceNum = 1
	f.Report(connOf(few[0]), msg, now.Add(time.Second))
	assert.True(t, x.upToDate())
	assert.Equal(t, now.Add(time.Second), search(t, x, Request{Limit: 1}).Agents[0].LastSeen, "and yet it is shown")
}
