// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate ../../.tools/bin/mdatagen metadata.yaml

// Package opampextension makes this Collector an OpAMP Agent that only reports: who
// it is, what it runs, what it is built of and how every component of it feels.
// Nothing that the server says changes what the Collector does.
//
// The package is a shell: configuration, lifecycle and wiring. The rooms behind it
// are agentreport (facts to protobufs), agentidentity (which agent this is),
// componenthealth (status events to few messages), custommessage (what components and
// the server have to say to each other) and opampclient (the way to the server).
//
// # Order of events
//
// The service creates the extension, reports component status to it from then on
// (under a lock, see [componenthealth.Recorder.ComponentStatusChanged]), calls
// Start, NotifyConfigSnapshot, Ready, NotReady and Shutdown. The client begins to
// dial when it is known what instance UID was kept and what the configuration is, so
// that the first message is complete, or a moment after Start where nobody tells:
// two seconds for the UID, one for the configuration. Start itself waits neither for
// the network nor for a disk. Shutdown ends the client first and then what keeps the
// instance UID, because the server's last word may be another one.
package opampextension
