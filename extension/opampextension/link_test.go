// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// link is an extension that runs, with all that it writes and counts.
type link struct {
	*opampExtension
	log       *logBook
	telemetry *componenttest.Telemetry
}

// connect starts an extension as the service does. auth may be nil.
func connect(t *testing.T, cfg *Config, auth component.Component) *link {
	t.Helper()
	l := &link{log: &logBook{}, telemetry: componenttest.NewTelemetry()}
	set := newSettings("link")
	set.TelemetrySettings = l.telemetry.NewTelemetrySettings()
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	set.Logger = zap.New(zapcore.NewCore(encoder, l.log, zapcore.DebugLevel))
	host := hostWith{}
	if auth != nil {
		withAuth(cfg)
		host[authID] = auth
	}
	l.opampExtension = newTestExtension(t, cfg, set)
	require.NoError(t, l.Start(t.Context(), host))
	require.NoError(t, l.NotifyConfigSnapshot(t.Context(), snapshotOf(map[string]any{"receivers": map[string]any{"nop": nil}})))
	require.NoError(t, l.Ready())
	return l
}

// result waits until an attempt to connect had the result.
func (l *link) result(t *testing.T, result string) {
	t.Helper()
	require.Eventually(t, func() bool { return counted(l.telemetry, "otelcol_opamp_connects", "result", result) >= 1 },
		patience, time.Millisecond, "no attempt had the result %s; the log: %s", result, l.log)
}

// shutdown is how long Shutdown took.
func (l *link) shutdown(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	require.NoError(t, l.Shutdown(context.Background()))
	return time.Since(start)
}

// logBook is all that was logged, every field of it.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (*logBook) Sync() error { return nil }

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
