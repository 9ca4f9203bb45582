// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	fleetstate "github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetui"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// pages are the pages of a fleet without a network behind it, so that a test says what is true of it.
type pages struct {
	fleet *fleetstate.Fleet
	index *fleetsearch.Index
	url   string
}

func servePages(t *testing.T) *pages {
	t.Helper()
	return serve(t, func(f *fleetstate.Fleet) fleethistory.Log { return fleethistory.InMemory{Fleet: f} })
}

func serve(t *testing.T, play func(f *fleetstate.Fleet) fleethistory.Log) *pages {
	t.Helper()
	f := fleetstate.New(fleetstate.Settings{SilentAfter: plantedfleet.SilentAfter})
	index := fleetsearch.New(f)
	log := play(f)
	api := fleetapi.New(f, fleetapi.Settings{Index: index, History: log})
	mux := http.NewServeMux()
	mux.Handle("/api/", api)
	mux.Handle("/", fleetui.New(f, fleetui.Settings{
		Index: index, History: log, OpAMPEndpoint: "wss://fleet.example.com:4320/v1/opamp", Load: plantedLoad,
	}))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		api.Close()
		server.Close()
	})
	return &pages{fleet: f, index: index, url: server.URL}
}

// servePlanted serves the two hundred collectors.
func servePlanted(t *testing.T) *pages {
	t.Helper()
	return serve(t, func(f *fleetstate.Fleet) fleethistory.Log { return plantedfleet.NewLog(f, time.Now()) })
}

func plantedLoad() fleetui.Load {
	return fleetui.Load{
		Version: "0.1.0", Started: time.Now().Add(-50 * time.Hour),
		Connections: 171, MaxConnections: 200, MaxAgents: 20_000, MaxAgentsPerConnection: 100,
		MaxMessageSize: 8 << 20, MaxMemory: 512 << 20, SilentAfter: plantedfleet.SilentAfter, Streams: 3, MaxStreams: 256,
		Traffic: []fleetui.Traffic{
			{Transport: "WebSocket", Way: "received", Messages: 84_213, Bytes: 9_120_331},
			{Transport: "WebSocket", Way: "sent", Messages: 84_199, Bytes: 2_020_776},
			{Transport: "HTTP", Way: "received", Messages: 4_120, Bytes: 611_000},
			{Transport: "HTTP", Way: "sent", Messages: 4_120, Bytes: 98_880},
		},
		Rejected: map[string]int64{"message_too_big": 2, "bad_instance_uid": 1},
		Database: fleetui.Database{
			Path: "/var/lib/otelcol/fleetview.db", Bytes: 31 << 20, Limit: 1 << 30, Since: time.Now().Add(-3 * time.Minute),
			Problem: "no room left: database or disk is full (13): make room on the disk, or raise database.max_size, or shorten database.retention",
		},
	}
}

// kindOfPage is one page of each kind, at its address.
type kindOfPage struct{ name, path string }

// all lists a page of each kind, and of each state that a page can be in.
func (p *pages) all(t *testing.T) []kindOfPage {
	t.Helper()
	return []kindOfPage{
		{"overview", "/"},
		{"collectors", "/agents"},
		{"collectors-found", "/agents?q=status%3Afailing+version%3A" + plantedfleet.NewVersion + "&cols=fails,version,config,attr.k8s.cluster.name"},
		{"collectors-grouped", "/agents?group_by=attr.k8s.cluster.name"},
		{"collectors-nobody", "/agents?q=nobody-is-called-so"},
		{"collector-failing", "/agents/" + plantedfleet.UID(5).String()},
		{"collector-table", "/agents/" + plantedfleet.UID(5).String() + "?pipelines=table"},
		{"collector-gateway", "/agents/" + plantedfleet.UID(151).String()},
		{"collector-gone", "/agents/" + plantedfleet.UID(31).String()},
		{"collector-bare", "/agents/" + plantedfleet.UID(200).String()},
		{"problems", "/problems"},
		{"configs", "/configs"},
		{"config", p.link(t, "/configs", `/configs/[0-9a-f]{64}`)},
		{"diff", p.link(t, "/configs", `/configs/[0-9a-f]{64}/diff\?to=[0-9a-f]{64}`)},
		{"collector-changed", "/agents/" + plantedfleet.UID(plantedfleet.Misconfigured).String()},
		{"config-past", p.link(t, "/agents/"+plantedfleet.UID(plantedfleet.Misconfigured).String(), `/configs/[0-9a-f]{64}/diff\?to=[0-9a-f]{64}`)},
		{"rollout", "/rollout"},
		{"rollout-narrowed", "/rollout?q=name%3Aedge-agent&for=1h"},
		{"rollout-config", strings.ReplaceAll(p.link(t, "/configs", `/rollout\?of=config&(amp;)?value=[0-9a-f]{32}`), "&amp;", "&")},
		{"rollout-nobody", "/rollout?q=name%3Anobody"},
		{"events", "/events"},
		{"events-kind", "/events?kind=lost,silent"},
		{"server", "/server"},
	}
}

// link is the first address in a page that looks like this.
func (p *pages) link(t *testing.T, page, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(`href="(` + pattern + `)"`).FindStringSubmatch(get(t, p.url+page))
	require.NotNil(t, found, "%s leads to no %s", page, pattern)
	return found[1]
}

// TestPicturesOfAllPages takes pictures of every page, empty and full, light, dark and narrow, and holds that none of
// them has to be scrolled sideways.
func TestPicturesOfAllPages(t *testing.T) {
	t.Parallel()
	p := servePlanted(t)
	b := openBrowser(t)
	look := func(name, url string) {
		for _, way := range []struct {
			name string
			how  []action
		}{
			{"", []action{wide, light}},
			{"-dark", []action{wide, dark}},
			{"-narrow", []action{narrow, light}},
		} {
			b.do(t, name+" does not load", append(slices.Clone(way.how), chromedp.Navigate(url))...)
			b.assertFits(t)
			b.picture(t, name+way.name)
		}
	}
	for _, page := range p.all(t) {
		look(page.name, p.url+page.path)
	}
	empty := servePages(t)
	for _, path := range []string{"/", "/agents", "/problems", "/configs", "/events", "/server"} {
		name := "overview"
		if path != "/" {
			name = path[1:]
		}
		look("empty-"+name, empty.url+path)
	}
	b.assertNoComplaints(t)
	look("collectors-wrong", p.url+"/agents?q=staus%3Afailing") // of which the browser complains, and rightly
	look("missing", p.url+"/agents/"+plantedfleet.UID(999).String())
}

// get is the body that an address answers with.
func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url) //nolint:gosec,noctx // an address of the test
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(body)
}
