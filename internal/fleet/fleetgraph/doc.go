// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetgraph draws what a collector does with data: its pipelines from the effective config, with the health of
// each component on it.
//
// [Of] is the graph of an agent: receivers, then processors in their order, then exporters, each pipeline in a lane of
// its own; connectors lead from one lane to another; extensions stand apart. Every node has its place, in units that a
// template may take for pixels, and the same config and health have the same places always. [Graph.Table] says the same
// in rows, for who can't see a drawing.
//
// An agent that tells no config is drawn from its health tree, which knows the pipelines and not the order of their
// processors. What a config has beyond the limits is counted, not drawn.
package fleetgraph
