// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetindexer keeps the index of a fleet up to date while nobody asks.
//
// A question takes in by itself what changed, but it reads only a few configs: where thousands of agents report a config
// of their own at once, or a server starts with as many from its store, the rest is read here, so that a first look at a
// fleet is right soon after it changed. That costs a quarter of a core at most: after each piece of work there is a rest of
// three times its length.
package fleetindexer
