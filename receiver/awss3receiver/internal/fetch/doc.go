// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fetch reads objects, whatever happens on the way: a request that fails is repeated, an
// answer that breaks off goes on where it did. Memory is bounded by two parts an object, however
// large it is.
package fetch
