// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package listening is a listener of the configuration: what is wrong with its keys, the
// rule that what others can reach is encrypted and knows who speaks, the http.Server
// behind it, the guard in front of agents, and who of those that were let in may do what.
// Every shell that listens does so by it.
package listening
