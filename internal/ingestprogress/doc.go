// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package ingestprogress is how a receiver that reads telemetry back from object storage says how
// far it is: the two messages of one custom capability, and nothing else.
//
// [TypeStatus] is what contrib's S3 receiver sends, byte for byte in meaning: readers of it need not
// know of us. [TypeProgress] says more, as JSON, and [TypeReport] is how a server asks for one now.
//
// The package is pure: values in, values out. What comes from another process is bounded before it
// is kept; see [ParseStatus] and [ParseProgress].
package ingestprogress
