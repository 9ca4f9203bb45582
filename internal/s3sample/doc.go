// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package s3sample makes telemetry as the Collector's S3 exporter stores it: traces, metrics and logs
// of a small shop, an object a minute and signal. Every record says which one it is, so that who reads
// them back can tell that all are there and in order.
//
// Tests and the demo use it. The package is pure.
package s3sample
