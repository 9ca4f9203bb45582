// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func edge() gatewaystatus.Status {
	return gatewaystatus.Status{
		Gateway: "opamp_gateway/edge", Updated: uiNow.UnixNano(), Started: uiNow.Add(-2 * time.Hour).UnixNano(),
		Agents: 10, Connections: 9, Polling: 1, MessagesUp: 4321, BytesUp: 1_200_000, MessagesDown: 4320, BytesDown: 96_000,
		Upstreams: []gatewaystatus.Upstream{
			{Name: "0", Endpoint: "ws://server/v1/opamp", Connected: true, Agents: 10, QueuedBytes: 1500, AnswerTime: 0.0042},
			{Name: "1", Endpoint: "ws://server/v1/opamp"},
		},
		Drops: map[string]uint64{"no_upstream": 3, "queue_full": 1200}, Refused: map[string]uint64{"auth": 2}, Duplicates: 1,
	}
}

// carry lets the collector 1 tell of a gateway.
func carry(t *testing.T, f *fleet.Fleet, s gatewaystatus.Status, uids ...opampwire.InstanceUID) {
	t.Helper()
	data, err := json.Marshal(s)
	require.NoError(t, err)
	says(t, f, conn(1), gatewaystatus.Capability, gatewaystatus.TypeStatus, data)
	for _, part := range gatewaystatus.List(s.Gateway, 1, uids) {
		data, err := json.Marshal(part)
		require.NoError(t, err)
		says(t, f, conn(1), gatewaystatus.Capability, gatewaystatus.TypeAgents, data)
	}
}

func TestTopologyWithoutAGateway(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "web", "n1", "StatusOK", ""))
	w := get(u, "/topology")
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	assert.Contains(t, text(w), "Connected collectors 1 Behind gateways 0 Connected directly 1 Gateways 0 No gateway tells of itself here")
	assert.Contains(t, w.Body.String(), `<a href="/topology" aria-current="page">Topology</a>`)
	assert.NotContains(t, text(get(u, agentPath)), "Gateway")
}

func TestTopologyOfAGateway(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "gw", "edge-1", "StatusOK", ""))
	var uids []opampwire.InstanceUID
	for n := byte(2); n < 10; n++ {
		status, problem := "StatusOK", ""
		if n == 5 {
			status, problem = "StatusPermanentError", "refused"
		}
		put(t, f, n, report(n, fmt.Sprint("web-", n), "n"+fmt.Sprint(n), status, problem))
		uids = append(uids, uiUID(n))
	}
	put(t, f, 20, report(20, "lonely", "n20", "StatusOK", ""))
	f.Disconnected(conn(9), uiNow)
	carry(t, f, edge(), append(uids, uiUID(99))...)

	w := get(u, "/topology")
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	page, html := text(w), w.Body.String()
	for _, want := range []string{
		"Connected collectors 9 Behind gateways 7 Connected directly 2 Gateways 1",
		"opamp_gateway/edge on edge-1 Partly cut off · 10 agents · 1 of 2 up",
		"web-5 on n5 Unhealthy · exporter:otlp/2", "web-9 on n9 Lost", "2 connected directly",
		"4 more 1 of them not known to this server",
		"opamp_gateway/edge in gw on edge-1 Partly cut off 10 1 Unhealthy 1 Gone 6 Healthy 1 not known here 1 of 2 1.5 kB 1,203 queue_full 1,200 no_upstream 3",
		"Behind opamp_gateway/edge in gw on edge-1 web-5 n5",
	} {
		assert.Contains(t, page, want)
	}
	assert.Regexp(t, `data-events="/api/v1/events\?since=[^"]+&amp;view=version"`, html)
	assert.Equal(t, 8, strings.Count(html, `<li id="gateway-`), "the list names everybody known")
	assert.Contains(t, html, `role="img" aria-label="The server, 1 gateways and some of the 7 collectors behind them.`)

	w = get(u, agentPath)
	requireSafe(t, w)
	page = text(w)
	assert.Contains(t, page, "Gateway Topology opamp_gateway/edge Partly cut off started 2 h ago Agents that it carries 10 Their WebSockets 9 "+
		"Polling over HTTP 1 Upstream connections 1 of 2 Waits for the server 1.5 kB To the server 4,321 messages, 1.2 MB "+
		"To agents 4,320 messages, 96.0 kB Instance UIDs used twice 1 Named to this server 9")
	assert.Contains(t, page, "0 ws://server/v1/opamp Connected 10 1.5 kB 4.2 ms 1 ws://server/v1/opamp Down 0 0 B –")
	assert.Contains(t, page, "dropped: queue_full 1,200 dropped: no_upstream 3 refused: auth 2 Reported just now")
	assert.Contains(t, w.Body.String(), `<a href="#gateways">Gateway</a>`)

	w = get(u, "/agents/"+uiUID(2).String())
	requireSafe(t, w)
	assert.Contains(t, text(w), "Behind opamp_gateway/edge on edge-1")
	assert.Contains(t, w.Body.String(), `<a href="`+agentPath+`#gateways">`)
	assert.NotContains(t, text(get(u, "/agents/"+uiUID(20).String())), "Behind")

	f.Disconnected(conn(1), uiNow)
	assert.Contains(t, text(get(u, "/topology")), "opamp_gateway/edge in gw on edge-1 Lost 10")
	assert.NotContains(t, text(get(u, "/agents/"+uiUID(2).String())), "Behind")
}

