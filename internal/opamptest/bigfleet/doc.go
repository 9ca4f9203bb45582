// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package bigfleet is a fleet of 100,000 collectors of 20 components each, for benchmarks of what is asked of a fleet as
// a whole: 200 configs, of which every collector has a copy of its own with its name in it, 12 versions, 40 clusters,
// 6 % that fail in one of 8 ways with an address of their own, 2 % gone.
//
// [New] makes it, [Report] is what one of its collectors says, and [Cost] tells what a question costs.
package bigfleet
