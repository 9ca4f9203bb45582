// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && interop

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Agents of others, as they are released, report to our server, straight and through our gateway, and
// through our gateway to opamp-go's server, as it is released; and so do our agents to that server. All
// are processes of their own.

// shown is what the API tells of an agent of others. What is empty, the agent doesn't have.
type shown struct {
	Service, Version, Host, Team, Condition string

	Part       []string // the path of one part of its health
	PartStatus string
	Config     string    // a piece of its effective config, which has secrets
	Component  [2]string // kind and name
}

// shownAgent is what the API tells of one agent.
type shownAgent struct {
	agent
	Version     string `json:"service_version"`
	Host        string `json:"host_name"`
	Transport   string `json:"transport"`
	Description struct {
		Identifying    map[string]any `json:"identifying"`
		NonIdentifying map[string]any `json:"non_identifying"`
	} `json:"description"`
	Config *struct {
		Files map[string]struct {
			Body string `json:"body"`
		} `json:"files"`
		Masked int `json:"masked"`
	} `json:"effective_config"`
	Components *struct {
		Listed     bool             `json:"listed"`
		Components []shownComponent `json:"components"`
	} `json:"available_components"`
}

type shownComponent struct {
	Name       string           `json:"name"`
	Components []shownComponent `json:"components"`
}

// told says whether all that is wanted of the agent has been told. It is looked at before the rest:
// parts of a report may come one after the other.
func (a *shownAgent) told(want *shown) bool {
	return a.Liveness == "connected" && a.Condition == want.Condition &&
		(want.Config == "" || a.Config != nil) &&
		(want.Part == nil || a.Health != nil && a.Health.part(want.Part...) != nil) &&
		(want.Component == [2]string{} || a.Components != nil && a.Components.Listed)
}

func (a *shownAgent) assert(t *testing.T, want *shown) {
	t.Helper()
	assert.Equal(t, want.Service, a.Service)
	assert.Equal(t, want.Version, a.Version)
	assert.Equal(t, want.Host, a.Host)
	assert.Equal(t, want.Service, a.Description.Identifying["service.name"])
	assert.Equal(t, want.Version, a.Description.Identifying["service.version"])
	assert.Equal(t, want.Host, a.Description.NonIdentifying["host.name"])
	assert.Equal(t, want.Team, a.Description.NonIdentifying["team"])
	if want.Part == nil {
		assert.Nil(t, a.Health, "it has no health")
	} else {
		assert.Equal(t, want.PartStatus, a.Health.part(want.Part...).Status)
		assert.Equal(t, want.PartStatus == "StatusOK", a.FirstProblem == nil)
	}
	if want.Config == "" {
		assert.Nil(t, a.Config, "it has no config")
	} else {
		all := ""
		for _, file := range a.Config.Files {
			all += file.Body
		}
		assert.Contains(t, all, want.Config)
		assert.Contains(t, all, "[REDACTED]")
		assert.NotZero(t, a.Config.Masked, "its secrets are masked")
	}
	if want.Component == [2]string{} {
		assert.Nil(t, a.Components, "it has no components")
		return
	}
	named := func(name string) func(shownComponent) bool {
		return func(c shownComponent) bool { return c.Name == name }
	}
	kind := slices.IndexFunc(a.Components.Components, named(want.Component[0]))
	require.GreaterOrEqual(t, kind, 0, "it has %s", want.Component[0])
	assert.True(t, slices.ContainsFunc(a.Components.Components[kind].Components, named(want.Component[1])), want.Component[1])
}

// withMetrics is a part of a configuration by which a collector's own metrics can be read at p.
func withMetrics(t *testing.T, p movedPorts) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.free(t, ownMetrics))
	require.NoError(t, err)
	return fmt.Sprintf("  telemetry: {metrics: {level: normal, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]}}\n", port)
}

// interopFleet is a server that notices silence soon.
type interopFleet struct {
	*fleet
	movedPorts
}

func startInteropFleet(t *testing.T, silence string) *interopFleet {
	t.Helper()
	f := &interopFleet{fleet: &fleet{agents: freeAddress(t), web: freeAddress(t)}, movedPorts: movedPorts{}}
	f.collector = startCollector(t, distribution(t), serverConfig(fmt.Sprintf(
		"    agents: {endpoint: '%s'}\n    web: {endpoint: '%s'}\n    silent_after: %s", f.agents, f.web, silence))+withMetrics(t, f.movedPorts))
	f.waitReady(t, 1)
	return f
}

