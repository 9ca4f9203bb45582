// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package fleetstore

// manyAgents is how many agents a benchmark of many has.
const manyAgents = 100_000
