// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSecuredFleet has TLS and authentication on both of the server's listeners: agents come with a
// token, people with a password.
func TestSecuredFleet(t *testing.T) {
	t.Parallel()
	const token, wrongToken, password = "right-token-canary", "wrong-token-canary", "password-canary"
	ca := newAuthority(t)
	dir := t.TempDir()
	caFile := writeFile(t, dir, "ca.pem", ca.PEM)
	certFile, keyFile := writePair(t, dir, ca.issue(t))
	agents, web := freeAddress(t), freeAddress(t)

	server := startCollector(t, distribution(t), fmt.Sprintf(`
extensions:
  bearertokenauth: {token: %s}
  basicauth: {htpasswd: {inline: "ada:%s"}}
  opamp_server:
    agents:
      endpoint: %s
      tls: {cert_file: %s, key_file: %s}
      auth: {authenticator: bearertokenauth}
    web:
      endpoint: %s
      tls: {cert_file: %s, key_file: %s}
      auth: {authenticator: basicauth}
service:
  extensions: [opamp_server, bearertokenauth, basicauth]
`, token, password, agents, certFile, keyFile, web, certFile, keyFile))
	server.waitReady(t, 1)

	agentWith := func(token string) *collector {
		c := startCollector(t, distribution(t), fmt.Sprintf(`
extensions:
  bearertokenauth: {token: %s}
  opamp:
    server: {ws: {endpoint: "wss://%s/v1/opamp", auth: bearertokenauth, tls: {ca_file: %s}}}
service:
  extensions: [opamp, bearertokenauth]
`, token, agents, caFile))
		c.waitReady(t, 1)
		return c
	}
	refused := agentWith(wrongToken)
	lost := refused.waitLines(t, 1, "the token is refused", warning)[0]
	assert.Equal(t, "unauthorized", lost.Reason)
	accepted := agentWith(token)
	accepted.waitLines(t, 1, "the token is accepted", saying("Connected to the OpAMP server"))

	assert.Equal(t, http.StatusUnauthorized, visit(t, ca, web, ""))
	assert.Equal(t, http.StatusUnauthorized, visit(t, ca, web, wrongToken))
	assert.Equal(t, http.StatusOK, visit(t, ca, web, password))
	for _, c := range []*collector{server, refused, accepted} {
		assert.NotContains(t, c.text(), "canary", "a secret is in the log")
	}
}

// visit asks for the list of agents with a password, and returns the status.
func visit(t *testing.T, ca *authority, web, password string) int {
	t.Helper()
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM([]byte(ca.PEM)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+web+"/api/v1/agents", http.NoBody)
	require.NoError(t, err)
	if password != "" {
		req.SetBasicAuth("ada", password)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// writePair writes a certificate and its key.
func writePair(t *testing.T, dir string, cert *tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return writeFile(t, dir, "cert.pem", string(certPEM)), writeFile(t, dir, "key.pem", string(keyPEM))
}