// refusals counts what a server or a gateway refused, by reason. A bare acknowledgement that a message
// has overtaken which says more is none.
func refusals(t *testing.T, p movedPorts, metric string) map[string]string {
	t.Helper()
	counts := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^`+metric+`(?:_total)?\{.*reason="(\w+)".*\} ([1-9].*)$`).FindAllStringSubmatch(p.metrics(t), -1) {
		counts[found[1]] = found[2]
	}
	delete(counts, "superseded")
	return counts
}

// interopGateway is a gateway of ours in a process of its own.
type interopGateway struct {
	*collector
	movedPorts
	address string
}

func startInteropGateway(t *testing.T, upstream string) *interopGateway {
	t.Helper()
	g := &interopGateway{movedPorts: movedPorts{}, address: freeAddress(t)}
	g.collector = startCollector(t, distribution(t), fmt.Sprintf(`
extensions:
  opamp_gateway:
    listener: {endpoint: '%s'}
    upstream: {endpoint: 'ws://%s/v1/opamp', connections: {min: 2}}
    timeouts: {grace: 100ms, http_silence: %s}
service:
  extensions: [opamp_gateway]
`, g.address, upstream, foreignSilence)+withMetrics(t, g.movedPorts))
	g.waitReady(t, 1)
	return g
}

// ofTheGone are why the last request of an agent and the server's last answers to it are not forwarded,
// if the agent hangs up in the midst of them.
var ofTheGone = []string{"incomplete", "agent_gone", "unknown_uid"}

// assertNothingLost holds that the gateway forwarded every message and refused nobody, but for reasons.
func (g *interopGateway) assertNothingLost(t *testing.T, but ...string) {
	t.Helper()
	assertNone(t, g.movedPorts, "otelcol_opamp_gateway_drops", but)
	assertNone(t, g.movedPorts, "otelcol_opamp_gateway_refused", but)
}

// assertNone holds that a metric of what was refused is zero, but for reasons.
func assertNone(t *testing.T, p movedPorts, metric string, but []string) {
	t.Helper()
	counts := refusals(t, p, metric)
	for _, reason := range but {
		delete(counts, reason)
	}
	assert.Empty(t, counts, metric)
}

// TestInteropServer has each agent of others come, leave, come again and die.
func TestInteropServer(t *testing.T) {
	t.Parallel()
	for _, through := range []string{"straight", "through a gateway"} {
		for _, peer := range foreigners(t) {
			t.Run(peer.name+" "+through, func(t *testing.T) {
				t.Parallel()
				peer.comeAndGo(t, through != "straight")
			})
		}
	}
}

func (peer *foreign) comeAndGo(t *testing.T, gateway bool) {
	t.Helper()
	silence := foreignSilence.String()
	dead := map[string]string{"ws": "lost", "http": "silent"}[peer.transport]
	leaves, transport := peer.leaves, map[string]string{"ws": "websocket", "http": "http"}[peer.transport]
	if peer.transport == "ws" || gateway {
		silence = "90s" // the default; opamp-go's heartbeats come every 30 s
	}
	f := startInteropFleet(t, silence)
	address := f.agents
	var g *interopGateway
	if gateway {
		g = startInteropGateway(t, f.agents)
		address = g.address
		// A gateway says goodbye for those who leave without a word.
		dead, leaves, transport = "goodbye", "goodbye", "websocket"
	}
	nothingRefused := func(but ...string) {
		assertNone(t, f.movedPorts, "otelcol_opamp_server_rejected", but)
		if gateway {
			g.assertNothingLost(t, but...)
		}
	}
	changes := f.watch(t)
	uid := opampwire.NewInstanceUID()
	c := peer.start(t, peer.transport, address, uid)
	a := f.untilTold(t, uid, &peer.want)
	a.assert(t, &peer.want)
	assert.Equal(t, transport, a.Transport)
	page := get(t, "http://"+f.web+"/agents/"+uid.String())
	for _, text := range []string{peer.want.Service, peer.want.Version, peer.want.Host, uid.String(), peer.want.Config} {
		assert.Contains(t, page, text)
	}
	assert.NotContains(t, page+f.body(t, "/api/v1/agents/"+uid.String())+f.text(), "hush-", "a secret is shown")
	if peer.listens {
		f.tellAndHear(t, uid, c)
	}
	assert.Empty(t, complaints(c))
	nothingRefused()

	c.stop(t)
	changes.until(t, leaves, is(leaves))
	c = peer.start(t, peer.transport, address, uid)
	f.untilTold(t, uid, &peer.want)
	assert.Empty(t, complaints(c))
	nothingRefused(ofTheGone...)

	c.kill()
	assert.Equal(t, uid.String(), changes.until(t, dead, is(dead)).UID)
	assert.Len(t, f.list(t), 1, "it is one agent all the time")
}

func (f *interopFleet) untilTold(t *testing.T, uid opampwire.InstanceUID, want *shown) *shownAgent {
	t.Helper()
	a := new(shownAgent)
	eventually(t, "all is shown", func() bool {
		if !slices.ContainsFunc(f.list(t), func(a agent) bool { return a.UID == uid.String() }) {
			return false
		}
		*a = shownAgent{}
		f.get(t, "/api/v1/agents/"+uid.String(), a)
		return a.told(want)
	})
	return a
}

func (f *interopFleet) body(t *testing.T, path string) string {
	t.Helper()
	return get(t, "http://"+f.web+path)
}

// tellAndHear sends the agent a custom message through the API.
func (f *interopFleet) tellAndHear(t *testing.T, uid opampwire.InstanceUID, c *collector) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.web+"/api/v1/agents/"+uid.String()+"/custom-messages",
		strings.NewReader(`{"capability": "com.example.ping", "type": "ping", "data": "hello"}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Less(t, resp.StatusCode, 300)
	c.waitText(t, "custom hello")
}

