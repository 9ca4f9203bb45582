// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var people = component.MustNewIDWithName("basicauth", "people")

// exampleOfRoles is the part of the README's example for each extension.
func exampleOfRoles(t *testing.T) map[string]map[string]any {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "## Who may do what\n")
	require.True(t, found)
	_, block, found := strings.Cut(section, "```yaml\n")
	require.True(t, found)
	text, _, _ := strings.Cut(block, "```")
	var whole struct {
		Extensions map[string]map[string]any `yaml:"extensions"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &whole))
	return whole.Extensions
}

// startExample starts what the README shows, with a password for each of the users, which is their name and a digit.
func startExample(t *testing.T, users ...string) (*server, *componenttest.Telemetry) {
	t.Helper()
	example := exampleOfRoles(t)
	passwords := filepath.Join(t.TempDir(), "people.htpasswd")
	var lines strings.Builder
	for _, u := range users {
		fmt.Fprintf(&lines, "%s:%s1\n", u, u)
	}
	require.NoError(t, os.WriteFile(passwords, []byte(lines.String()), 0o600))
	example[people.String()]["htpasswd"] = map[string]any{"file": passwords}

	factory := basicauthextension.NewFactory()
	authConfig := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(example[people.String()]).Unmarshal(authConfig))
	require.NoError(t, xconfmap.Validate(authConfig))
	auth, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), authConfig)
	require.NoError(t, err)
	require.NoError(t, auth.Start(context.Background(), nopHost))
	t.Cleanup(func() { require.NoError(t, auth.Shutdown(context.Background())) })

	cfg := unmarshal(t, confmap.NewFromStringMap(example["opamp_server"]))
	require.NoError(t, xconfmap.Validate(cfg))
	cfg.Agents.NetAddr.Endpoint, cfg.Web.NetAddr.Endpoint = "127.0.0.1:0", "127.0.0.1:0"
	tel := componenttest.NewTelemetry()
	set := nopSettings()
	set.TelemetrySettings = tel.NewTelemetrySettings()
	s := newServer(cfg, set)
	require.NoError(t, s.Start(context.Background(), hostOf{people: auth}))
	t.Cleanup(func() {
		require.NoError(t, s.Shutdown(context.Background()))
		require.NoError(t, tel.Shutdown(context.Background()))
	})
	return s, tel
}

// as are the headers of somebody.
func as(user string, header ...string) []string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, user+"1")
	return append(header, "Authorization", r.Header.Get("Authorization"))
}

// replaying is an agent's first report, which can be asked how its replays go.
func replaying(name string) *protobufs.AgentToServer {
	msg := described(name)
	msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: []string{ingestprogress.Capability, "com.example.ping"}}
	return msg
}

func (s *server) refusedCounts() map[refusal]int64 {
	out := map[refusal]int64{}
	for why, n := range s.guard.counts {
		if n.Load() != 0 {
			out[why] = n.Load()
		}
	}
	return out
}

func TestWhoMayDoWhatByTheExample(t *testing.T) {
	s, tel := startExample(t, "alice", "bob", "eve")
	a := connect(t, s)
	a.say(replaying("asked"))
	const ping = `{"capability":"com.example.ping"}`
	page := s.webURL() + "/agents/" + a.uid.String()
	report := func(user string, header ...string) *http.Response {
		return send(t, &http.Transport{DisableKeepAlives: true}, http.MethodPost, page+"/report", as(user, header...)...)
	}

	// Alice may everything.
	alice := body(t, get(t, page, as("alice")...))
	assert.Contains(t, alice, `action="/agents/`+a.uid.String()+`/report"`)
	assert.Equal(t, http.StatusOK, s.post(t, a.uid, ping, as("alice")...).StatusCode)
	assert.Equal(t, http.StatusSeeOther, report("alice").StatusCode)
	assert.Empty(t, s.refusedCounts())

	// Bob may look, and is not shown what he may not press.
	bob := get(t, page, as("bob")...)
	require.Equal(t, http.StatusOK, bob.StatusCode)
	shown := body(t, bob)
	assert.Contains(t, shown, "Replays")
	assert.NotContains(t, shown, "/report")
	assert.NotContains(t, shown, "Report now")
	assert.Equal(t, http.StatusOK, get(t, s.webURL()+"/api/v1/agents", as("bob")...).StatusCode)
	assert.Empty(t, s.refusedCounts(), "to look is no attempt to send")
	refused := s.post(t, a.uid, ping, as("bob")...)
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	assert.JSONEq(t, `{"error":{"code":"forbidden","message":"this needs the role operator, which roles.operator of the server's configuration gives"}}`,
		body(t, refused))
	refused = report("bob")
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	assert.Contains(t, body(t, refused), "the role operator")
	assert.Equal(t, http.StatusForbidden, s.post(t, opampwire.NewInstanceUID(), ping, as("bob")...).StatusCode, "nor learn who is there")
	assert.Equal(t, map[refusal]int64{refusedOperator: 3}, s.refusedCounts())

	// Eve has a password and no role.
	refused = get(t, s.webURL()+"/api/v1/agents", as("eve")...)
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	assert.Contains(t, body(t, refused), `"code":"forbidden","message":"this needs the role viewer`)
	refused = get(t, page, as("eve")...)
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	assert.Contains(t, body(t, refused), "the role viewer")
	assert.Equal(t, http.StatusForbidden, s.post(t, a.uid, ping, as("eve")...).StatusCode)
	assert.Equal(t, http.StatusForbidden, report("eve").StatusCode)

	// A page of another site may not, whoever looks at it.
	assert.Equal(t, http.StatusForbidden, s.post(t, a.uid, ping, as("alice", "Sec-Fetch-Site", "cross-site")...).StatusCode)
	assert.Equal(t, http.StatusForbidden, report("alice", "Origin", "https://evil.example").StatusCode)
	want := map[refusal]int64{refusedOperator: 3, refusedViewer: 4, refusedOrigin: 2}
	assert.Equal(t, want, s.refusedCounts())
	counted := values(t, tel, "opamp_server_web_refused")
	assert.Len(t, counted, len(refusals()))
	for why, n := range want {
		assert.Equal(t, n, counted[of("reason", string(why))], why)
	}
}

