// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opampendpoint is the configuration of an OpAMP Server that this process connects
// to: its keys, what is wrong with them, and the HTTP client that they mean. The keys are
// those of contrib's opamp extension, and the same wherever a server is named.
package opampendpoint
