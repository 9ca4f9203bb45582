// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package loadtest measures the whole server under many agents, beside opamp-go's server package: both as processes
// of their own, with the agents of one driver, in one run.
//
//	make bench BENCH=Fleet PKG=./internal/loadtest
//
// prints, for 1,000, 5,000 and 15,000 agents over WebSocket, what an agent takes of memory and a heartbeat of the
// processor, how long it takes until a failing component is on a page, and what a restart and a kill cost. With -short
// there are a few agents. FLEETVIEW_PROFILES names a directory for profiles of the servers' processors.
//
// What is counted is asserted: no statement for a heartbeat, nobody lost, nobody asked in vain. What is timed is
// printed.
package loadtest