func TestHowAGatewayIs(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "gw", "edge-1", "StatusOK", ""))
	says(t, f, conn(1), gatewaystatus.Capability, gatewaystatus.TypeAgents, []byte(`{"gateway":"g","parts":1}`))
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Not told 0")
	s := edge()
	s.Gateway, s.Upstreams[0].Connected = "g", false
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Cut off 10")
	s.Updated++
	s.Upstreams[1].Idle = true
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Cut off 10")
	s.Updated++
	s.Upstreams[0].Idle = true
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Idle 10")
	assert.Contains(t, text(get(u, agentPath)), "0 ws://server/v1/opamp Idle")
	s.Updated++
	s.Upstreams[0] = gatewaystatus.Upstream{Name: "0", Connected: true}
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Carrying 10")
	s.Updated++
	s.Upstreams = nil
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Carrying 10")
	s.Upstreams = edge().Upstreams
	s.Updated++
	s.Upstreams[0].Connected, s.Upstreams[1].Connected = true, true
	carry(t, f, s)
	assert.Contains(t, text(get(u, "/topology")), "g in gw on edge-1 Carrying 10")
}

func TestHostileGatewaysAreHarmless(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "gw", "edge-1", "StatusOK", ""))
	put(t, f, 2, report(2, "victim", "n2", "StatusOK", ""))
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\u202e\x1b[31m\r"
	s := edge()
	s.Gateway, s.Drops, s.Refused = hostile, map[string]uint64{hostile: 1<<64 - 1, "b": 1<<64 - 1}, map[string]uint64{hostile: 1 << 63}
	s.Agents, s.Started, s.BytesUp = 1<<62, 1<<63-1, 1<<64-1
	s.Upstreams[0].Name, s.Upstreams[0].Endpoint, s.Upstreams[0].QueuedBytes, s.Upstreams[0].AnswerTime = hostile, hostile, 1<<62, 1e300
	carry(t, f, s, uiUID(1), uiUID(2))
	for range 40 {
		s.Upstreams = append(s.Upstreams, s.Upstreams[0])
	}
	carry(t, f, s, uiUID(1), uiUID(2))
	for _, path := range []string{"/topology", agentPath, "/agents/" + uiUID(2).String()} {
		w := get(u, path)
		require.Equal(t, http.StatusOK, w.Code)
		requireSafe(t, w)
		assert.NotContains(t, w.Body.String(), "<script>alert")
		assert.NotContains(t, w.Body.String(), "<img src=x")
	}
	assert.Contains(t, text(get(u, "/topology")), "victim on n2 Healthy", "what it says changes nothing of others")
}

