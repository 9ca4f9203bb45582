// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/extension/opampgatewayextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// patience is how long a test waits for what must come. It is no measure of anything.
const patience = time.Minute

// hostOf is a host with extensions.
type hostOf map[component.ID]component.Component

func (h hostOf) GetExtensions() map[component.ID]component.Component { return h }

// onThisHost puts files that are there in the place of an example's.
func onThisHost(t *testing.T, cfg *Config) *Config {
	t.Helper()
	authority := opamptest.NewAuthority(t)
	identity := authority.Issue(t, 2, "127.0.0.1")
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	ca := write("ca.pem", authority.PEM())
	if cfg.Listener.TLS.HasValue() {
		settings := cfg.Listener.TLS.Get()
		settings.CertFile, settings.KeyFile = write("cert.pem", identity.CertPEM), write("key.pem", identity.KeyPEM)
		if settings.ClientCAFile != "" {
			settings.ClientCAFile = ca
		}
	}
	if cfg.Upstream.TLS.CAFile != "" {
		cfg.Upstream.TLS.CAFile = ca
	}
	return cfg
}

// start starts a gateway of text in front of server, on a free port.
func start(t *testing.T, server *opamptest.Server, text string, set extension.Settings, host component.Host) *gatewayExtension {
	t.Helper()
	cfg := parse(t, text)
	cfg.Listener.NetAddr.Endpoint = "127.0.0.1:0"
	if cfg.Upstream.Endpoint == "ws://127.0.0.1:1/v1/opamp" {
		cfg.Upstream.Endpoint = server.URL("ws").String()
	}
	cfg.Timeouts.Drain = time.Millisecond
	require.NoError(t, cfg.Validate())
	e := newExtension(cfg, set)
	require.NoError(t, e.Start(context.Background(), host))
	t.Cleanup(func() { require.NoError(t, e.Shutdown(context.Background())) })
	e.waitConnected(t)
	return e
}

func (e *gatewayExtension) waitConnected(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, u := range e.gateway.Stats().Upstreams {
			if u.Connected {
				return true
			}
		}
		return e.config.Upstream.overHTTP()
	}, patience, time.Millisecond)
}

func nopSettings() extension.Settings { return extensiontest.NewNopSettings(metadata.Type) }

// agent is an OpAMP agent over WebSocket.
type agent struct {
	t   *testing.T
	ws  *websocket.Conn
	uid opampwire.InstanceUID
	seq uint64
}

func (e *gatewayExtension) dial(path string, options *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	scheme := "ws"
	if e.config.Listener.TLS.HasValue() {
		scheme = "wss"
	}
	return websocket.Dial(ctx, scheme+"://"+e.front.Addr().String()+path, options)
}

func (e *gatewayExtension) connect(t *testing.T, options *websocket.DialOptions) *agent {
	t.Helper()
	ws, _, err := e.dial("/v1/opamp", options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &agent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}
}

func (a *agent) beat() {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.seq++
	require.NoError(a.t, a.ws.Write(ctx, websocket.MessageBinary, opampwire.AppendHeartbeat(nil, a.uid, a.seq)))
	_, payload, err := a.ws.Read(ctx)
	require.NoError(a.t, err)
	reply := new(protobufs.ServerToAgent)
	require.NoError(a.t, opampwire.ParseFrame(payload, reply))
	require.Equal(a.t, a.uid.Bytes(), reply.GetInstanceUid())
}

func TestCarriesAgents(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	tel := componenttest.NewTelemetry()
	set := nopSettings()
	set.TelemetrySettings = tel.NewTelemetrySettings()
	e := start(t, server, "upstream: {headers: {X-Tenant: 'a, b'}}", set, componenttest.NewNopHost())
	a, b := e.connect(t, nil), e.connect(t, nil)
	for range 3 {
		a.beat()
		b.beat()
	}
	heard := server.Next(t)
	assert.Equal(t, []string{"a, b"}, heard.Header.Values("X-Tenant"), "one value with a comma")
	assert.Contains(t, heard.Header.Get("User-Agent"), "otelcol")
	total, _, _ := server.Connections()
	assert.Equal(t, 1, total)

	_, resp, err := e.dial("/elsewhere", nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)

	metric := func(name string) metricdata.Aggregation {
		got, err := tel.GetMetric(name)
		require.NoError(t, err, name)
		return got.Data
	}
	assert.Equal(t, int64(2), metric("otelcol_opamp_gateway_agents").(metricdata.Sum[int64]).DataPoints[0].Value)
	latency := metric("otelcol_opamp_gateway_latency").(metricdata.Histogram[float64])
	require.Len(t, latency.DataPoints, 2, "up and down")
	assert.InDelta(t, 0.000005, latency.DataPoints[0].Bounds[0], 1e-9)
	for _, name := range []string{
		"agents_announced", "agents_moved", "agents_renamed", "agents_returned", "agents_unannounced", "answer_time", "connections", "connects",
		"destinations", "drops", "duplicates", "goodbyes", "message_bytes", "messages", "polling", "queued", "refused",
		"server_errors", "unanswered", "upstream_agents", "upstreams",
	} {
		metric("otelcol_opamp_gateway_" + name)
	}
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestTLSBothSides(t *testing.T) {
	authority := opamptest.NewAuthority(t)
	identity := authority.Issue(t, 2, "127.0.0.1")
	dir := t.TempDir()
	for name, content := range map[string][]byte{"ca": authority.PEM(), "cert": identity.CertPEM, "key": identity.KeyPEM} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{identity.TLS}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	server := opamptest.Serve(t, ln, opamptest.Script{})
	e := start(t, server, fmt.Sprintf(`
listener: {tls: {cert_file: %[1]s/cert, key_file: %[1]s/key}}
upstream: {endpoint: "%[2]s", tls: {ca_file: %[1]s/ca}}`, dir, server.URL("wss")), nopSettings(), componenttest.NewNopHost())
	trust := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}}
	defer trust.CloseIdleConnections()
	e.connect(t, &websocket.DialOptions{HTTPClient: &http.Client{Transport: trust}}).beat()
}

