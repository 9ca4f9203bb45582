// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package localaws starts the servers that stand in for AWS on this machine: versitygw, a gateway
// that serves files as S3 and tells of new ones, and fauxqs, which has all of SQS and an S3 of its
// own in memory. Both listen on the loopback interface alone and end with the process that started
// them.
//
// Tests and the demo use it; `make localaws` installs what it starts.
package localaws
