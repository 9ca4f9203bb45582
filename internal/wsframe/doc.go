// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package wsframe is the WebSocket frame of RFC 6455: its header, its mask and the body
// of a Close. It is pure: who reads frames decides what they may be and how many bytes to
// take. Extensions have no place in it, so what sets their bits is no frame.
//
// Sections named in this package are those of RFC 6455.
package wsframe
