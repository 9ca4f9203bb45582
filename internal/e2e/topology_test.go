// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	fleetstate "github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// carriedBy lets a collector tell of a gateway with this many agents behind it, which report as well, and with others
// further away.
func (p *pages) carriedBy(t *testing.T, gateway, agents int, status gatewaystatus.Status, further ...opampwire.InstanceUID) {
	t.Helper()
	report := func(n int, name string, m *protobufs.CustomMessage, healthy bool) {
		uid := plantedfleet.UID(n)
		attribute := func(k, v string) *protobufs.KeyValue {
			return &protobufs.KeyValue{Key: k, Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: v}}}
		}
		reply := p.fleet.Report(fleetstate.Conn{ID: uint64(n), Transport: fleetstate.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(),
			AgentDescription: &protobufs.AgentDescription{
				IdentifyingAttributes:    []*protobufs.KeyValue{attribute("service.name", name)},
				NonIdentifyingAttributes: []*protobufs.KeyValue{attribute("host.name", fmt.Sprint("host-", n))},
			},
			Health:        &protobufs.ComponentHealth{Healthy: healthy, Status: map[bool]string{true: "StatusOK", false: "StatusPermanentError"}[healthy]},
			CustomMessage: m,
		}, time.Now())
		require.Nil(t, reply.GetErrorResponse())
	}
	message := func(kind string, v any) *protobufs.CustomMessage {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		return &protobufs.CustomMessage{Capability: gatewaystatus.Capability, Type: kind, Data: data}
	}
	uids := slices.Clone(further)
	for i := range agents {
		report(gateway+1+i, "otelcol-edge", nil, i%5 != 3)
		uids = append(uids, plantedfleet.UID(gateway+1+i))
	}
	report(gateway, "otelcol-gateway", message(gatewaystatus.TypeStatus, status), true)
	for _, part := range gatewaystatus.List(status.Gateway, 1, uids) {
		report(gateway, "otelcol-gateway", message(gatewaystatus.TypeAgents, part), true)
	}
}

// TestTopologyInABrowser holds the topology, and the page of a collector with a gateway, against axe-core's rules, takes
// pictures of them, and has a gateway's news show without a reload.
func TestTopologyInABrowser(t *testing.T) {
	t.Parallel()
	axe := axeCore(t)
	p, empty := servePages(t), servePages(t)
	status := gatewaystatus.Status{
		Gateway: "opamp_gateway/edge", Updated: time.Now().UnixNano(), Started: time.Now().Add(-time.Hour).UnixNano(),
		Agents: 12, Connections: 12, MessagesUp: 4321, MessagesDown: 4320, BytesUp: 1_200_000, BytesDown: 96_000,
		Upstreams: []gatewaystatus.Upstream{
			{Name: "0", Endpoint: "wss://fleet.example.com:4320/v1/opamp", Connected: true, Agents: 12, QueuedBytes: 1500, AnswerTime: 0.004},
			{Name: "1", Endpoint: "wss://fleet.example.com:4320/v1/opamp"},
		},
		Drops: map[string]uint64{"no_upstream": 3}, Refused: map[string]uint64{"auth": 2},
	}
	var further []opampwire.InstanceUID
	for i := range 4 {
		further = append(further, plantedfleet.UID(400+i))
	}
	status.Name, status.Agents = "edge", 16
	p.carriedBy(t, 300, 12, status, further...)
	second := status
	second.Gateway, second.Upstreams, second.Drops = "opamp_gateway", status.Upstreams[:1], nil
	second.Name, second.Over, second.Agents = "site", []string{"edge"}, 3
	p.carriedBy(t, 400, 3, second)
	b := openBrowser(t)
	for name, url := range map[string]string{
		"topology":           p.url + "/topology",
		"topology-empty":     empty.url + "/topology",
		"behind-a-gateway":   p.url + "/agents?q=gateway:edge",
		"collector-gateways": p.url + "/agents/" + plantedfleet.UID(300).String(),
		"collector-behind":   p.url + "/agents/" + plantedfleet.UID(301).String(),
	} {
		for way, how := range map[string][]action{"": {wide, light}, "-dark": {wide, dark}, "-narrow": {narrow, light}} {
			b.do(t, name+" does not load", append(how, chromedp.Navigate(url))...)
			evaluate[any](t, b, axe+"; null")
			b.until(t, "!document.getAnimations().some((a) => a instanceof CSSTransition)")
			assert.Empty(t, awaited[[]string](t, b, violations), "%s%s", name, way)
			b.assertFits(t)
			b.picture(t, name+way)
		}
	}
	b.do(t, "the topology does not load", wide, light, chromedp.Navigate(p.url+"/topology"))
	b.sees(t, "opamp_gateway/edge", "Partly cut off", "2 Unhealthy", "by way of opamp_gateway/edge")
	b.markAsLoaded(t)
	status.Updated, status.Agents, status.Upstreams[1].Connected = time.Now().UnixNano(), 16, true
	p.carriedBy(t, 300, 12, status, further...)
	b.until(t, `!document.body.innerText.includes("Partly cut off")`)
	b.assertNotReloaded(t)
	b.assertNoComplaints(t)
}
