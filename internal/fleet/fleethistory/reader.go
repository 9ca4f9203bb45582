// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleethistory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// Log is where it is kept what happened, and what there was. It is safe for concurrent use.
type Log interface {
	// Events answers a query.
	Events(ctx context.Context, q fleet.EventQuery) (fleet.EventPage, error)
	// Config returns an effective config that an agent has or had, nil if none is known.
	Config(ctx context.Context, sum fleet.Sum) (*fleet.Config, error)
}

// InMemory is the log of a fleet that is kept nowhere: it goes back as far as the fleet's own memory.
type InMemory struct{ Fleet *fleet.Fleet }

// Events answers from the fleet's memory.
func (m InMemory) Events(_ context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	return m.Fleet.Events(q), nil
}

// Config returns one that an agent has.
func (m InMemory) Config(_ context.Context, sum fleet.Sum) (*fleet.Config, error) {
	return m.Fleet.Config(sum), nil
}

// Reader answers questions for what was. It is safe for concurrent use.
type Reader struct {
	log   Log                // fixed at construction
	index *fleetsearch.Index // fixed at construction

	mu    sync.Mutex
	kinds map[string]kind // of configs that nobody runs any more, by hash; guarded by mu
}

// ErrNoConfig says that no config with that hash is run, or kept.
var ErrNoConfig = errors.New("no such config")

// kind is with which other configs one is the same. A config that is not known has none.
type kind struct{ variant, family, label string }

// maxKinds bounds what is remembered of past configs; it is some 200 bytes each.
const maxKinds = 20_000

// New returns a reader of a log, beside the index of the fleet that wrote it.
func New(log Log, index *fleetsearch.Index) *Reader {
	return &Reader{log: log, index: index, kinds: map[string]kind{}}
}

// Config is the config with a hash (or its first digits), a variant or a family that somebody runs; or, by its whole
// hash, one that nobody runs any more. Where there is none the error is [ErrNoConfig]; another says why nobody can know.
func (r *Reader) Config(ctx context.Context, hash string) (fleetsearch.Config, error) {
	if c, ok := r.index.Config(hash); ok {
		return c, nil
	}
	sum, err := fleet.ParseSum(hash)
	if err != nil {
		return fleetsearch.Config{}, ErrNoConfig
	}
	c, err := r.log.Config(ctx, sum)
	switch {
	case err != nil:
		return fleetsearch.Config{}, err
	case c == nil:
		return fleetsearch.Config{}, ErrNoConfig
	}
	return fleetsearch.Config{Facts: fleetconfig.Examine(c), Config: c}, nil
}

// Knows reports whether the config with that hash is run, or kept.
func (r *Reader) Knows(ctx context.Context, hash string) bool {
	if _, runs := r.index.Facts(hash); runs {
		return true
	}
	sum, err := fleet.ParseSum(hash)
	if err != nil {
		return false
	}
	c, err := r.log.Config(ctx, sum)
	return err == nil && c != nil
}

// Earlier is a config that an agent had.
type Earlier struct {
	Hash  string
	Until time.Time
}

// maxEarlier bounds the configs that are told of one agent.
const maxEarlier = 30

// Earlier are the configs that an agent had before the one that it has, the last first: those that are kept, each once.
func (r *Reader) Earlier(ctx context.Context, a *fleet.Agent) ([]Earlier, error) {
	page, err := r.log.Events(ctx, fleet.EventQuery{
		UID: a.UID, Logical: kin(a), Kinds: []fleet.EventKind{fleet.EventConfig}, Limit: 2 * maxEarlier,
	})
	if err != nil || a.Config == nil {
		return nil, err
	}
	var out []Earlier
	for _, e := range page.Events {
		known := e.From == a.Config.Hash() || slices.ContainsFunc(out, func(o Earlier) bool { return o.Hash == e.From })
		if !known && len(out) < maxEarlier && r.Knows(ctx, e.From) {
			out = append(out, Earlier{Hash: e.From, Until: e.At})
		}
	}
	return out, nil
}

// kindOf is that of a config that somebody runs or ran. budget is how many may yet be read that are past, or that the index
// has not read yet.
func (r *Reader) kindOf(ctx context.Context, hash string, budget *int) kind {
	f, runs := r.index.Facts(hash)
	if runs && f.Variant == "" && *budget > 0 {
		*budget--
		f, runs = r.index.ReadFacts(hash)
	}
	if runs {
		return kind{f.Variant, f.Family, f.Label}
	}
	r.mu.Lock()
	k, ok := r.kinds[hash]
	r.mu.Unlock()
	if ok || *budget <= 0 {
		return k
	}
	*budget--
	c, err := r.Config(ctx, hash)
	switch {
	case err == nil:
		k = kind{c.Facts.Variant, c.Facts.Family, c.Facts.Label}
	case !errors.Is(err, ErrNoConfig):
		return k // that nobody could look says nothing of the config
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kinds) >= maxKinds {
		clear(r.kinds)
	}
	r.kinds[hash] = k
	return k
}
