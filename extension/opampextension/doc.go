// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate ../../.tools/bin/mdatagen metadata.yaml

// Package opampextension makes this Collector an OpAMP Agent that only reports: who
// it is, what it runs, what it is built of and how every component of it feels.
// Nothing that the server says changes what the Collector does.
//
// The package is a shell: configuration, lifecycle and wiring. The rooms behind it
// are agentreport (facts to protobufs), componenthealth (status events to few
// messages) and opampclient (the way to the server).
//
// # Order of events
//
// The service creates the extension, reports component status to it from then on
// (under a lock, see [componenthealth.Recorder.ComponentStatusChanged]), calls
// Start, NotifyConfigSnapshot, Ready, NotReady and Shutdown. The client begins to
// dial when the configuration is known, so that the first message is complete, or
// one second after Start where nobody tells it. Start itself never waits for the
// network.
package opampextension
