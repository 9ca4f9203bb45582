// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// newRememberingUI is newPlantedUI with a history that goes back.
func newRememberingUI(t *testing.T) *UI {
	t.Helper()
	f := fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter})
	u := New(f, Settings{History: plantedfleet.NewLog(f, uiNow)})
	u.now = func() time.Time { return uiNow }
	return u
}

func TestARolloutIsTwoClicksAway(t *testing.T) {
	u := newRememberingUI(t)
	_, html := shown(t, u, "/")
	assert.Contains(t, html, `href="/rollout"`)
	page, html := shown(t, u, "/rollout")
	for _, want := range []string{
		"Roll-out Version 0.155.0", "Have it 173 of 199 86 %", "Don't have it yet 26",
		"Went wrong since they have it", "exporter:otlphttp", "got it 50 min ago", "has 0.149.0", "has 0.131.0", "and 6 more",
		"Others 0.131.0 3 0.149.0 23", "1 hour 6 hours 7 days 30 days",
	} {
		assert.Contains(t, strings.ReplaceAll(page, "&#39;", "'"), want)
	}
	assert.Contains(t, html, `href="/agents?q=-version%3A0.155.0+version%3A%2A"`)
	assert.Contains(t, html, `data-events="/api/v1/events`)
	assert.Equal(t, 25, strings.Count(html, `<tr><th scope="row"><time`), "the table has every step")
	missing, _ := shown(t, u, "/agents?q=-version%3A0.155.0+version%3A%2A")
	assert.Contains(t, missing, "26 shown")

	// The facet leads there with the query that it is a facet of.
	_, html = shown(t, u, "/agents?q=name%3Aedge-agent")
	assert.Contains(t, html, `href="/rollout?q=name%3Aedge-agent"`)
	page, _ = shown(t, u, "/rollout?q=name%3Aedge-agent&for=1h&value="+plantedfleet.OldVersion)
	assert.Contains(t, page, "Roll-out Version 0.149.0")
	assert.Contains(t, page, "Have it 23 of 140 16 %")

	// Every variant has its own.
	_, html = shown(t, u, "/configs")
	link := regexp.MustCompile(`href="(/rollout\?of=config&value=[0-9a-f]{32})"`).FindStringSubmatch(html)
	require.NotNil(t, link)
	page, html = shown(t, u, link[1])
	assert.Contains(t, page, "Have it 133 of 140 95 %")
	assert.Contains(t, page, "Family filelog, hostmetrics, otlp → otlphttp")
	assert.Contains(t, html, `<a href="/configs/`)
	assert.Contains(t, html, `aria-current="page">Configs</a>`)
}

func TestARolloutOfNothing(t *testing.T) {
	u := newRememberingUI(t)
	page, _ := shown(t, u, "/rollout?q=name%3Anobody")
	assert.Contains(t, page, "Nobody is to get it No collector that the query finds tells its version.")
	_, empty := newTestUI(t)
	page, _ = shown(t, empty, "/rollout")
	assert.Contains(t, page, "No collector tells its version.")
	page, _ = shown(t, empty, "/rollout?of=config")
	assert.Contains(t, page, "No collector tells its config.")
	for target, status := range map[string]int{
		"/rollout?of=colour": http.StatusBadRequest, "/rollout?for=1y": http.StatusBadRequest,
		"/rollout?q=staus%3Ax": http.StatusBadRequest, "/rollout?of=config&value=ffffffff": http.StatusNotFound,
	} {
		w := get(u, target)
		assert.Equal(t, status, w.Code, target)
		requireSafe(t, w)
	}
	broken := New(u.fleet, Settings{History: brokenHistory{}})
	assert.Equal(t, http.StatusServiceUnavailable, get(broken, "/rollout").Code)
	assert.Equal(t, http.StatusOK, get(broken, "/agents/"+plantedfleet.UID(plantedfleet.Misconfigured).String()).Code)
}

func TestAConfigIsComparedWithThoseBefore(t *testing.T) {
	u := newRememberingUI(t)
	page, html := shown(t, u, "/agents/"+plantedfleet.UID(plantedfleet.Misconfigured).String())
	assert.Contains(t, page, "What changed just before Recoverable error pipeline:")
	assert.Contains(t, page, "Config 2 min before")
	assert.Contains(t, page, "Compare with earlier")
	diff := regexp.MustCompile(`href="(/configs/[0-9a-f]{64}/diff\?to=[0-9a-f]{64})">Diff to previous<`).FindStringSubmatch(html)
	require.NotNil(t, diff)
	page, html = shown(t, u, diff[1])
	assert.Contains(t, page, "endpoint: "+plantedfleet.OldEndpoint)
	assert.Contains(t, html, "<ins>    endpoint: https://otlp.example.com</ins>")

	// The form gives the earlier one, and the page leads from it to this one.
	from, to, _ := strings.Cut(strings.TrimPrefix(diff[1], "/configs/"), "/diff?to=")
	same, _ := shown(t, u, "/configs/"+to+"/diff?"+url.Values{"from": {from}}.Encode())
	assert.Equal(t, page, same)
	old, _ := shown(t, u, "/configs/"+from)
	assert.Contains(t, old, "Nobody any more.")
	assert.Contains(t, old, plantedfleet.OldEndpoint)

	// The timeline and the log lead there, too.
	_, html = shown(t, u, "/events?kind=config")
	assert.Contains(t, html, `href="`+diff[1]+`"`)

	page, _ = shown(t, u, "/agents/"+plantedfleet.UID(152-1).String())
	assert.Contains(t, page, "What changed just before")
	assert.Contains(t, page, "neither its config, nor its version, nor its components changed")
	page, _ = shown(t, u, "/agents/"+plantedfleet.UID(1).String())
	assert.NotContains(t, page, "What changed just before")
	assert.NotContains(t, page, "Diff to previous")
}
