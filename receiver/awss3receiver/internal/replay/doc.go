// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay reads all objects of a range of time to the pipeline, in order, and goes on where it
// was when it begins anew.
//
// Three goroutines hand objects on: one lists, one has them fetched ahead as far as count and bytes
// allow, and the caller's delivers one after the other. A pipeline that takes its time, or refuses,
// holds the last, and so all of them.
package replay
