// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opamptest holds the partners that tests talk to: an OpAMP server that does as
// it is told and remembers what it heard, an HTTP proxy that does too, an authority for
// their certificates, and a network without ports whose time a test can hold
// (testing/synctest).
package opamptest
