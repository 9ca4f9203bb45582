// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package fleetstore

// manyAgents is how many agents a benchmark of many has. Under the race detector it only shows that it runs.
const manyAgents = 2_000
