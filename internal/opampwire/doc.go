// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opampwire holds what every end of an OpAMP conversation agrees on:
// the instance UID, the WebSocket frame around a message, and how much may be
// read from a peer. It is pure: bytes in, values out.
//
// Sections named in this package are those of the OpAMP specification.
package opampwire
