// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hostWith is a host with extensions.
type hostWith map[component.ID]component.Component

func (h hostWith) GetExtensions() map[component.ID]component.Component { return h }

var authID = component.MustNewID("signer")

func withAuth(c *Config) { c.Server.endpoint().Auth = authID }

func TestAuthenticatorErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		host component.Host
		want string
	}{
		"no extensions":    {hostWith(nil), `could not find auth extension "signer"`},
		"not there":        {hostWith{component.MustNewID("other"): &sigV4{}}, `could not find auth extension "signer"`},
		"no authenticator": {hostWith{authID: &plainExtension{}}, `auth extension "signer" is not an extensionauth.HTTPClient`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestExtension(t, configFor("ws://127.0.0.1:1", withAuth), newSettings("auth-errors"))
			require.EqualError(t, e.Start(t.Context(), tc.host), tc.want)
		})
	}
}

type plainExtension struct {
	component.StartFunc
	component.ShutdownFunc
}

func TestWithoutAnAuthenticatorThereIsNoDependency(t *testing.T) {
	require.Empty(t, newTestExtension(t, configFor("ws://127.0.0.1:1"), newSettings("deps")).Dependencies())
	require.Empty(t, newTestExtension(t, createDefaultConfig().(*Config), newSettings("deps")).Dependencies())
}

func TestTLS(t *testing.T) {
	certificate, caFile := selfSigned(t)
	for _, scheme := range []string{"wss", "https"} {
		t.Run(scheme, func(t *testing.T) {
			server := opamptest.Serve(t, tlsListener(t, certificate), opamptest.Script{})
			cfg := configFor(server.URL(scheme).String())
			cfg.Server.endpoint().TLS.CAFile = caFile
			startExtension(t, cfg, newSettings("tls"))
			require.NotNil(t, server.Next(t).GetAgentDescription())
		})
		t.Run(scheme+" insecure_skip_verify", func(t *testing.T) {
			server := opamptest.Serve(t, tlsListener(t, certificate), opamptest.Script{})
			cfg := configFor(server.URL(scheme).String())
			cfg.Server.endpoint().TLS.InsecureSkipVerify = true
			startExtension(t, cfg, newSettings("tls"))
			require.NotNil(t, server.Next(t).GetAgentDescription())
		})
		t.Run(scheme+" unknown CA", func(t *testing.T) {
			server := opamptest.Serve(t, tlsListener(t, certificate), opamptest.Script{})
			set := newSettings("tls")
			telemetry := componenttest.NewTelemetry()
			set.TelemetrySettings = telemetry.NewTelemetrySettings()
			cfg := configFor(server.URL(scheme).String())
			cfg.Server.endpoint().TLS.Insecure = true // does not weaken wss or https
			startExtension(t, cfg, set)
			require.Eventually(t, func() bool { return counted(telemetry, "otelcol_opamp_connects", "result", "tls") >= 1 },
				patience, time.Millisecond)
			require.Empty(t, server.Rest())
		})
	}
}

// An upgrade has to be HTTP/1.1. A server that offers both gets no HTTP/2.
func TestAWebSocketNeverNegotiatesHTTP2(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		e := configFor("wss://127.0.0.1:1").Server.endpoint()
		e.TLS.Insecure = insecure
		u, err := opampendpoint.Parse(e.Endpoint, "ws", "wss")
		require.NoError(t, err)
		client, err := e.Client(t.Context(), u, hostWith(nil), component.TelemetrySettings{})
		require.NoError(t, err)
		offered := make(chan []string, 1)
		certificate, _ := selfSigned(t)
		server := opamptest.Serve(t, tls.NewListener(loopback(t), &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				offered <- hello.SupportedProtos
				return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, nil
			},
		}), opamptest.Script{})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL("https").String(), nil)
		require.NoError(t, err)
		_, err = client.Do(req) //nolint:bodyclose // there is none: its certificate is unknown
		require.Error(t, err)
		require.Equal(t, []string{"http/1.1"}, <-offered)
	}
}

func TestStartFailsOnACertificateThatIsGone(t *testing.T) {
	cfg := configFor("wss://127.0.0.1:1")
	cfg.Server.endpoint().TLS.CAFile = filepath.Join(t.TempDir(), "gone.pem")
	e := newTestExtension(t, cfg, newSettings("gone"))
	require.ErrorContains(t, e.Start(t.Context(), componenttest.NewNopHost()), "gone.pem")
}

// selfSigned is a certificate for 127.0.0.1 and the file of its own CA.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func tlsListener(t *testing.T, certificate tls.Certificate) net.Listener {
	t.Helper()
	return tls.NewListener(loopback(t), &tls.Config{
		Certificates: []tls.Certificate{certificate},
		NextProtos:   []string{"h2", "http/1.1"},
		MinVersion:   tls.VersionTLS12,
	})
}
