// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package decode makes telemetry of the bytes of an object, a batch at a time: it decompresses,
// finds the documents, and hands each piece to the Collector's own unmarshalers. What it holds at
// once is bounded, whatever the object holds.
package decode
