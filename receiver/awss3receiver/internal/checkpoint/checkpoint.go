// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps how far a replay is, so that one that begins anew goes on after the last
// object that the pipeline took.
package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
)

const (
	key = "position"
	// timeout is how long a storage may take. It is on the way of every object.
	timeout = 5 * time.Second
	// version is of the record; one of another version is not understood.
	version = 1
)

// ErrRecord says that what is kept is not understood.
var ErrRecord = errors.New("the checkpoint in the storage is not understood; remove it to begin anew")

// Position is how far a replay is.
type Position struct {
	// Scope names the replay: the store and its bucket, what its keys look like, and the start. A position of
	// another one means nothing.
	Scope string `json:"scope"`
	// Start and End are the range being read. What is before Start is done with.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Form is the form of keys being read; the ones before it are done with for this range.
	Form plan.Form `json:"form"`
	// Partition is the time of the partition that Key lies in. Key is the last object that is done
	// with, empty where none is.
	Partition time.Time `json:"partition,omitzero"`
	Key       string    `json:"key,omitempty"`
}

// record is what is kept.
type record struct {
	Version int `json:"version"`

	Position
}

// Store keeps one position. It is for one goroutine. The zero Store keeps nothing.
type Store struct {
	Client storage.Client
}

// Load is the position that was kept. ok is false where none is.
func (s Store) Load(ctx context.Context) (position Position, ok bool, err error) {
	if s.Client == nil {
		return Position{}, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := s.Client.Get(ctx, key)
	switch {
	case err != nil:
		return Position{}, false, fmt.Errorf("read the checkpoint: %w", err)
	case len(data) == 0:
		return Position{}, false, nil
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Position{}, false, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Version != version {
		return Position{}, false, fmt.Errorf("%w: it is of version %d", ErrRecord, r.Version)
	}
	return r.Position, true, nil
}

// Save keeps a position in place of the one before.
func (s Store) Save(ctx context.Context, position Position) error {
	if s.Client == nil {
		return nil
	}
	data, err := json.Marshal(record{Version: version, Position: position})
	if err != nil {
		return err
	}
	// What the pipeline took is kept even while the receiver is being shut down.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := s.Client.Set(ctx, key, data); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return nil
}

// Close ends the use of the storage.
func (s Store) Close(ctx context.Context) error {
	if s.Client == nil {
		return nil
	}
	return s.Client.Close(ctx)
}
