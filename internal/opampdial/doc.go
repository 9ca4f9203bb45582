// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package opampdial is the way that a request takes out of this process: directly,
// through a proxy or over a Unix socket, under TLS whose files may change, and through
// an authenticator that may fail.
//
// A [Network] goes below an authenticator and makes the connections. [Guard] goes
// around one, so that what it does wrong has a name and no consequence. The errors of
// both say where on the way a request ended ([ErrProxy], [ErrProxyAuth], [ErrAuth]), and
// none of them repeats a credential.
package opampdial
