// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func TestReportsOverBothTransportsReachTheAPI(t *testing.T) {
	s := start(t, "", nopHost)
	a := connect(t, s)
	a.say(described("over-websocket"))

	uid := opampwire.NewInstanceUID()
	msg := described("over-http")
	msg.InstanceUid = uid.Bytes()
	data, err := proto.Marshal(msg)
	require.NoError(t, err)
	resp, err := http.Post("http://"+s.agents.Addr().String()+"/v1/opamp", "application/x-protobuf", bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	list := body(t, get(t, s.webURL()+"/api/v1/agents"))
	assert.Contains(t, list, "over-websocket")
	assert.Contains(t, list, "over-http")
	assert.Contains(t, list, a.uid.String())
	assert.Contains(t, list, uid.String())
}

func TestAnAgentThatIsCutOffIsLostAndOneThatSaysGoodbyeIsNot(t *testing.T) {
	s := start(t, "", nopHost)
	lost, polite := connect(t, s), connect(t, s)
	lost.say(described("lost"))
	polite.say(described("polite"))
	polite.say(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
	watcher := s.fleet.Watch()
	defer watcher.Close()
	require.NoError(t, lost.ws.CloseNow())
	for liveness(t, s, lost.uid) != fleet.LivenessLost {
		<-watcher.C
	}
	assert.Equal(t, fleet.LivenessGoodbye, liveness(t, s, polite.uid))
}

func liveness(t *testing.T, s *server, uid opampwire.InstanceUID) fleet.Liveness {
	t.Helper()
	a, known := s.fleet.Agent(uid)
	require.True(t, known)
	return a.Liveness
}

func TestSilenceIsNoticed(t *testing.T) {
	s := start(t, "silent_after: 1s", nopHost)
	watcher := s.fleet.Watch()
	defer watcher.Close()
	a := connect(t, s)
	msg := described("quiet")
	msg.Capabilities |= uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat) // and then sends none
	a.say(msg)
	for liveness(t, s, a.uid) != fleet.LivenessSilent {
		<-watcher.C
	}
}

func TestMemoryLimitReachesTheFleet(t *testing.T) {
	s := start(t, fmt.Sprintf("limits: {max_memory: %d}", leastMemory), nopHost)
	a := connect(t, s)
	msg := described("kept in brief")
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: bytes.Repeat([]byte("- 1\n"), leastMemory/4)}},
	}}
	a.say(msg)
	known, _ := s.fleet.Agent(a.uid)
	assert.Nil(t, known.Config)
	assert.Equal(t, fleet.PartConfig, known.Dropped)
}

func TestLimitsReachTheRooms(t *testing.T) {
	s := start(t, "limits: {max_connections: 1, max_agents_per_connection: 1, max_message_size: 1024}", nopHost)
	a := connect(t, s)
	a.say(described("first"))
	_, resp, err := dial(s, nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.NotEmpty(t, resp.Header.Get("Retry-After"))
	a.uid = opampwire.NewInstanceUID()
	assert.NotNil(t, a.say(described("second")).GetErrorResponse())
	resp, err = http.Post("http://"+s.agents.Addr().String()+"/v1/opamp", "application/x-protobuf", bytes.NewReader(make([]byte, 1025)))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
}

// A limit above confighttp's default of 20 MiB must hold, for plain and zipped alike.
func TestMessagesLargerThanTheDefaultOfConfighttpPass(t *testing.T) {
	s := start(t, "", nopHost)
	msg := described("large")
	msg.InstanceUid = opampwire.NewInstanceUID().Bytes()
	msg.CustomMessage = &protobufs.CustomMessage{Data: make([]byte, 21<<20)}
	data, err := proto.Marshal(msg)
	require.NoError(t, err)
	resp, err := http.Post("http://"+s.agents.Addr().String()+"/v1/opamp", "application/x-protobuf", bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
}

func TestOtherPathsAreNotFound(t *testing.T) {
	s := start(t, "agents: {path: /agents}", nopHost)
	base := "http://" + s.agents.Addr().String()
	assert.Equal(t, http.StatusNotFound, get(t, base+"/v1/opamp").StatusCode)
	assert.Equal(t, http.StatusNotFound, get(t, base+"/agents/").StatusCode)
	assert.Equal(t, http.StatusUpgradeRequired, get(t, base+"/agents").StatusCode)
	assert.Equal(t, int64(2), s.opamp.Stats().Rejected[opampserver.ReasonPath])
	connect(t, s).say(described("here"))
}

func TestAPortThatIsTakenFailsStartByItsKeyAndUndoesIt(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	for _, key := range []string{"agents", "web"} {
		s := newServer(configOf(t, fmt.Sprintf("%s: {endpoint: '%s'}", key, taken.Addr())), nopSettings())
		err := s.Start(context.Background(), nopHost)
		require.ErrorContains(t, err, key+".endpoint: cannot listen on "+taken.Addr().String())
		require.NoError(t, s.Shutdown(context.Background()))
	}
}

func TestAuthenticatorThatIsNotThereFailsStartByItsKey(t *testing.T) {
	s := newServer(configOf(t, "web: {auth: {authenticator: basicauth}}"), nopSettings())
	require.ErrorContains(t, s.Start(context.Background(), hostOf{}), `web: failed to resolve authenticator "basicauth"`)
}

func TestShutdownWithoutStartAndTwice(t *testing.T) {
	s := newServer(configOf(t, ""), nopSettings())
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, s.Start(context.Background(), nopHost))
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, s.Shutdown(context.Background()))
}

