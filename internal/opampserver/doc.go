// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opampserver accepts OpAMP agents over WebSocket and plain HTTP on one
// path. It knows connections, frames, limits and deadlines; what a message means
// is its Handler's business.
//
// # Concurrency
//
// A WebSocket is served by one goroutine: it reads a message, calls the Handler,
// writes the reply, and only then reads on. So a connection needs no lock and no
// queue, and a peer that floods waits for itself: there is no rate limit because
// what a peer sends ahead stays in its own socket. A relay that carries thousands
// of agents over one connection is served at the speed of the Handler.
//
// What a peer did not ask for goes through [Server.Send]: it queues and returns, and a
// writer that lives only while something is queued takes turns with the replies, a
// whole frame each. A connection to which nothing is sent pays one pointer for it.
//
// A [Relay] instead of a Handler takes the bytes of each message and answers through the
// same queue, or not at all.
//
// # Frames
//
// WebSocket frames (RFC 6455) are read here rather than by a library because of
// one rule: memory follows what has arrived, not what a header announces. A frame
// header of 14 bytes may announce the whole of the message limit, and a process
// that believes it can be made to allocate that per connection for nothing.
// Extensions are never negotiated: a compressed message cannot be bounded before
// it is decompressed.
//
// # Bounds
//
// One message: Settings.MaxMessageSize, counted before it is buffered and again
// after decompression. All messages that are being received: Settings.MaxBufferedBytes,
// of which small messages have a share of their own and one address may have a part.
// Messages that are not small are decoded and handled a few at a time. What waits to be
// written to one peer and to all: Settings.MaxUnsentMessages, MaxUnsentBytes, MaxAllUnsentBytes.
// Connections and exchanges: Settings.MaxConnections, Settings.MaxExchanges.
// Time: a first message, a message once begun, silence and every write have a
// deadline each. Every refusal has a Reason, a counter, and at most one log line
// a minute.
//
// # Faults
//
// A panic while serving a peer is contained: it costs that peer its connection, is
// counted and logged, and leaves the process alive. The process is a Collector whose
// pipelines must outlive a report nobody foresaw.
//
// Sections named in this package are those of the OpAMP specification, unless an
// RFC is named.
package opampserver
