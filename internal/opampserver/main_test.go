// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
)

func TestMain(m *testing.M) {
	if measured.Role() != "" {
		serveMeasured() // the server of BenchmarkIdleConnection, alone in its process
		return
	}
	goleak.VerifyTestMain(m)
}
