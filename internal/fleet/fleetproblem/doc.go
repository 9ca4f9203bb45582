// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetproblem tells when two agents have the same problem: a component of the same type fails with the same
// error, but for what differs from one host and one moment to the next.
//
// [Normalize] takes out of an error what differs: addresses, ports, hosts, paths, URLs, identifiers, times, durations,
// sizes and other numbers, quoted text, and the random ends of names. Words and status codes stay, for they are what
// is wrong. The result is stable: normalizing it again changes nothing. testdata/errors.txt holds what becomes of
// errors that collectors report.
package fleetproblem
