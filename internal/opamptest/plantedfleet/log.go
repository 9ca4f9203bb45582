// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plantedfleet

import (
	"context"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Log is the history of a fleet: what the fleet itself remembers, and, as a database does, configs that nobody runs
// any more. It is for one goroutine until Play is done, and for many after that.
type Log struct {
	fleet   *fleet.Fleet
	configs map[fleet.Sum]*fleet.Config
}

// NewLog plays what is planted to a fleet, and returns the log of it.
func NewLog(f *fleet.Fleet, now time.Time) *Log {
	l := &Log{fleet: f, configs: map[fleet.Sum]*fleet.Config{}}
	PlaySlowly(f, now, l.remember)
	return l
}

func (l *Log) remember() {
	agents, _ := l.fleet.Agents()
	for _, a := range agents {
		if a.Config != nil {
			l.configs[a.Config.Sum()] = a.Config
		}
	}
}

// Events answers from the fleet's memory.
func (l *Log) Events(_ context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	return l.fleet.Events(q), nil
}

// Config returns one that an agent has, or had when PlaySlowly paused.
func (l *Log) Config(_ context.Context, sum fleet.Sum) (*fleet.Config, error) {
	if c := l.configs[sum]; c != nil {
		return c, nil
	}
	return l.fleet.Config(sum), nil
}
