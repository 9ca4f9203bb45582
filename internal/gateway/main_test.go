// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
)

func TestMain(m *testing.M) {
	if role := measured.Role(); role != "" {
		serveMeasured(role)
		return
	}
	goleak.VerifyTestMain(m)
}
