// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pipeline"
)

var errJoinedTwice = errors.New("sqs: two receivers of one id and one signal")

// Member is the receiver of one signal among those of one id.
type Member struct {
	Signal pipeline.Signal
	// Read reads an object into the pipeline of the signal. See [Read].
	Read func(ctx context.Context, o Object) Result
	// Failing and Recovered show that the queue fails, and that it does no longer.
	Failing   func(error)
	Recovered func()
}

// Group is all receivers of one id, which share one consumer: were there one for each, they would
// take each other's objects. It takes messages from when all of its members have started until the
// first of them is stopped. Its methods may be called by several goroutines.
type Group struct {
	mu       sync.Mutex
	signals  []pipeline.Signal // guarded by mu
	members  []Member          // guarded by mu: those that have started
	consumer *Consumer         // guarded by mu: nil before all have started
	stopped  bool              // guarded by mu
}

// Join announces a member, before any has started.
func (g *Group) Join(signal pipeline.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.signals, signal) {
		return errJoinedTwice
	}
	g.signals = append(g.signals, signal)
	return nil
}

// Start starts a member that has joined. The last one starts the consumer that open makes: it is
// handed settings that say what the members know.
func (g *Group) Start(m Member, open func(members Settings) (*Consumer, error)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, m)
	if g.stopped || len(g.members) < len(g.signals) {
		return nil
	}
	members := slices.Clone(g.members)
	consumer, err := open(Settings{
		Signals: slices.Clone(g.signals),
		Read: func(ctx context.Context, signal pipeline.Signal, o Object) Result {
			i := slices.IndexFunc(members, func(m Member) bool { return m.Signal == signal })
			return members[i].Read(ctx, o)
		},
		Failing: func(err error) {
			for _, m := range members {
				m.Failing(err)
			}
		},
		Recovered: func() {
			for _, m := range members {
				m.Recovered()
			}
		},
	})
	if err != nil {
		return err
	}
	g.consumer = consumer
	consumer.Start()
	return nil
}

// Stop ends the consumer, since a member is about to end, and waits for that. See [Consumer.Stop].
func (g *Group) Stop(ctx context.Context) {
	g.mu.Lock()
	g.stopped = true
	consumer := g.consumer
	g.mu.Unlock()
	if consumer != nil {
		consumer.Stop(ctx)
	}
}
