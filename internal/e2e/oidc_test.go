// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// issuer is an OpenID Connect provider as far as those who verify its tokens see it: what it says of
// itself, and its key.
type issuer struct {
	url string
	key *rsa.PrivateKey
}

const issuerKeyID = "of-the-test"

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	i := &issuer{key: key}
	mux := http.NewServeMux()
	serve := func(path string, answer func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer())
		})
	}
	serve("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}
	})
	serve("/keys", func() any {
		return map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": issuerKeyID,
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// token is a token for this server that holds for an hour, with more claims or others.
func (i *issuer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{
		"iss": i.url, "aud": "fleetview", "sub": "7f3a", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, value := range claims {
		all[name] = value
	}
	part := func(v any) string {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": issuerKeyID}) + "." + part(all)
	hash := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, hash[:])
	require.NoError(t, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestPeopleByOpenIDConnect has people come with tokens, of which contrib's authenticator tells who they
// are, and roles what they may.
func TestPeopleByOpenIDConnect(t *testing.T) {
	t.Parallel()
	i, stranger := startIssuer(t), startIssuer(t)
	f := &fleet{agents: freeAddress(t), web: freeAddress(t)}
	f.collector = startCollector(t, testDistribution(t), fmt.Sprintf(`
extensions:
  oidc:
    providers:
      - {issuer_url: '%s', audience: fleetview, username_claim: email, groups_claim: groups}
  opamp_server:
    agents: {endpoint: '%s'}
    web: {endpoint: '%s', auth: {authenticator: oidc}}
    roles:
      viewer:
        - {attribute: membership, values: [fleet-viewers]}
      operator:
        - {attribute: membership, values: [fleet-operators]}
        - {attribute: subject, values: [ada@example.com]}
        - {attribute: claims.fleet_roles, values: [operator]}
service:
  extensions: [oidc, opamp_server]
`, i.url, f.agents, f.web))
	f.waitReady(t, 1)
	a := f.scriptAgent(t, "asked", "com.example.ping")

	person := func(email string, more map[string]any) map[string]any {
		claims := map[string]any{"email": email, "groups": []string{"staff"}}
		for name, value := range more {
			claims[name] = value
		}
		return claims
	}
	groups := func(names ...string) map[string]any { return map[string]any{"groups": names} }
	operator := groups("staff", "fleet-operators")
	forged := strings.Split(i.token(t, person("bob@example.com", groups("fleet-viewers"))), ".")
	forged[1] = strings.Split(i.token(t, person("bob@example.com", operator)), ".")[1]

	const ok, forbidden, unknown = http.StatusOK, http.StatusForbidden, http.StatusUnauthorized
	for _, tt := range []struct {
		who         string
		token       string
		looks, send int
	}{
		{"a viewer by group", i.token(t, person("bob@example.com", groups("staff", "fleet-viewers"))), ok, forbidden},
		{"an operator by group", i.token(t, person("eve@example.com", operator)), ok, ok},
		{"an operator by name", i.token(t, person("ada@example.com", nil)), ok, ok},
		{"an operator by claim", i.token(t, person("joe@example.com", map[string]any{"fleet_roles": []string{"operator"}})), ok, ok},
		{"an operator by a claim that is a text", i.token(t, person("joe@example.com", map[string]any{"fleet_roles": "operator"})), ok, ok},
		{"no role", i.token(t, person("tom@example.com", groups("staff"))), forbidden, forbidden},
		{"a role that is only like one", i.token(t, person("tom@example.com", groups("Fleet-Operators"))), forbidden, forbidden},
		{"a claim by another's name", i.token(t, person("tom@example.com", map[string]any{"membership": "fleet-operators"})), forbidden, forbidden},
		{"expired", i.token(t, person("eve@example.com", map[string]any{"groups": operator["groups"], "exp": time.Now().Add(-time.Hour).Unix()})), unknown, unknown},
		{"for somebody else", i.token(t, person("eve@example.com", map[string]any{"groups": operator["groups"], "aud": "billing"})), unknown, unknown},
		{"by somebody else", stranger.token(t, person("eve@example.com", operator)), unknown, unknown},
		{"changed after it was signed", strings.Join(forged, "."), unknown, unknown},
		{"without groups", i.token(t, map[string]any{"email": "ada@example.com"}), unknown, unknown}, // the authenticator insists
		{"none", "", unknown, unknown},
	} {
		status, body := f.as(t, tt.token, http.MethodGet, "/api/v1/agents", "")
		assert.Equal(t, tt.looks, status, "%s: %s", tt.who, body)
		status, body = f.as(t, tt.token, http.MethodGet, "/agents/"+a.uid.String(), "")
		assert.Equal(t, tt.looks, status, "%s: the page", tt.who)
		assert.Equal(t, status == ok, strings.Contains(body, "asked"), "%s: the page", tt.who)
		status, body = f.as(t, tt.token, http.MethodPost, "/api/v1/agents/"+a.uid.String()+"/custom-messages",
			fmt.Sprintf(`{"capability": "com.example.ping", "type": "ping", "data": %q}`, tt.who))
		assert.Equal(t, tt.send, status, "%s: %s", tt.who, body)
		if status == ok {
			assert.Equal(t, tt.who, string(a.waitAsked(t).GetData()))
		}
		if tt.token != "" {
			assert.NotContains(t, f.text(), strings.Split(tt.token, ".")[2], "%s: the token is in the log", tt.who)
		}
	}
	assert.Empty(t, a.asked, "nothing came that was refused")
}

// as is an exchange with web of whoever has the token.
func (f *fleet) as(t *testing.T, token, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.web+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer)
}