// Agents that sit there, one that hangs in the middle of everything, and people who
// watch: nobody holds Shutdown, and agents are told.
func TestShutdownWithPeersOfEveryKind(t *testing.T) {
	s := newServer(configOf(t, ""), nopSettings())
	require.NoError(t, s.Start(context.Background(), nopHost))
	told := connect(t, s)
	told.say(described("told"))
	stream := get(t, s.webURL()+"/api/v1/events")
	events := bufio.NewScanner(stream.Body)
	require.True(t, events.Scan(), "the stream is open")
	for _, raw := range []string{
		"", // not a byte
		"GET /v1/opamp HTTP/1.1\r\nHo",
		"POST /v1/opamp HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n\r\nx",
	} {
		nc, err := net.Dial("tcp", s.agents.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		_, err = nc.Write([]byte(raw))
		require.NoError(t, err)
	}
	addr := s.agentsURL()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := told.ws.Read(ctx)
	assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	for events.Scan() {
	}
	require.NoError(t, <-done)
	_, _, err = websocket.Dial(ctx, addr, nil)
	require.Error(t, err, "nobody listens any more")
}

func TestAuthenticatorStandsBeforeBothListeners(t *testing.T) {
	basic, other := component.MustNewID("basicauth"), component.MustNewID("oidc")
	host := hostOf{basic: passwordAuth{}, other: passwordAuth{}}
	s := start(t, "{agents: {auth: {authenticator: oidc}}, web: {auth: {authenticator: basicauth}}}", host)

	_, resp, err := dial(s, nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Equal(t, `Bearer realm="Fleetview"`, resp.Header.Get("WWW-Authenticate"))
	resp, err = http.Post("http://"+s.agents.Addr().String()+"/v1/opamp", "application/x-protobuf", strings.NewReader("x"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.NotContains(t, body(t, resp), "sesame", "what the authenticator says is not for the peer")
	assert.Equal(t, int64(2), s.opamp.Stats().Rejected[opampserver.ReasonUnauthorized])
	assert.Empty(t, agentsOf(s))

	ws, _, err := dial(s, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"open sesame"}}})
	require.NoError(t, err)
	require.NoError(t, ws.CloseNow())

	for _, path := range []string{"/", "/api/v1/agents", "/api/v1/events", "/assets/x"} {
		refused := get(t, s.webURL()+path)
		assert.Equal(t, http.StatusUnauthorized, refused.StatusCode, path)
		assert.Equal(t, `Basic realm="Fleetview", charset="UTF-8"`, refused.Header.Get("WWW-Authenticate"), path)
		assert.NotEmpty(t, refused.Header.Get("Content-Security-Policy"), path)
		assert.NotContains(t, body(t, refused), "sesame")
	}
	assert.Equal(t, http.StatusOK, get(t, s.webURL()+"/api/v1/agents", "Authorization", "open sesame").StatusCode)
	assert.Equal(t, http.StatusOK, get(t, s.webURL()+"/api/v1/agents", "Authorization", "open sesame", "Host", "fleet.test").StatusCode,
		"with an authenticator the name does not matter")
}

func agentsOf(s *server) []*fleet.Agent {
	agents, _ := s.fleet.Agents()
	return agents
}

func TestWebAnswersToLoopbackNamesOnly(t *testing.T) {
	s := start(t, "", nopHost)
	_, port, err := net.SplitHostPort(s.web.Addr().String())
	require.NoError(t, err)
	for host, ok := range map[string]bool{
		"127.0.0.1:" + port: true, "localhost:" + port: true, "LOCALHOST": true, "localhost.:1": true, "[::1]:" + port: true, "127.1.2.3": true,
		"evil.test:" + port: false, "evil.test": false, "localhost.evil.test": false, "127.0.0.1.evil.test": false, "10.0.0.1": false, "[fe80::1]": false,
	} {
		resp := get(t, s.webURL()+"/api/v1/agents", "Host", host)
		if ok {
			assert.Equal(t, http.StatusOK, resp.StatusCode, host)
			continue
		}
		assert.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode, host)
		assert.Contains(t, body(t, resp), "no authentication")
	}
}