// passwordAuth lets in whoever says open sesame.
type passwordAuth struct {
	component.StartFunc
	component.ShutdownFunc
}

func (passwordAuth) Authenticate(ctx context.Context, headers map[string][]string) (context.Context, error) {
	if len(headers["Authorization"]) == 1 && headers["Authorization"][0] == "open sesame" {
		return ctx, nil
	}
	return ctx, errors.New("the word is open sesame")
}

func TestListenerAuthenticates(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	id := component.MustNewID("password")
	e := start(t, server, "listener: {auth: {authenticator: password}}", nopSettings(), hostOf{id: passwordAuth{}})
	assert.Equal(t, []component.ID{id}, e.Dependencies())
	_, resp, err := e.dial("/v1/opamp", nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	e.connect(t, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"open sesame"}}}).beat()
}

// The gateway's own credentials must not vouch for an agent without any.
func TestServerAuthenticatesWithoutTheGatewaysCredentials(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("Authorization"); got != "Bearer gateway" && got != "Bearer agent" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}})
	e := start(t, server, "{upstream: {headers: {Authorization: Bearer gateway}}, agent_auth: {mode: upstream}}", nopSettings(), componenttest.NewNopHost())
	_, resp, err := e.dial("/v1/opamp", nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	e.connect(t, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer agent"}}}).beat()
}

// registry is an opamp extension as far as the gateway knows one.
type registry struct {
	component.StartFunc
	component.ShutdownFunc
	sent chan *protobufs.CustomMessage
	mu   sync.Mutex
	busy int           // times that it is pending first
	away chan struct{} // closed when the server has what was sent; nil: it has it at once
	gone bool
}

func (r *registry) Register(capability string, _ ...opampcustommessages.CustomCapabilityRegisterOption) (opampcustommessages.CustomCapabilityHandler, error) {
	if capability != gatewaystatus.Capability {
		return nil, errors.New("unexpected capability")
	}
	return r, nil
}

func (r *registry) Message() <-chan *protobufs.CustomMessage { return nil }

func (r *registry) SendMessage(kind string, data []byte) (chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := make(chan struct{})
	close(done)
	if r.busy > 0 {
		r.busy--
		return done, types.ErrCustomMessagePending
	}
	r.sent <- &protobufs.CustomMessage{Type: kind, Data: data}
	if r.away != nil {
		return r.away, nil
	}
	return done, nil
}

func (r *registry) Unregister() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
}

// The service panics at an extension that depends on itself.
func TestWhoNamesItselfIsToldSo(t *testing.T) {
	set := nopSettings()
	for key, text := range map[string]string{
		"report.extension": fmt.Sprintf("report: {extension: %s}", set.ID),
		"upstream":         fmt.Sprintf("upstream: {auth: %s}", set.ID),
		"listener":         fmt.Sprintf("listener: {auth: {authenticator: %s}}", set.ID),
	} {
		cfg := parse(t, text)
		cfg.Listener.NetAddr.Endpoint = "127.0.0.1:0"
		e := newExtension(cfg, set)
		assert.Empty(t, e.Dependencies(), key)
		require.ErrorContains(t, e.Start(context.Background(), hostOf{set.ID: e}), key)
	}
}

