// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package ingest takes one object from the store to the pipeline, whoever told of it: a listing or a
// queue. What came of it is a value, an [Outcome], with a [Reason] of a closed set.
package ingest
