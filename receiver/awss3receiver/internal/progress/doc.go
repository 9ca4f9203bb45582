// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package progress knows how far an ingest is ([Tracker]) and tells an OpAMP server ([Reporter]).
//
// The two meet in one value, the latest state. Who reads objects writes it and goes on; a goroutine
// of the reporter sends it, once a second at most, and what changed in between is never sent. So a
// server that is away, slow or hostile delays nothing.
package progress
