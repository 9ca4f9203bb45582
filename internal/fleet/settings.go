// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// Settings of a [Fleet]. A zero field takes its default.
type Settings struct {
	// MaxAgents bounds how many agents are remembered, present and gone. When it is reached, the agent that went
	// away first makes room; when all are present, newcomers are told to come back later. Default 50,000.
	MaxAgents int
	// MaxAgentsPerConnection bounds how many agents may speak on one WebSocket. Default 10,000.
	MaxAgentsPerConnection int
	// SilentAfter is how long an agent may say nothing before it counts as silent. Default 90 s.
	SilentAfter time.Duration
	// MaxMemory bounds what is kept of all agents together, in bytes as [Stats] counts them. Past it, agents that are
	// gone give up all but the gist of what they reported, the longest gone first; if that is not enough, of what is
	// reported only the gist is kept. Rows remain: MaxAgents bounds them. Default 512 MiB.
	MaxMemory int64
	// RetireAfter is how long an agent that is gone is remembered. Default 0: until its place is needed.
	RetireAfter time.Duration
	// Identity says when an agent with another instance UID is the same one. nil is [DefaultIdentity]; an empty one
	// recognizes nobody.
	Identity Identity
	// NewUID makes the instance UID for one of two agents that use the same. Default [opampwire.NewInstanceUID].
	NewUID func() opampwire.InstanceUID
	// Redact says what is a secret in what agents tell. What it masks is not kept. nil masks nothing.
	Redact *redact.Rules
	// Limits bound what is kept of one agent.
	Limits Limits
}

// Limits bound what is kept of one agent. What exceeds them is cut, marked and counted. A zero field takes its
// default.
type Limits struct {
	// MaxDepth bounds how deep trees (health, components, attribute values) go. Default 32.
	MaxDepth int
	// MaxNodes bounds the nodes of one tree. Default 10,000.
	MaxNodes int
	// MaxAttributes bounds the attributes of one list. Default 256.
	MaxAttributes int
	// MaxNameBytes bounds a name, a key, a value, a status. Default 1 KiB.
	MaxNameBytes int
	// MaxErrorBytes bounds an error text. Default 4 KiB.
	MaxErrorBytes int
	// MaxTextBytes bounds all texts of one part of a report together (description, health, components).
	// Default 1 MiB.
	MaxTextBytes int
	// MaxConfigFiles bounds the files of an effective config. Default 64.
	MaxConfigFiles int
	// MaxConfigBytes bounds the bodies of an effective config together. Default 1 MiB.
	MaxConfigBytes int
}

func (s Settings) withDefaults() Settings {
	s.MaxAgents = orDefault(s.MaxAgents, 50_000)
	s.MaxAgentsPerConnection = orDefault(s.MaxAgentsPerConnection, 10_000)
	s.SilentAfter = orDefault(s.SilentAfter, 90*time.Second)
	s.MaxMemory = orDefault(s.MaxMemory, 512<<20)
	if s.Identity == nil {
		s.Identity = DefaultIdentity()
	}
	if s.NewUID == nil {
		s.NewUID = opampwire.NewInstanceUID
	}
	s.Limits = s.Limits.withDefaults()
	return s
}

func (l Limits) withDefaults() Limits {
	return Limits{
		MaxDepth:       orDefault(l.MaxDepth, 32),
		MaxNodes:       orDefault(l.MaxNodes, 10_000),
		MaxAttributes:  orDefault(l.MaxAttributes, 256),
		MaxNameBytes:   orDefault(l.MaxNameBytes, 1<<10),
		MaxErrorBytes:  orDefault(l.MaxErrorBytes, 4<<10),
		MaxTextBytes:   orDefault(l.MaxTextBytes, 1<<20),
		MaxConfigFiles: orDefault(l.MaxConfigFiles, 64),
		MaxConfigBytes: orDefault(l.MaxConfigBytes, 1<<20),
	}
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
