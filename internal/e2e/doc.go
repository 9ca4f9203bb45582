// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e drives the built distribution from outside: its command line, real servers, real
// supervisors and a real browser. Its tests are behind the build tag e2e, because they need what
// `make e2e` provides: the two binaries below bin, contrib's opampsupervisor and a Chromium.
//
// With the build tag interop as well, agents and a server of others, as they are released, are put to
// ours: they need what `make interop` provides.
package e2e
