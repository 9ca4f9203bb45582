// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package store is the way to the object store: how a client is made, what its errors mean, and what
// is asked of a bucket before anything is read from it.
package store
