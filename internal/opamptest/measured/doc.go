// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package measured runs what a benchmark measures as a process of its own, so that memory, processor time and
// allocations are those of one side of a conversation, and the files of each side have a limit of their own.
//
// A test binary starts itself again ([Start]); its TestMain finds the role of that copy in [Role] and ends in [Serve].
// They speak in lines over standard input and output.
package measured
