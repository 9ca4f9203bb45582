// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// patience is how long a test waits for what must come. It is no measure of anything.
const patience = time.Minute

func nopSettings() extension.Settings { return extensiontest.NewNopSettings(metadata.Type) }

// hostOf is a host with extensions.
type hostOf map[component.ID]component.Component

func (h hostOf) GetExtensions() map[component.ID]component.Component { return h }

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

// start starts a server of text, with both listeners on a free port unless it names them.
func start(t *testing.T, text string, host component.Host) *server {
	t.Helper()
	s := newServer(configOf(t, text), nopSettings())
	require.NoError(t, s.Start(context.Background(), host))
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })
	return s
}

func configOf(t *testing.T, text string) *Config {
	t.Helper()
	cfg := parse(t, text)
	for _, sc := range []*string{&cfg.Agents.NetAddr.Endpoint, &cfg.Web.NetAddr.Endpoint} {
		if *sc == "127.0.0.1:4320" || *sc == "127.0.0.1:4321" {
			*sc = "127.0.0.1:0"
		}
	}
	require.NoError(t, cfg.Validate())
	return cfg
}

func (s *server) webURL() string { return "http://" + s.web.Addr().String() }

// get asks for a page, with pairs of header names and values; Host is one of them.
func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	return send(t, &http.Transport{DisableKeepAlives: true}, http.MethodGet, url, header...)
}

func send(t *testing.T, via http.RoundTripper, method, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := via.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// agent is an OpAMP agent over WebSocket.
type agent struct {
	t   *testing.T
	ws  *websocket.Conn
	uid opampwire.InstanceUID
	seq uint64
}

func dial(s *server, options *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return websocket.Dial(ctx, s.agentsURL(), options)
}

func connect(t *testing.T, s *server) *agent {
	t.Helper()
	ws, _, err := dial(s, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &agent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}
}

// connectTCP is connect, with the connection that it is on.
func connectTCP(t *testing.T, s *server) (*agent, *net.TCPConn) {
	t.Helper()
	var raw net.Conn
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		raw, err = new(net.Dialer).DialContext(ctx, network, address)
		return raw, err
	}}}
	ws, _, err := dial(s, &websocket.DialOptions{HTTPClient: client})
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &agent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}, raw.(*net.TCPConn)
}

// say sends msg under the agent's name and returns the answer.
func (a *agent) say(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msg.InstanceUid, msg.SequenceNum = a.uid.Bytes(), a.seq
	a.seq++
	frame, err := opampwire.AppendFrame(nil, msg)
	require.NoError(a.t, err)
	require.NoError(a.t, a.ws.Write(ctx, websocket.MessageBinary, frame))
	_, payload, err := a.ws.Read(ctx)
	require.NoError(a.t, err)
	reply := new(protobufs.ServerToAgent)
	require.NoError(a.t, opampwire.ParseFrame(payload, reply))
	require.Equal(a.t, a.uid.Bytes(), reply.GetInstanceUid())
	return reply
}

func described(name string) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{
		Capabilities: uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus),
		AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{
			Key: "service.name", Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: name}},
		}}},
	}
}

// certificate writes a certificate for 127.0.0.1 and returns its files and whom to trust.
func certificate(t *testing.T) (certFile, keyFile string, trust *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alice"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return certFile, keyFile, &tls.Config{
		RootCAs: pool, MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}},
	}
}

var nopHost = componenttest.NewNopHost()
