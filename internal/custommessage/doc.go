// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package custommessage is where the components of a Collector exchange custom messages
// with an OpAMP server, and where messages to it wait.
//
// A [Registry] implements contrib's opampcustommessages.CustomCapabilityRegistry for
// components, and what opampclient asks for a way to send. It works from the moment it
// is made: what components register before there is a client is announced when there is
// one, and what they send waits.
//
// # To the server
//
// Each capability has a queue, bounded in messages and in bytes; queues take turns. A
// message leaves when the server has answered it, and is written again on the next
// connection otherwise: at least once, in order for each capability. A full queue is the
// one thing that makes SendMessage say types.ErrCustomMessagePending, a queue of its own
// or all of them together. Nobody waits for
// longer than until the pipelines are to stop ([Registry.Stopping]). Who has told nothing but
// its own state may take back what is unsent when that ends: a handler has a method Withdraw
// beside Unregister for it.
//
// A message on which the server fails time and again costs the connection each time.
// It is found by sending the suspects one by one, and its capability then waits for
// minutes, so that everything else gets through (suspects).
//
// # From the server
//
// Each handler has a queue, and a copy of each message of its capability. A component
// that does not read loses messages, never anybody's time.
//
// # Over a restart
//
// With a [Store] what has waited for a moment is written down, in segments, four times
// a second at most; what is sent at once never is. Whatever the store does happens in
// the keeper's goroutine.
//
// # Bounds
//
// What waits for the server of all capabilities together, and what waits for components:
// Settings.TotalBytes each. 256 capabilities at a time and 256 handlers each; names of
// 1 KiB; counters for 32 capabilities by name and one for the rest; a log line a minute
// for each thing that goes on.
package custommessage
