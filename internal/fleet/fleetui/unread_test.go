// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Where more configs came at once than a question reads, the pages that are about them say so until all are read.
func TestPagesSayHowManyConfigsAreUnread(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "gateway", "node-1", "StatusPermanentError", "no route"))
	reportMany(t, f, 4000)
	agent, _ := f.Agent(uiUID(1))
	hash := agent.Config.Hash()
	pages := []string{
		"/", "/agents", "/agents?group_by=family", "/problems", "/configs", "/configs?q=name%3Agateway", "/configs/" + hash,
		"/rollout?of=config&value=" + hash, "/agents/" + uiUID(1).String(),
	}
	const note, stream = "configs are still being read.", "unread=true"
	for _, page := range pages {
		w := get(u, page)
		require.Equal(t, http.StatusOK, w.Code, page)
		requireSafe(t, w)
		assert.Contains(t, text(w), note, page)
		assert.Contains(t, w.Body.String(), stream, page)
	}
	unknown := "/configs/ffffffff"
	w := get(u, unknown)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, text(w), "It is not known yet who runs this config")
	assert.Contains(t, w.Body.String(), stream)
	assert.Equal(t, http.StatusServiceUnavailable, get(u, "/rollout?of=config&value=ffffffff").Code)
	assert.Equal(t, http.StatusNotFound, get(u, "/configs/"+hash[:60]+"ffff").Code, "a whole hash is known, or is none")
	assert.NotContains(t, text(get(u, "/topology")), note)

	readAll(u)
	for _, page := range pages {
		w := get(u, page)
		assert.NotContains(t, text(w), note, page)
		assert.NotContains(t, w.Body.String(), stream, page)
	}
	assert.Equal(t, http.StatusNotFound, get(u, unknown).Code)
}

// reportMany has collectors tell a config of their own each.
func reportMany(t *testing.T, f *fleet.Fleet, many int) {
	t.Helper()
	for n := range many {
		uid := opampwire.InstanceUID{0x01, 0x9b, 14: byte(n >> 8), 15: byte(n)}
		require.Nil(t, f.Report(conn(2), &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), Capabilities: 1,
			AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{kv("service.name", fmt.Sprint("c", n))}},
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: fmt.Appendf(nil, "receivers:\n  otlp/%d:\n", n)}},
			}},
		}, uiNow).GetErrorResponse())
	}
}

func readAll(u *UI) {
	for u.index.Read(64) > 0 { //nolint:revive // it does the work
	}
}

func TestPagesThatOnlyWaitForConfigsSaySo(t *testing.T) {
	f, u := newTestUI(t)
	reportMany(t, f, 1000)
	w := get(u, "/configs?q=name%3Ac0") // whose config is the last to be read
	assert.Contains(t, text(w), "No config to show yet")
	assert.NotContains(t, text(w), "tells its effective config")
}

// A page that lacks configs is not handed out once they are read, though no collector has changed.
func TestAPageThatLacksConfigsIsNotShared(t *testing.T) {
	f, u := newTestUI(t)
	reportMany(t, f, 1000)
	refresh := func() string {
		r := httptest.NewRequest(http.MethodGet, "/configs", http.NoBody)
		r.Header.Set(headerRefresh, "/configs")
		r.Header.Set(headerTold, f.Position().String())
		w := httptest.NewRecorder()
		u.ServeHTTP(w, r)
		return text(w)
	}
	first := text(get(u, "/configs"))
	assert.Contains(t, first, "still being read")
	assert.Equal(t, first, refresh(), "it is made once for all")
	readAll(u)
	assert.NotContains(t, refresh(), "still being read")
}
