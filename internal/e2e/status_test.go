// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFailureShows has an exporter fail, recover, fail for good and stop, each seen by whoever watches.
func TestFailureShows(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			changes := f.watch(t)
			_, e := f.startAgent(t, transport)
			uid := changes.until(t, "healthy", isHealthy).UID

			for _, status := range []string{"StatusRecoverableError", "StatusOK", "StatusPermanentError"} {
				text := map[bool]string{true: "", false: "cannot reach backend.example.com: " + status}[status == "StatusOK"]
				ordered := time.Now()
				e.report(t, status, text)
				if text == "" {
					changes.until(t, "healthy", isHealthy)
					t.Logf("%s shows after %v", status, time.Since(ordered).Round(time.Millisecond))
					assert.Empty(t, f.show(t, uid).Problems)
					continue
				}
				failing := changes.until(t, "failing", failsWith(text))
				t.Logf("%s shows after %v", status, time.Since(ordered).Round(time.Millisecond))
				assertFailing(t, *failing.FirstProblem, status, ordered)
				whole := f.show(t, uid)
				require.Len(t, whole.Problems, 1)
				assertFailing(t, whole.Problems[0], status, ordered)
				assert.Equal(t, "connected", whole.Liveness)
			}

			e.report(t, "StatusStopping", "")
			e.report(t, "StatusStopped", "")
			eventually(t, "the exporter shows as stopped", func() bool {
				part := f.show(t, uid).Health.part("pipeline:metrics", "exporter:status")
				return part != nil && !part.Healthy && part.Status == "StatusStopped"
			})
		})
	}
}

func failsWith(text string) func(agent) bool {
	return func(a agent) bool {
		return a.Condition == "unhealthy" && a.FirstProblem != nil && a.FirstProblem.Error == text
	}
}

func assertFailing(t *testing.T, p problem, status string, ordered time.Time) {
	t.Helper()
	assert.Equal(t, []string{"pipeline:metrics", "exporter:status"}, p.Path)
	assert.Equal(t, "metrics", p.Pipeline)
	assert.Equal(t, "exporter", p.Kind)
	assert.Equal(t, "status", p.ID)
	assert.Equal(t, status, p.Status)
	assert.WithinRange(t, p.Since, ordered, time.Now(), "since when")
}

// exporter orders the status exporter of a collector about.
type exporter struct{ address string }

// newExporter returns an exporter and the configuration of a collector that sends metrics to it.
func newExporter(t *testing.T) (exporter, string) {
	t.Helper()
	e := exporter{freeAddress(t)}
	return e, fmt.Sprintf(`
exporters:
  status: {endpoint: "%s"}
service:
  pipelines:
    metrics: {receivers: [nop], exporters: [status]}
`, e.address)
}

// report has the exporter report a status, with an error unless text is empty.
func (e exporter) report(t *testing.T, status, text string) {
	t.Helper()
	query := url.Values{"status": {status}, "error": {text}}
	resp := e.do(t, http.MethodPut, "/status?"+query.Encode())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
}

// goroutines is how many run in the collector's process, and where.
func (e exporter) goroutines(t *testing.T) (n int, where string) {
	t.Helper()
	resp := e.do(t, http.MethodGet, "/goroutines")
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	total := regexp.MustCompile(`^goroutine profile: total (\d+)`).FindSubmatch(body)
	require.Len(t, total, 2, "%s", body)
	n, err = strconv.Atoi(string(total[1]))
	require.NoError(t, err)
	return n, string(body)
}

func (e exporter) do(t *testing.T, method, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+e.address+path, http.NoBody)
	require.NoError(t, err)
	req.Close = true // an idle connection would be two goroutines in the collector
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}
