// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package statusexporter is an exporter that drops what it gets, reports the status that a test asks
// for over HTTP, and tells which goroutines run in its process. Only the distribution that the
// end-to-end tests build has it.
//
//	PUT /status?status=StatusRecoverableError&error=connection+refused
//	GET /goroutines
package statusexporter
