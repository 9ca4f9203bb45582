// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
)

// claims are what an authenticator tells of somebody.
type claims map[string]any

func (c claims) GetAttribute(name string) any { return c[name] }

func (c claims) GetAttributeNames() []string {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	return names
}

func requestOf(c claims) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	if c == nil {
		return r
	}
	return r.WithContext(client.NewContext(r.Context(), client.Info{Auth: c}))
}

func listenerOn(endpoint string, change ...func(*confighttp.ServerConfig)) Listener {
	sc := confighttp.NewDefaultServerConfig()
	sc.NetAddr.Endpoint = endpoint
	for _, c := range change {
		c(&sc)
	}
	return Listener{Key: "web", Config: &sc}
}

func withAuth(sc *confighttp.ServerConfig) {
	sc.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: component.MustNewID("oidc")}})
}

func withClientCA(sc *confighttp.ServerConfig) {
	sc.TLS = configoptional.Some(configtls.ServerConfig{ClientCAFile: "ca.pem"})
}

func grant(attribute string, values ...string) []Grant {
	return []Grant{{Attribute: attribute, Values: values}}
}

func TestAttributesMatchToTheLetter(t *testing.T) {
	a := listenerOn("127.0.0.1:0", withAuth).Access(Roles{Operator: grant("group", "sre", "7", "true", "1.5")})
	for name, tt := range map[string]struct {
		told any
		want bool
	}{
		"the value":          {"sre", true},
		"another case":       {"SRE", false},
		"a beginning":        {"sr", false},
		"a longer one":       {"sre-interns", false},
		"space":              {" sre", false},
		"empty":              {"", false},
		"nothing":            {nil, false},
		"one of a list":      {[]string{"dev", "sre"}, true},
		"none of a list":     {[]string{"dev", "sre,dev"}, false},
		"an empty list":      {[]string{}, false},
		"a list of anything": {[]any{1, map[string]any{}, "sre"}, true},
		"a list of lists":    {[]any{[]any{"sre"}}, false},
		"a whole number":     {7, true},
		"a long one":         {int64(7), true},
		"a number of JSON":   {float64(7), true},
		"with a fraction":    {1.5, true},
		"a truth":            {true, true},
		"an untruth":         {false, false},
		"an object":          {map[string]any{"sre": "sre"}, false},
	} {
		err := a.Check(Operator, requestOf(claims{"group": tt.told}))
		assert.Equal(t, tt.want, err == nil, name)
		require.Equal(t, err == nil, a.Check(Operator, requestOf(claims{"groups": tt.told, "group": tt.told})) == nil, name)
	}
	assert.Error(t, a.Check(Operator, requestOf(claims{"groups": "sre"})), "another attribute")
	assert.Error(t, a.Check(Operator, requestOf(nil)), "nobody")
}

func TestWhoHasWhichRole(t *testing.T) {
	own, known := listenerOn("127.0.0.1:0"), listenerOn("127.0.0.1:0", withAuth)
	alice, bob, nobody := claims{"u": "alice"}, claims{"u": "bob"}, claims(nil)
	for name, tt := range map[string]struct {
		listener        Listener
		roles           Roles
		who             claims
		looks, operates bool
	}{
		"this host, no roles":          {own, Roles{}, nobody, true, true},
		"this host, nobody may send":   {own, Roles{Operator: []Grant{}}, nobody, true, false},
		"other hosts, nobody known":    {listenerOn("0.0.0.0:0"), Roles{}, nobody, true, false},
		"known, no roles":              {known, Roles{}, alice, true, false},
		"certificates, no roles":       {listenerOn("127.0.0.1:0", withClientCA), Roles{}, nobody, true, false},
		"an operator":                  {known, Roles{Operator: grant("u", "alice")}, alice, true, true},
		"not an operator":              {known, Roles{Operator: grant("u", "alice")}, bob, true, false},
		"a viewer":                     {known, Roles{Viewer: grant("u", "bob"), Operator: grant("u", "alice")}, bob, true, false},
		"an operator is a viewer":      {known, Roles{Viewer: grant("u", "bob"), Operator: grant("u", "alice")}, alice, true, true},
		"neither":                      {known, Roles{Viewer: grant("u", "bob"), Operator: grant("u", "alice")}, claims{"u": "eve"}, false, false},
		"viewers only":                 {known, Roles{Viewer: grant("u", "bob")}, alice, false, false},
		"operators only":               {known, Roles{Viewer: []Grant{}, Operator: grant("u", "alice")}, alice, true, true},
		"nobody but operators":         {known, Roles{Viewer: []Grant{}, Operator: grant("u", "alice")}, bob, false, false},
		"one of two grants":            {known, Roles{Operator: append(grant("group", "sre"), grant("u", "alice")...)}, alice, true, true},
		"a claim is not a certificate": {known, Roles{Operator: grant(CertificateSubject, "CN=alice")}, claims{CertificateSubject: "CN=alice"}, true, false},
	} {
		a := tt.listener.Access(tt.roles)
		assert.Equal(t, tt.looks, a.Check(Viewer, requestOf(tt.who)) == nil, name)
		assert.Equal(t, tt.operates, a.Check(Operator, requestOf(tt.who)) == nil, name)
	}
	err := known.Access(Roles{}).Check(Operator, requestOf(alice))
	require.ErrorContains(t, err, "the role operator")
	require.ErrorContains(t, err, "roles.operator")
	assert.NotContains(t, err.Error(), "alice")
}