func TestReportsItself(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	r := &registry{sent: make(chan *protobufs.CustomMessage, 1000), busy: 1}
	id := component.MustNewID("opamp")
	e := start(t, server, "report: {extension: opamp, interval: 1s}", nopSettings(), hostOf{id: r})
	assert.Equal(t, []component.ID{id}, e.Dependencies())
	a := e.connect(t, nil)
	a.beat()
	deadline := time.After(patience)
	status := new(gatewaystatus.Status)
	for listed := false; !listed || status.Agents == 0; { // a status is of a moment before the list that follows it
		select {
		case msg := <-r.sent:
			switch msg.GetType() {
			case gatewaystatus.TypeStatus:
				var err error
				status, err = gatewaystatus.ParseStatus(msg.GetData())
				require.NoError(t, err)
			case gatewaystatus.TypeAgents:
				agents, err := gatewaystatus.ParseAgents(msg.GetData())
				require.NoError(t, err)
				agents.Each(func(uid opampwire.InstanceUID) bool { listed = listed || uid == a.uid; return true })
			}
		case <-deadline:
			require.Fail(t, "the agent is not listed and counted")
		}
	}
	assert.Equal(t, 1, status.Agents)
	assert.Equal(t, "opamp_gateway", status.Gateway[:13])
	require.Len(t, status.Upstreams, 1)
	assert.True(t, status.Upstreams[0].Connected)
	text, err := json.Marshal(status)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "Authorization")
	require.NoError(t, e.Shutdown(context.Background()))
	assert.True(t, r.gone)
}

// A server that was restarted, or had to forget who is behind the gateway, is told again.
func TestTheAgentsAreToldAgain(t *testing.T) {
	e := start(t, opamptest.NewServer(t, opamptest.Script{}), "", nopSettings(), hostOf{})
	to := &registry{sent: make(chan *protobufs.CustomMessage, 1000)}
	r := &reporter{name: "opamp_gateway", interval: time.Minute, gateway: e.gateway, log: zap.NewNop(), handler: to}
	_, r.told = e.gateway.Agents()
	for range 2 * relistEvery {
		require.NoError(t, r.tell(context.Background()))
	}
	close(to.sent)
	kinds := map[string]int{}
	for m := range to.sent {
		kinds[m.GetType()]++
	}
	assert.Equal(t, map[string]int{gatewaystatus.TypeStatus: 2 * relistEvery, gatewaystatus.TypeAgents: 2}, kinds)
}

// While the server is away one report waits for it, not one for each interval. When the gateway stops it
// is taken back: nobody misses it.
func TestOneReportWaitsForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		carrier, err := gateway.New(gateway.Settings{Endpoints: []gateway.Endpoint{{URL: &url.URL{Scheme: "ws", Host: "server"}}}})
		require.NoError(t, err)
		to := &withdrawing{registry: registry{sent: make(chan *protobufs.CustomMessage, 1000), away: make(chan struct{})}}
		r := &reporter{name: "opamp_gateway", interval: time.Minute, gateway: carrier, log: zap.NewNop(), handler: to}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		statuses := func() (n int) {
			for range len(to.sent) {
				if m := <-to.sent; m.GetType() == gatewaystatus.TypeStatus {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Hour)
		require.Equal(t, 1, statuses(), "one waits")
		close(to.away)
		synctest.Wait()
		require.Equal(t, 1, statuses(), "what is true by then follows at once")
		time.Sleep(time.Hour + time.Second)
		require.Equal(t, 60, statuses(), "and then one each interval")
		cancel()
		running.Wait()
		require.True(t, to.withdrawn)
		require.False(t, to.gone)
	})
}

// withdrawing is a registry that takes messages back, as the opamp extension's does.
type withdrawing struct {
	registry
	withdrawn bool
}

func (w *withdrawing) Withdraw() { w.withdrawn = true }

// As soon as the gateway has connected again, too: the server may be another.
func TestARestartedServerIsToldAtOnce(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	r := &registry{sent: make(chan *protobufs.CustomMessage, 1000)}
	e := start(t, server, "report: {extension: opamp, interval: 1h}", nopSettings(), hostOf{component.MustNewID("opamp"): r})
	e.connect(t, nil).beat() // for nobody no connection is made again
	toldConnected := func() {
		t.Helper()
		deadline := time.After(patience)
		for connected := false; ; {
			select {
			case msg := <-r.sent:
				if msg.GetType() == gatewaystatus.TypeStatus {
					status, err := gatewaystatus.ParseStatus(msg.GetData())
					require.NoError(t, err)
					connected = status.Upstreams[0].Connected
					continue
				}
				if connected {
					return
				}
			case <-deadline:
				require.Fail(t, "it is not told")
			}
		}
	}
	// The first report and that of the first connection may be one or two. A third is of another connection.
	toldConnected()
	for range 2 {
		server.HangUp()
		toldConnected()
	}
}

func TestStartUndoesItself(t *testing.T) {
	id := component.MustNewID("opamp")
	for name, tt := range map[string]struct{ text, want string }{
		"no authenticator": {"upstream: {auth: nobody}", `could not find auth extension "nobody"`},
		"no extension":     {"report: {extension: nobody}", `report.extension: there is no extension "nobody"`},
		"no registry":      {"report: {extension: opamp}", "takes no custom messages"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parse(t, tt.text)
			cfg.Listener.NetAddr.Endpoint = "127.0.0.1:0"
			e := newExtension(cfg, nopSettings())
			require.ErrorContains(t, e.Start(context.Background(), hostOf{id: passwordAuth{}}), tt.want)
			require.NoError(t, e.Shutdown(context.Background()))
		})
	}
}
