// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetstore is how a fleet survives.
//
// A [Store] keeps agents, what they have in common, and the log of transitions. [OpenSQLite] gives one in a file. A
// [Keeper] stands between a fleet.Fleet and a store: it reads what the store has, once, and from then on writes behind.
//
// # What is promised
//
//   - A report is answered without waiting for the store. What it changed is handed to the store within 100 ms, and is
//     on disk when that has written it. A process that is killed loses no more than that.
//   - A heartbeat that changes nothing causes no statement. When each agent was last heard is written in coarse
//     batches, and at the end.
//   - Of an agent that changes often only the last state is written; of its transitions, each. Where more agents come and
//     go than can be written, transitions go first: agents wait, and what is on disk of them is older meanwhile.
//   - When the store fails, the fleet goes on in memory. What was not written is written when it works again. Only
//     transitions that memory has no room for are lost; they are counted, and the log has an event that says so.
//   - Nothing of what is there is deleted because it can't be read. A damaged file is put aside under another name.
//
// # Where to start to read
//
// store.go is the noun, keeper.go the life. migrations has the tables. conformance_test.go is what every store must do.
package fleetstore
