// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleethistory reads the log of transitions: since when something is so and what changed just before
// ([Reader.Transition]), when the server itself was away ([Reader.Outages]), how far a version or a config has come
// ([Reader.Rollout]).
//
// What is true now it asks the index ([fleetsearch]), what was true the [Log]. It writes nothing, and what it reads for
// one question is bounded; an answer that a bound cut says so.
package fleethistory
