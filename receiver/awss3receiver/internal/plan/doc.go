// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package plan says which keys a range of time lives under: a format of partitions, a zone and two
// times make the exact set of partitions, and a layout of keys makes the prefixes to list.
//
// The package is pure: no clock, no network, no goroutine.
package plan
