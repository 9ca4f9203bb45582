// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"encoding/json"
	"expvar"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// readStatus is what a person reads: the whole of expvar over HTTP, and in it the page
// of one extension. ok is false while there is none.
func readStatus(t *testing.T, id component.ID) (page statusPage, text string, ok bool) {
	t.Helper()
	w := httptest.NewRecorder()
	expvar.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/expvarz", nil))
	var all struct {
		OpAMP map[string]json.RawMessage `json:"opamp"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
	raw, ok := all.OpAMP[id.String()]
	if ok {
		require.NoError(t, json.Unmarshal(raw, &page))
	}
	return page, string(raw), ok
}

// statusWith waits until the page is as ok wants it.
func statusWith(t *testing.T, id component.ID, ok func(statusPage) bool) (statusPage, string) {
	t.Helper()
	var page statusPage
	var text string
	require.Eventually(t, func() bool {
		var there bool
		page, text, there = readStatus(t, id)
		return there && ok(page)
	}, patience, time.Millisecond)
	return page, text
}

func TestStatusOfAConnection(t *testing.T) {
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				reply.Capabilities = 1<<62 | uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus|protobufs.ServerCapabilities_ServerCapabilities_OffersRemoteConfig)
				reply.Command = &protobufs.ServerToAgentCommand{}
				return reply
			}})
			set := newSettings("status-" + transport)
			began := time.Now()
			e := startExtension(t, configFor(server.URL(transport).String()+"?token=hunter2"), set)
			page, text := statusWith(t, set.ID, func(p statusPage) bool {
				return p.Phase == "connected" && len(p.RefusedOffers) > 0 && len(p.PendingParts) == 0
			})

			require.Regexp(t, `^connected for \d+s$`, page.Summary)
			require.Equal(t, server.URL(transport).String(), page.Endpoint)
			require.Equal(t, map[string]string{"ws": "websocket", "http": "http"}[transport], page.Transport)
			uid, err := opampwire.ParseInstanceUID(page.InstanceUID)
			require.NoError(t, err)
			require.False(t, uid.IsZero())
			require.WithinRange(t, page.ConnectedSince, began.Truncate(time.Second), time.Now())
			require.WithinRange(t, page.LastMessageAt, began.Truncate(time.Second), time.Now())
			require.Zero(t, page.OutageSince)
			require.Zero(t, page.Attempts)
			require.Nil(t, page.LastFailure)
			require.Equal(t, []string{"AcceptsStatus", "OffersRemoteConfig", "0x4000000000000000"}, page.ServerCapabilities)
			require.Equal(t, "command", page.RefusedOffers[0].Offer)
			require.NotZero(t, page.RefusedOffers[0].LastAt)
			require.NotContains(t, text, "hunter2")
			require.NotContains(t, text, "outage_since", "a time that is none is left out")

			require.NoError(t, e.Shutdown(t.Context()))
			_, _, there := readStatus(t, set.ID)
			require.False(t, there, "gone with the extension")
		})
	}
}

func TestStatusOfAnOutageSaysWhy(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}})
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			set := newSettings("outage-" + transport)
			cfg := configFor(server.URL(transport).String())
			cfg.Server.endpoint().Headers = map[string]configopaque.String{"Authorization": "Bearer hunter2"}
			startExtension(t, cfg, set)
			page, text := statusWith(t, set.ID, func(p statusPage) bool {
				return p.Phase == "waiting" && p.Attempts >= 2 && strings.Contains(p.Summary, "next attempt")
			})
			require.Contains(t, page.Summary, "not connected for ")
			require.Contains(t, page.Summary, "unauthorized: server answered 401 Unauthorized; next attempt in ")
			require.Equal(t, "unauthorized", page.LastFailure.Reason)
			require.False(t, page.OutageSince.IsZero())
			require.True(t, page.NextAttemptAt.After(page.LastFailure.At))
			require.Zero(t, page.LastMessageAt)
			require.Contains(t, page.PendingParts, "effective_config", "nothing has been told")
			require.Contains(t, page.PendingParts, "agent_description")
			require.NotContains(t, text, "hunter2")
		})
	}
}

func TestStatusBeforeTheFirstAttempt(t *testing.T) {
	set := newSettings("early")
	e := newTestExtension(t, configFor("ws://127.0.0.1:1"), set)
	_, _, there := readStatus(t, set.ID)
	require.False(t, there, "not before Start")
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
	page, _, there := readStatus(t, set.ID)
	require.True(t, there)
	require.Contains(t, []string{"not_started", "connecting", "waiting"}, page.Phase)
}

// A reload builds the new extension after the old one has gone, but an old one that goes
// late must not take the new one's page along.
func TestStatusOverAReload(t *testing.T) {
	set := newSettings("reload")
	first := startExtension(t, configFor("ws://127.0.0.1:1/first"), set)
	second := startExtension(t, configFor("ws://127.0.0.1:1/second"), set)
	require.NoError(t, first.Shutdown(t.Context()))
	page, _, there := readStatus(t, set.ID)
	require.True(t, there)
	require.Equal(t, "ws://127.0.0.1:1/second", page.Endpoint)
	require.NoError(t, second.Shutdown(t.Context()))
	_, _, there = readStatus(t, set.ID)
	require.False(t, there)
	require.NotNil(t, expvar.Get(statusVariable), "the variable stays for the next one")
}

// Somebody else in the process has the name: its variable stays, nothing panics.
func TestStatusLeavesATakenNameAlone(t *testing.T) {
	statusPages.publish.Do(statusPages.publishVariable)
	taken := expvar.Get(statusVariable)
	var other statusBook
	remove := other.add(component.MustNewID("opamp"), func() statusPage { return statusPage{} })
	require.Equal(t, taken.String(), expvar.Get(statusVariable).String())
	remove()
	remove()
	require.Empty(t, other.pages())
}

func TestStatusOfEachPhase(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	refused := opampclient.Failure{At: now.Add(-time.Second), Reason: "refused", Error: "connect: connection refused"}
	for want, s := range map[string]opampclient.Status{
		"connected for 1h0m0s": {Phase: opampclient.PhaseConnected, ConnectedSince: now.Add(-time.Hour), LastFailure: refused},
		"stopped":              {Phase: opampclient.PhaseStopped, LastFailure: refused},
		"not connected: waits for the collector's configuration before the first attempt": {Phase: opampclient.PhaseNotStarted},
		"not connected for 2s": {Phase: opampclient.PhaseConnecting, OutageSince: now.Add(-2 * time.Second)},
		"not connected for 2s: refused: connect: connection refused; next attempt in 30s": {
			Phase: opampclient.PhaseWaiting, OutageSince: now.Add(-2 * time.Second), LastFailure: refused, NextAttempt: now.Add(30 * time.Second),
		},
		"not connected for 2s: there is a connection, and the server has not answered on it": {
			Phase: opampclient.PhaseOpen, OutageSince: now.Add(-2 * time.Second),
		},
		"not connected for 2s: there is a connection, and the server has not answered on it; before: connect: connection refused": {
			Phase: opampclient.PhaseOpen, OutageSince: now.Add(-2 * time.Second), LastFailure: refused,
		},
	} {
		page := statusOf(s, "ws://h", "websocket", strings.Clone, now)
		require.Equal(t, want, page.Summary)
	}
	hidden := statusOf(opampclient.Status{LastFailure: refused, Phase: opampclient.PhaseWaiting}, "", "", func(string) string { return "****" }, now)
	require.Equal(t, "****", hidden.LastFailure.Error)
	require.NotContains(t, hidden.Summary, "connection refused")
}

func TestSecretsInTheTextOfAFailureAreHidden(t *testing.T) {
	e := newTestExtension(t, configFor("ws://127.0.0.1:1"), newSettings("hide"))
	for _, text := range []string{
		`oauth2: cannot fetch token: 401 Response: {"access_token":"hunter2hunter2"}`,
		"proxyconnect: http://me:hunter2hunter2@proxy:3128 refused",
		"Authorization: Bearer hunter2hunter2",
	} {
		require.NotContains(t, e.redactor.text(text), "hunter2hunter2")
	}
	require.Equal(t, "dial tcp 127.0.0.1:1: connect: connection refused", e.redactor.text("dial tcp 127.0.0.1:1: connect: connection refused"))
}

func TestCapabilityNames(t *testing.T) {
	require.Empty(t, capabilityNames(0))
	require.Len(t, capabilityNames(math.MaxUint64), 64)
	require.Equal(t, []string{"AcceptsStatus"}, capabilityNames(1))
}