func TestPasswordsAreNotGuessedFast(t *testing.T) {
	s, _ := startExample(t, "alice", "bob")
	url := s.webURL() + "/api/v1/agents"
	for range 200 {
		require.Equal(t, http.StatusUnauthorized, get(t, url).StatusCode, "who presents nothing guesses nothing")
	}
	tries := 0
	var last *http.Response
	for ; tries < 10_000; tries++ {
		if last = get(t, url, as("mallory")...); last.StatusCode != http.StatusUnauthorized {
			break
		}
	}
	assert.GreaterOrEqual(t, tries, 100)
	require.Equal(t, http.StatusTooManyRequests, last.StatusCode)
	assert.Equal(t, "1", last.Header.Get("Retry-After"))
	assert.Contains(t, body(t, last), `"code":"too_many_failures"`)
	assert.Equal(t, int64(1), s.refusedCounts()[refusedTooMany])
	assert.Equal(t, int64(200+tries), s.refusedCounts()[refusedUnauthorized])
}

func TestOperatorByCertificate(t *testing.T) {
	cert, key, trust := certificate(t) // of nobody in particular, and its own authority
	const text = "{agents: {endpoint: '127.0.0.1:0'}, web: {endpoint: '127.0.0.1:0', tls: {cert_file: '%s', key_file: '%s', client_ca_file: '%s'}}, " +
		"roles: {operator: [{attribute: tls.client.subject, values: ['%s']}]}}"
	for subject, status := range map[string]int{"CN=alice": http.StatusNotFound, "CN=alic": http.StatusForbidden} {
		s := start(t, fmt.Sprintf(text, cert, key, cert, subject), nopHost)
		url := "https://" + s.web.Addr().String()
		via := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
		assert.Equal(t, http.StatusOK, send(t, via, http.MethodGet, url+"/api/v1/agents").StatusCode)
		there := url + "/agents/" + opampwire.NewInstanceUID().String() + "/report"
		assert.Equal(t, status, send(t, via, http.MethodPost, there).StatusCode, subject)
	}
}

// What a role lacks is said once a minute, not once a request.
func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	set, logs := observedSettings()
	s := newServer(configOf(t, "roles: {operator: []}"), set)
	require.NoError(t, s.Start(context.Background(), nopHost))
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })
	for range 50 {
		resp := s.post(t, opampwire.NewInstanceUID(), `{}`)
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Equal(t, http.StatusMisdirectedRequest, get(t, s.webURL()+"/", "Host", "evil.test").StatusCode)
	}
	warnings := logs.FilterLevelExact(zap.WarnLevel)
	assert.Equal(t, 1, warnings.FilterField(zap.String("reason", "operator")).Len())
	assert.Equal(t, 1, warnings.FilterField(zap.String("reason", "host")).Len())
	assert.Equal(t, map[refusal]int64{refusedOperator: 50, refusedHost: 50}, s.refusedCounts())
}

