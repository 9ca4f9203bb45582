// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package list finds the objects of a plan, in the order in which they are to be read, in as few
// requests as can be: pages of a wide prefix, from just before the first key to just after the last,
// over gaps in one step. Where the order of keys is not that of time it runs several listings side
// by side.
package list