// An agent may come through a proxy that keeps the name; a browser's page may not.
func TestAgentsListenerRefusesReboundPages(t *testing.T) {
	s := start(t, "", nopHost)
	base := "http://" + s.agents.Addr().String() + "/v1/opamp"
	assert.Equal(t, http.StatusForbidden, get(t, base, "Host", "evil.test", "Origin", "http://evil.test").StatusCode)
	assert.Equal(t, http.StatusForbidden, get(t, base, "Origin", "http://evil.test").StatusCode)
	assert.Equal(t, http.StatusUpgradeRequired, get(t, base, "Host", "opamp.example.com").StatusCode)
	assert.Equal(t, int64(1), s.opamp.Stats().Rejected[opampserver.ReasonHost])
	assert.Equal(t, int64(1), s.opamp.Stats().Rejected[opampserver.ReasonOrigin])
}

func TestWebIsGuardedByHeaders(t *testing.T) {
	s := start(t, "", nopHost)
	for _, path := range []string{"/", "/api/v1/agents", "/nothing/here"} {
		h := get(t, s.webURL()+path).Header
		policy := h.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src ")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe-inline")
		assert.Len(t, h.Values("Content-Security-Policy"), 1)
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		assert.Equal(t, "DENY", h.Get("X-Frame-Options"))
	}
}

// Not a byte of the body comes: whoever waited for it would wait for ever.
func TestWebWaitsForNoBody(t *testing.T) {
	s := start(t, "", nopHost)
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"POST /api/v1/agents HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 100\r\n\r\n",
	} {
		nc, err := net.Dial("tcp", s.web.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		_, err = nc.Write([]byte(head))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		require.NoError(t, err)
		assert.True(t, resp.Close, head)
	}
}

func TestEventStreamOutlivesTheTimeoutsOfRequests(t *testing.T) {
	s := start(t, "web: {read_timeout: 1s, write_timeout: 1s}", nopHost)
	stream := get(t, s.webURL()+"/api/v1/events")
	require.Equal(t, http.StatusOK, stream.StatusCode)
	events := bufio.NewScanner(stream.Body)
	for i := range 3 { // a second apart: the stream's own pace
		name := fmt.Sprintf("agent-%d", i)
		connect(t, s).say(described(name))
		scanUntil(t, events, name)
	}
}

func scanUntil(t *testing.T, events *bufio.Scanner, text string) {
	t.Helper()
	for events.Scan() {
		if strings.Contains(events.Text(), text) {
			return
		}
	}
	require.Fail(t, "stream ended", "before %s: %v", text, events.Err())
}

