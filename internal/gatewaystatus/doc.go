// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package gatewaystatus is how a gateway says what it carries: the two messages of one
// custom capability, which the Collector that the gateway runs in sends as an agent.
//
// [TypeStatus] is small and sent at intervals. [TypeAgents] says which agents are behind
// the gateway, in parts, and is sent when that has changed.
//
// Who sends them has to be believed as far as an agent has to be, and no further: they say
// something of the gateway, and nothing that would let one agent speak for another.
//
// The package is pure: values in, values out. What comes from another process is bounded
// before it is kept.
package gatewaystatus