// TestInteropGateway has each agent of others report through our gateway to opamp-go's server, which
// dies and comes back, knowing nobody.
func TestInteropGateway(t *testing.T) {
	t.Parallel()
	for _, peer := range foreigners(t) {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			s := startOpAMPGoServer(t, freeAddress(t))
			g := startInteropGateway(t, s.address)
			uid := opampwire.NewInstanceUID()
			described := func(msg *protobufs.AgentToServer) bool { return msg.GetAgentDescription() != nil }
			c := peer.start(t, peer.transport, g.address, uid)
			s.hears(t, uid, "it says who it is", described)
			if peer.want.Component != [2]string{} {
				s.hears(t, uid, "it lists its components", func(msg *protobufs.AgentToServer) bool {
					return len(msg.GetAvailableComponents().GetComponents()) > 0
				})
			}
			if peer.listens {
				for i := range 3 {
					text := fmt.Sprint("push-", i)
					s.push(t, uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{
						Capability: "com.example.ping", Type: "ping", Data: []byte(text),
					}})
					c.waitText(t, "custom "+text)
				}
			}
			assert.Empty(t, complaints(c))
			assert.Zero(t, s.from(t, uid).asked, "its messages arrive in order, and none is lost")
			g.assertNothingLost(t)

			s.kill()
			s = startOpAMPGoServer(t, s.address)
			// Over plain HTTP an agent that polled in between was told to come back in 30 to 60 s.
			s.hearsWithin(t, comingBack, uid, "it says again who it is", described)
			c.stop(t)
			s.hears(t, uid, "somebody says that it has gone", func(msg *protobufs.AgentToServer) bool {
				return msg.GetAgentDisconnect() != nil
			})
			// no_upstream and the like: what was said while there was no server.
			g.assertNothingLost(t, append([]string{"no_upstream", "upstream_lost", "upstream_failed"}, ofTheGone...)...)
		})
	}
}

// TestInteropReferenceServer has our agent report to opamp-go's server as it is released, straight and
// through our gateway.
func TestInteropReferenceServer(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		for _, through := range []string{"straight", "through a gateway"} {
			t.Run(transport+" "+through, func(t *testing.T) {
				t.Parallel()
				s := startOpAMPGoServer(t, freeAddress(t))
				r := s.asReference(t)
				if through != "straight" {
					r.address, r.relayed = startInteropGateway(t, s.address).address, true
				}
				r.assertTold(t, transport)
			})
		}
	}
}

// TestInteropPage looks at all of them at once.
func TestInteropPage(t *testing.T) {
	t.Parallel()
	f := startInteropFleet(t, "90s")
	var names []string
	var uids []opampwire.InstanceUID
	for _, peer := range foreigners(t) {
		uid := opampwire.NewInstanceUID()
		peer.start(t, peer.transport, f.agents, uid)
		f.untilTold(t, uid, &peer.want)
		names, uids = append(names, peer.want.Service), append(uids, uid)
	}
	b := openBrowser(t)
	b.do(t, "the list does not load", wide, light, chromedp.Navigate("http://"+f.web+"/agents"))
	b.sees(t, names...)
	b.picture(t, "interop")
	for n, peer := range foreigners(t) {
		b.do(t, peer.name+" does not load", chromedp.Navigate("http://"+f.web+"/agents/"+uids[n].String()))
		b.sees(t, peer.want.Service, peer.want.Version, peer.want.Host)
		b.assertFits(t)
		b.picture(t, "interop-"+strings.ReplaceAll(peer.name, " ", "-"))
	}
	b.assertNoComplaints(t)
}