func TestTLSOnBothListeners(t *testing.T) {
	cert, key, trust := certificate(t)
	tlsBlock := fmt.Sprintf("tls: {cert_file: '%s', key_file: '%s', client_ca_file: '%s'}", cert, key, cert)
	s := start(t, fmt.Sprintf("{agents: {%s}, web: {%s}}", tlsBlock, tlsBlock), nopHost)
	assert.True(t, strings.HasPrefix(s.agentsURL(), "wss://127.0.0.1:"), s.agentsURL())

	transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ws, _, err := dial(s, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	a := &agent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}
	a.say(described("secured"))
	require.NoError(t, ws.CloseNow())

	stranger := trust.Clone()
	stranger.Certificates = nil
	_, _, err = dial(s, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: stranger}}})
	require.ErrorContains(t, err, "certificate")

	second := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer second.CloseIdleConnections()
	resp := send(t, second, http.MethodGet, "https://"+s.web.Addr().String()+"/api/v1/agents")
	assert.Equal(t, 2, resp.ProtoMajor)
	assert.Contains(t, body(t, resp), "secured")
	exchange, err := (&http.Client{Transport: second}).Post(strings.Replace(s.agentsURL(), "wss", "https", 1), "application/x-protobuf", bytes.NewReader(encodedReport(t)))
	require.NoError(t, err)
	require.NoError(t, exchange.Body.Close())
	assert.Equal(t, http.StatusOK, exchange.StatusCode)
	assert.Equal(t, 2, exchange.ProtoMajor, "agents that poll may use HTTP/2")
}

func encodedReport(t *testing.T) []byte {
	t.Helper()
	msg := described("polls")
	msg.InstanceUid = opampwire.NewInstanceUID().Bytes()
	data, err := proto.Marshal(msg)
	require.NoError(t, err)
	return data
}

func TestBadCertificateFailsStartByItsKey(t *testing.T) {
	cfg := parse(t, "{agents: {endpoint: '127.0.0.1:0'}, web: {endpoint: '127.0.0.1:0', tls: {cert_file: /nowhere, key_file: /nowhere}}}")
	err := newServer(cfg, nopSettings()).Start(context.Background(), nopHost)
	require.ErrorContains(t, err, "web.tls: failed to load TLS config")
	require.NotContains(t, err.Error(), "endpoint")
}

func TestListenersOnSockets(t *testing.T) {
	dir := t.TempDir()
	s := start(t, fmt.Sprintf("{agents: {transport: unix, endpoint: '%s'}, web: {transport: unix, endpoint: '%s'}}",
		filepath.Join(dir, "a"), filepath.Join(dir, "w")), nopHost)
	assert.Equal(t, "unix:"+filepath.Join(dir, "a"), s.agentsURL())
	via := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, addr[:1]))
	}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://a/v1/opamp", &websocket.DialOptions{HTTPClient: &http.Client{Transport: via}})
	require.NoError(t, err)
	a := &agent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}
	a.say(described("in a file"))
	require.NoError(t, ws.CloseNow())
	resp := send(t, via, http.MethodGet, "http://w/api/v1/agents")
	assert.Contains(t, body(t, resp), "in a file")
}

func TestURLThatAgentsArePointedAt(t *testing.T) {
	s := start(t, "{insecure: true, agents: {endpoint: '0.0.0.0:0'}}", nopHost)
	assert.NotContains(t, s.agentsURL(), "0.0.0.0", "nobody can dial that from elsewhere")
	assert.NotContains(t, s.agentsURL(), "[::]")
	assert.True(t, strings.HasSuffix(s.agentsURL(), "/v1/opamp"))
}

func TestListenerOfTLSDoesNotFloodTheLog(t *testing.T) {
	set, logs := observedSettings()
	cert, key, _ := certificate(t)
	s := newServer(configOf(t, fmt.Sprintf("agents: {tls: {cert_file: '%s', key_file: '%s'}}", cert, key)), set)
	require.NoError(t, s.Start(context.Background(), nopHost))
	for range 20 {
		nc, err := tls.Dial("tcp", s.agents.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS12})
		require.Error(t, err, "the certificate is not trusted")
		require.Nil(t, nc)
	}
	require.NoError(t, s.Shutdown(context.Background()))
	assert.Len(t, logs.FilterMessageSnippet("complains").All(), 1)
}

func TestHeadsAreBounded(t *testing.T) {
	s := start(t, "", nopHost)
	large := strings.Repeat("x", 128<<10)
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, get(t, s.webURL()+"/api/v1/agents", "X-Large", large).StatusCode)
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, get(t, "http://"+s.agents.Addr().String()+"/v1/opamp", "X-Large", large).StatusCode)
}
