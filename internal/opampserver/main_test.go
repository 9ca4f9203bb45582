// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serveMeasured() // the server of BenchmarkIdleConnection, alone in its process
		return
	}
	goleak.VerifyTestMain(m)
}