func TestCertificateWasVerified(t *testing.T) {
	raw, err := asn1.Marshal(pkix.Name{
		Country: []string{"DE"}, Organization: []string{"Example, Inc."}, CommonName: "alice",
	}.ToRDNSequence())
	require.NoError(t, err)
	leaf := &x509.Certificate{RawSubject: raw}
	a := listenerOn("127.0.0.1:0", withClientCA).Access(Roles{Operator: grant(CertificateSubject, `CN=alice,O=Example\, Inc.,C=DE`)})
	r := requestOf(nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	require.Error(t, a.Check(Operator, r), "presented, not verified")
	r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
	require.NoError(t, a.Check(Operator, r))
	leaf.RawSubject = slices.Concat(raw, []byte{0})
	require.Error(t, a.Check(Operator, r), "something is behind the name")
	leaf.RawSubject = []byte{1}
	require.Error(t, a.Check(Operator, r), "no name")
}

func TestMistakesInRolesAreNamedByTheirKey(t *testing.T) {
	known := listenerOn("127.0.0.1:0", withAuth)
	for name, tt := range map[string]struct {
		listener Listener
		roles    Roles
		want     []string
	}{
		"none":                 {listenerOn("127.0.0.1:0"), Roles{}, nil},
		"nobody sends":         {listenerOn("127.0.0.1:0"), Roles{Operator: []Grant{}}, nil},
		"nobody looks":         {known, Roles{Viewer: []Grant{}}, []string{"roles.viewer: nobody could see anything"}},
		"operators look":       {known, Roles{Viewer: []Grant{}, Operator: grant("u", "a")}, nil},
		"no attribute":         {known, Roles{Operator: grant("", "a")}, []string{"roles.operator[0].attribute: must be set"}},
		"no values":            {known, Roles{Viewer: append(grant("u", "a"), Grant{Attribute: "u"})}, []string{"roles.viewer[1].values: must be"}},
		"an empty value":       {known, Roles{Viewer: grant("u", "")}, []string{"roles.viewer[0].values:"}},
		"credentials":          {known, Roles{Operator: grant("raw", "a")}, []string{"roles.operator[0].attribute: raw is the credentials"}},
		"nobody is known":      {listenerOn("127.0.0.1:0"), Roles{Operator: grant("u", "a")}, []string{`roles.operator[0].attribute: nobody has a "u" without web.auth`}},
		"no certificates":      {known, Roles{Operator: grant(CertificateSubject, "a")}, []string{"web.tls.client_ca_file"}},
		"certificates":         {listenerOn("127.0.0.1:0", withClientCA), Roles{Operator: grant(CertificateSubject, "a")}, nil},
		"certificate, no auth": {listenerOn("127.0.0.1:0", withClientCA), Roles{Operator: grant("u", "a")}, []string{"web.auth"}},
		"unknown of it":        {known, Roles{Operator: grant("tls.client.issuer", "a")}, []string{`"tls.client.issuer" is not known`, CertificateSubject}},
	} {
		err := tt.listener.ValidateRoles("roles", tt.roles)
		if tt.want == nil {
			require.NoError(t, err, name)
			continue
		}
		require.Error(t, err, name)
		for _, want := range tt.want {
			assert.ErrorContains(t, err, want, name)
		}
	}
}
