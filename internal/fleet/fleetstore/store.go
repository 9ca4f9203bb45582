// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"errors"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Store keeps what is known of agents, and what happened to them. It is safe for concurrent use, with one writer at a
// time: Write, WriteHeard and Prune are called one after the other.
type Store interface {
	// Load reads all agents.
	Load(ctx context.Context) (Loaded, error)
	// Write keeps a batch, all of it or nothing. Writing one again changes nothing.
	Write(ctx context.Context, b Batch) error
	// WriteHeard keeps who was heard when. Whoever is not known is passed over.
	WriteHeard(ctx context.Context, list []fleet.Heard) error
	// WriteSaid keeps what agents said by custom messages. Whoever is not known is passed over.
	WriteSaid(ctx context.Context, list []Said) error
	// Events answers a query, as [fleet.Fleet.Events] does from memory.
	Events(ctx context.Context, q fleet.EventQuery) (fleet.EventPage, error)
	// Config returns an effective config that an agent has, or had and left no longer ago than events are kept; nil
	// if there is none with that sum.
	Config(ctx context.Context, sum fleet.Sum) (*fleet.Config, error)
	// Prune deletes events that are older than before, and contents that no agent has had since then: at most limit of
	// each. It reports how many it deleted; none means that there is nothing left to delete.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
	// Stats are figures about the store itself.
	Stats() Stats
	// Close ends the use of the store.
	Close() error
}

// Loaded is what [Store.Load] found.
type Loaded struct {
	Agents []*fleet.Agent
	// LastEvent is the ID of the last event; 0 if there is none.
	LastEvent uint64
	// Unreadable counts agents that were left out, because what was kept of them is damaged. They will report again.
	Unreadable int
}

// Batch is what belongs together.
type Batch struct {
	Events []fleet.Event
	// Removed agents are deleted before Agents are written.
	Removed []opampwire.InstanceUID
	Agents  []Change
}

// Said is what an agent said, as [fleet.Agent.MarshalSaid] wrote it; with no Body it said nothing, or it was given up.
type Said struct {
	UID  opampwire.InstanceUID
	Body []byte
}

// Change is an agent, and what the store has of it already.
type Change struct {
	Kept Kept
	Is   *fleet.Agent
	// State is what Is.Marshal wrote.
	State []byte
}

// Kept is what was written of an agent. It shares all with the agent, and takes no memory of its own.
type Kept struct {
	Version     uint64 // 0: nothing
	Said        uint64 // [fleet.Agent.Said] of what was written with [Store.WriteSaid]
	State       uint64 // a hash of Change.State, good for this process only; 0 where it is not known
	Description *fleet.Description
	Health      *fleet.Health
	Config      *fleet.Config
	Components  *fleet.Components
}

// keptOf is what is kept when a was written.
func keptOf(a *fleet.Agent) Kept {
	return Kept{
		Version: a.Version, Description: a.Description, Health: a.Health, Config: a.Config, Components: a.Components,
	}
}

// Stats of a [Store].
type Stats struct {
	Statements uint64 // statements that write, since it was opened
	Bytes      int64  // size on disk
}

var (
	// ErrLocked says that another process uses the database.
	ErrLocked = errors.New("another process uses it")
	// ErrFull says that there is no room, on the disk or within the bound.
	ErrFull = errors.New("no room left")
	// ErrDamaged says that what is there can't be read.
	ErrDamaged = errors.New("damaged")
	// ErrGone says that the place was taken away while it was used.
	ErrGone = errors.New("moved or deleted while it was used")
	// ErrUnwritable says that what has to be written can't be.
	ErrUnwritable = errors.New("it can't be written")
	// ErrForeign says that what is there is not ours.
	ErrForeign = errors.New("not a database of Fleetview")
	// ErrNewer says that what is there was written by a newer version.
	ErrNewer = errors.New("written by a newer version")
)
