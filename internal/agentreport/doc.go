// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package agentreport turns what a Collector knows about itself into the
// protobufs that an OpAMP Server reads: the agent description, the health tree,
// the effective configuration and the components that the binary is built of.
//
// Every function is pure: facts in, a new message out. Nothing here reads a
// clock, a file or the operating system, and no message is kept or changed after
// it was returned. Names on the wire follow the Collector's other OpAMP
// implementations, so that a server cannot tell them apart by spelling.
//
// What comes from components and users is bounded: a protobuf string must be
// valid UTF-8, and one component's error must not crowd out the report of all
// the others. The bounds are the Max constants of this package.
package agentreport
