// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opampclient is one agent's way to an OpAMP server: state goes in, frames
// go out.
//
// A [Client] holds what the server should know now ([Report]). Every connection
// starts from nothing told: its first message carries all of it, later ones only
// what changed since, and nothing is sent when nothing changed but the heartbeat.
// So a restarted server is current after one message, and a lost, late or repeated
// update does no harm.
//
// Custom messages alone are a queue, which is somebody else's ([CustomMessages]): the client
// writes what that gives out, one to a message and after whatever there is to report, and
// says of each what became of it. An answer names no message, so on a WebSocket the two are
// paired in order (ledger).
//
// # Who runs
//
// Start starts one goroutine, which owns the connection, the session (what this
// server was told) and all writing. While a WebSocket is up it has a reader and a
// watchdog beside it. Set* only write the state and nudge. Stop ends all of them,
// within [stopLimit] whatever the peer does.
//
// # Bounds
//
//   - Reading: [Settings.MaxReceive] bytes a message, counted after decompression.
//   - Reading a WebSocket takes a quarter of one processor's time, after a burst; a
//     server that floods waits for the rest (see throttle).
//   - Writing: [Settings.MaxSend] bytes a message; what does not fit is left out,
//     the effective config first, and counted. So is what the server says that it
//     has no use for.
//   - A WebSocket has 512 custom messages unanswered at most, and as many answers again,
//     or MaxReceive bytes of them, read and not yet taken.
//   - Every dial, handshake, exchange, write and close has a deadline; a silent
//     WebSocket is pinged and then given up.
//   - Connects are spaced by a jittered exponential back-off, which a server that
//     accepts and then closes does not reset.
//   - A server that asks for everything gets it once a second at most, and so does one
//     that keeps changing what it accepts.
//   - What a server asks us to wait is bounded by [Settings.MaxRetryAfter].
//   - The log has one line for an outage and one for its end.
//
// Times are taken by the monotonic clock: a wall clock that jumps moves nothing but the
// times that [Client.Status] shows.
//
// # Watching
//
// [Observer] is told of events as they happen, for counters. [Client.Status] is how
// things stand at a moment: since when there is a connection, or why there is none and
// when the next attempt comes.
//
// # Read-only
//
// Nothing that a server sends reaches the collector, but for a custom message that one of
// its components has asked for ([CustomMessages]). Offers are refused and counted
// ([Observer.Refused]); what a server may move is the identity it assigns to this
// agent, the pace of heartbeats, within bounds, and when to come back.
package opampclient