// routes are all that can be asked for on web, as the API describes itself, the pages list themselves and they load.
func (s *server) routes(t *testing.T, uid opampwire.InstanceUID, header ...string) []string {
	t.Helper()
	var described struct {
		Paths map[string]any `yaml:"paths"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(body(t, get(t, s.webURL()+"/api/v1/openapi.yaml", header...))), &described))
	require.Greater(t, len(described.Paths), 10)
	fill := strings.NewReplacer("{uid}", uid.String(), "{instance_uid}", uid.String(), "{hash}", "00", "{other}", "11")
	var routes []string
	for path := range described.Paths {
		routes = append(routes, fill.Replace(path))
	}
	page := body(t, get(t, s.webURL()+"/", header...))
	for _, link := range regexp.MustCompile(`(?:href|src)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
		routes = append(routes, link[1])
	}
	require.Contains(t, routes, "/agents")
	require.True(t, slices.ContainsFunc(routes, func(r string) bool { return strings.HasPrefix(r, "/assets/") }))
	return append(routes, "/", "/agents/"+uid.String(), "/agents/"+uid.String()+"/config", "/agents/x", "/configs/00", "/configs/00/text",
		"/configs/00/diff", "/complete", "/nothing", "/assets/nothing", "/api/", "/api/v1/nothing", "//", "/agents/../agents")
}

// asset is what has no data in it and a name that changes with it.
var asset = regexp.MustCompile(`^/assets/[^/?]+\?v=`)

func requireGuarded(t *testing.T, path string, resp *http.Response) {
	t.Helper()
	about := fmt.Sprint(path, " ", resp.StatusCode)
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		assert.Equal(t, []string{want}, resp.Header.Values(name), "%s: %s", about, name)
	}
	policies := resp.Header.Values("Content-Security-Policy")
	require.Len(t, policies, 1, about)
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action "} {
		assert.Contains(t, policies[0], want, about)
	}
	for _, never := range []string{"unsafe", "*", "data:", "http:", "https:"} {
		assert.NotContains(t, policies[0], never, about)
	}
	if asset.MatchString(path) && resp.StatusCode == http.StatusOK {
		assert.Contains(t, resp.Header.Get("Cache-Control"), "immutable", about)
		return
	}
	assert.Equal(t, []string{"no-store"}, resp.Header.Values("Cache-Control"), about)
}

var inline = regexp.MustCompile(`(?i)<script(?:\s+(?:defer|async|type="[^"]*"))*\s*>|\son[a-z]+\s*=\s*"|javascript:`)

// Whatever is asked for, by whomever, however it is answered.
func TestEveryAnswerIsGuarded(t *testing.T) {
	s, _ := startExample(t, "alice", "bob", "eve")
	a := connect(t, s)
	a.say(replaying("asked"))
	seen := map[int]bool{}
	for _, path := range s.routes(t, a.uid, as("bob")...) {
		for _, who := range [][]string{as("bob"), as("eve"), nil} {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
				resp := send(t, &http.Transport{DisableKeepAlives: true}, method, s.webURL()+path, who...)
				requireGuarded(t, path, resp)
				seen[resp.StatusCode] = true
				switch {
				case who == nil:
					assert.Equal(t, http.StatusUnauthorized, resp.StatusCode, path)
				case slices.Equal(who, as("eve")):
					assert.Equal(t, http.StatusForbidden, resp.StatusCode, path)
				}
				kind := resp.Header.Get("Content-Type")
				if strings.HasPrefix(path, "/api/") && resp.StatusCode >= 400 {
					assert.Equal(t, "application/json", kind, path)
				}
				if method == http.MethodGet && strings.HasPrefix(kind, "text/html") {
					assert.NotRegexp(t, inline, body(t, resp), path)
				}
			}
		}
	}
	for _, status := range []int{
		http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
	} {
		assert.True(t, seen[status], "the routes answered %d", status)
	}
	open := start(t, "", nopHost)
	requireGuarded(t, "another name", get(t, open.webURL()+"/", "Host", "evil.test"))
}
