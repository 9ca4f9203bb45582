// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate ../../.tools/bin/mdatagen metadata.yaml

// Package opampgatewayextension carries many OpAMP agents over a few connections to their
// server, as an extension of the Collector.
//
// The package is a shell: configuration, lifecycle and wiring. How agents are carried, and
// what becomes of them when something fails, is internal/gateway's.
package opampgatewayextension
