// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate ../../.tools/bin/mdatagen metadata.yaml

// Package awss3receiver reads telemetry back from S3 objects: those of a range of time, those that
// are stored from now on, or those that a queue tells of. It tells an OpAMP server how far it is.
//
// The package is a shell: configuration, lifecycle and wiring. The rooms behind it are plan (which
// keys), list (which objects), fetch (their bytes, whatever happens on the way), decode (bytes to
// telemetry), ingest (one object to the pipeline, and what came of it), replay (all objects of a
// range, in order), checkpoint (how far that is, over restarts) and progress (and to the server).
//
// # Order of events
//
// A receiver in pipelines of several signals is one instance for each, and each goes its own way.
// Start finds the extensions that are named, and begins; it waits for no store and no server.
// Shutdown stops reading, waits for what is at work, tells the server the last state and only then
// gives the capability back; each of it is bounded.
package awss3receiver
