// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package pingprocessor is an example of a component that talks with an OpAMP server: a
// processor that passes on what it gets and answers each "ping" of the server with a
// "pong" of the same data. When it starts it says "hello" as often as it is told to, each
// with its number, and when it stops it says "goodbye". Only the distribution that the
// end-to-end tests build has it.
//
// It knows nothing of this project: it is written against contrib's
// opampcustommessages alone.
package pingprocessor
