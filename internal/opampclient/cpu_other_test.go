// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package opampclient

import (
	"testing"
	"time"
)

// cpuTime is not known here.
func cpuTime(testing.TB) time.Duration { return 0 }
