// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package directions holds which way imports may point in this module. It has no code of its own:
// its test reads the imports of every package and fails when a forbidden edge appears.
package directions
