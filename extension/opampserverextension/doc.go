// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate ../../.tools/bin/mdatagen metadata.yaml

// Package opampserverextension is an OpAMP Server as an extension of the Collector:
// agents report to one listener, people look at another.
//
// The package is a shell: configuration, lifecycle and wiring. What connections are
// is internal/opampserver's, what is true of each agent internal/fleet's, how it is
// told internal/fleet/fleetapi's and internal/fleet/fleetui's.
//
// The server only listens. No answer of it offers anything.
package opampserverextension
