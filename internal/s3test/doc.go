// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package s3test is an object store for tests: a real one in this process, on loopback, with a way
// there that can be slow, refuse, and break off. It is imported by tests alone.
package s3test
