// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package agentidentity is how an agent stays the same agent: over reloads of its
// configuration, over restarts, and after a server has given it another instance UID.
//
// An [Identity] is what an extension asks for its UID: the configured one, else what a
// [Place] (a [File] or a [Storage]) kept, else the one that the process made. A
// [Registry] is the process's memory, which outlives the extensions of a reload. One
// goroutine for each identity owns the place, so that a place that hangs holds neither
// the start nor the end of a Collector, and no fault of one keeps a Collector from
// starting.
//
// Two processes never share what one place holds: the place is locked, and the record
// in it says on which host it was written ([HostID]), so that a copy shows.
package agentidentity
