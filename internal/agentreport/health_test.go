// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"google.golang.org/protobuf/proto"
)

var testStarted = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return testStarted.Add(time.Duration(seconds) * time.Second) }

func attributes(t *testing.T, raw map[string]any) pcommon.Map {
	t.Helper()
	m := pcommon.NewMap()
	require.NoError(t, m.FromRaw(raw))
	return m
}

func TestComponentHealthGolden(t *testing.T) {
	tree := &HealthTree{
		Status: componentstatus.StatusRecoverableError, Error: "connection refused", Since: after(30),
		Children: map[string]*HealthTree{
			"extensions": {Status: componentstatus.StatusOK, Since: after(1), Children: map[string]*HealthTree{
				"extension:opamp": {Status: componentstatus.StatusOK, Since: after(1)},
			}},
			"pipeline:traces/2": {
				Status: componentstatus.StatusRecoverableError, Error: "connection refused", Since: after(30),
				Children: map[string]*HealthTree{
					"receiver:otlp": {Status: componentstatus.StatusOK, Since: after(2)},
					"exporter:otlp/backend": {
						Status: componentstatus.StatusRecoverableError, Error: "connection refused", Since: after(30),
						Attributes: attributes(t, map[string]any{"endpoint": "127.0.0.1:1", "attempts": int64(3)}),
					},
				},
			},
			"pipeline:logs": {Status: componentstatus.StatusStopped, Since: after(40)},
		},
	}
	requireGolden(t, "health", ComponentHealth(tree, testStarted))
	requireGolden(t, "health_not_started", ComponentHealth(&HealthTree{Status: componentstatus.StatusStarting}, time.Time{}))
}

func TestOnlyStatusOKIsHealthyAndOnlyWhatIsUpHasAStartTime(t *testing.T) {
	started := uint64(testStarted.UnixNano())
	for _, tc := range []struct {
		status  componentstatus.Status
		text    string
		healthy bool
		start   uint64
	}{
		{componentstatus.StatusNone, "StatusNone", false, 0},
		{componentstatus.StatusStarting, "StatusStarting", false, started},
		{componentstatus.StatusOK, "StatusOK", true, started},
		{componentstatus.StatusRecoverableError, "StatusRecoverableError", false, started},
		{componentstatus.StatusPermanentError, "StatusPermanentError", false, started},
		{componentstatus.StatusFatalError, "StatusFatalError", false, started},
		{componentstatus.StatusStopping, "StatusStopping", false, started},
		{componentstatus.StatusStopped, "StatusStopped", false, 0},
	} {
		t.Run(tc.text, func(t *testing.T) {
			h := ComponentHealth(&HealthTree{Status: tc.status, Since: after(9)}, testStarted)
			require.Equal(t, tc.text, h.GetStatus())
			require.Equal(t, tc.healthy, h.GetHealthy())
			require.Equal(t, tc.start, h.GetStartTimeUnixNano())
			require.Equal(t, uint64(after(9).UnixNano()), h.GetStatusTimeUnixNano())
		})
	}
}

// Errors and attributes come from components and may hold anything.
func TestComponentHealthIsBoundedAndEncodable(t *testing.T) {
	attrs := map[string]any{}
	for i := range 500 {
		attrs[fmt.Sprintf("a%03d", i)] = strings.Repeat("y", 1<<14)
	}
	tree := &HealthTree{
		Status:     componentstatus.StatusPermanentError,
		Error:      strings.Repeat("\xff\x00 error ", 1<<16),
		Attributes: attributes(t, attrs),
		Children:   map[string]*HealthTree{"receiver:\xff" + strings.Repeat("n", 1<<16): {}},
	}
	h := ComponentHealth(tree, testStarted)

	require.LessOrEqual(t, len(h.GetLastError()), MaxErrorBytes)
	require.Len(t, h.GetAttributes(), MaxStatusAttributes)
	require.Equal(t, "a000", h.GetAttributes()[0].GetKey())
	raw, err := proto.Marshal(h)
	require.NoError(t, err)
	require.Less(t, len(raw), 256<<10)
}

func TestComponentHealthDepthIsBounded(t *testing.T) {
	tree := &HealthTree{Status: componentstatus.StatusOK}
	tree.Children = map[string]*HealthTree{"self": tree}
	h := ComponentHealth(tree, testStarted)

	depth := 0
	for ; len(h.GetComponentHealthMap()) > 0; depth++ {
		h = h.GetComponentHealthMap()["self"]
	}
	require.Equal(t, maxHealthDepth, depth)
}
