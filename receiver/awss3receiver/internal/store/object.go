// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

// SizeUnknown is the size of an object of which nobody said it.
const SizeUnknown int64 = -1

// Object names one object and says what is known of it.
type Object struct {
	Bucket, Key string
	// VersionID is empty for the newest version.
	VersionID string
	// Size is in bytes, as stored; or SizeUnknown.
	Size int64
}