// A gateway that goes over another is drawn behind it, with who is behind it alone.
func TestGatewaysBehindGatewaysAreDrawnSo(t *testing.T) {
	f, u := newTestUI(t)
	tell := func(n byte, s gatewaystatus.Status, uids ...opampwire.InstanceUID) {
		t.Helper()
		for kind, what := range map[string]any{
			gatewaystatus.TypeStatus: s, gatewaystatus.TypeAgents: gatewaystatus.List(s.Gateway, 1, uids)[0],
		} {
			data, err := json.Marshal(what)
			require.NoError(t, err)
			msg := report(n, fmt.Sprint("gw-", n), fmt.Sprint("edge-", n), "StatusOK", "")
			msg.CustomMessage = message(gatewaystatus.Capability, kind, data)
			put(t, f, n, msg)
		}
	}
	for n := byte(3); n < 7; n++ {
		put(t, f, n, report(n, fmt.Sprint("web-", n), "h", "StatusOK", ""))
	}
	tell(1, gatewaystatus.Status{Gateway: "opamp_gateway/hub", Name: "hub", Agents: 5}, uiUID(2), uiUID(3), uiUID(4), uiUID(5), uiUID(6))
	tell(2, gatewaystatus.Status{Gateway: "opamp_gateway/site", Name: "site", Over: []string{"hub"}, Agents: 2}, uiUID(3), uiUID(4))

	w := get(u, "/topology")
	requireSafe(t, w)
	html := w.Body.String()
	size := narrowTree
	hub, site := strings.Index(html, fmt.Sprintf(`translate(%d `, size.gateways)), strings.Index(html, fmt.Sprintf(`translate(%d `, size.gateways+size.column))
	require.Positive(t, hub)
	require.Positive(t, site)
	assert.Equal(t, 2, strings.Count(html, fmt.Sprintf(`translate(%d `, size.gateways+2*size.column)), "the two behind the lower one")
	assert.Equal(t, 3, strings.Count(html, fmt.Sprintf(`translate(%d `, size.gateways+size.column)), "the lower one, and the two behind the upper one alone")
	assert.Contains(t, text(w), "opamp_gateway/site in gw-2 on edge-2 by way of opamp_gateway/hub on edge-1")
	assert.Contains(t, html, `class="deep-1"`)
	assert.Regexp(t, `viewBox="-2 -2 1129 `, html)

	link := regexp.MustCompile(`<a href="([^"]+gateway[^"]+)" title="List them">2</a>`).FindStringSubmatch(html)
	require.Len(t, link, 2)
	list := text(get(u, strings.ReplaceAll(link[1], "&amp;", "&")))
	for n := 3; n < 7; n++ {
		assert.Equal(t, n < 5, strings.Contains(list, fmt.Sprint("web-", n)), n)
	}
}

func TestManyGatewaysAreDrawnInPart(t *testing.T) {
	f, u := newTestUI(t)
	for n := byte(1); n <= branchesDrawn+3; n++ {
		put(t, f, n, report(n, fmt.Sprint("gw-", n), "h", "StatusOK", ""))
		data, err := json.Marshal(edge())
		require.NoError(t, err)
		msg := report(n, fmt.Sprint("gw-", n), "h", "StatusOK", "")
		msg.CustomMessage = message(gatewaystatus.Capability, gatewaystatus.TypeStatus, data)
		put(t, f, n, msg)
	}
	w := get(u, "/topology")
	requireSafe(t, w)
	assert.Contains(t, text(w), "3 more gateways are in the table only.")
	assert.Equal(t, branchesDrawn+3, strings.Count(w.Body.String(), `<tr id="gateway-`))
}

func message(capability, kind string, data []byte) *protobufs.CustomMessage {
	return &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data}
}
