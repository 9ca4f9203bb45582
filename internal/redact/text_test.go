// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// textCase is a text in which ⟦secret⟧ is what has to go. Dots in it are taken out, so
// that no scanner of code takes an example for a lost token.
type textCase struct{ name, text string }

func checkTextCases(t *testing.T, cases []textCase, mask func(string) string) {
	t.Helper()
	seen := map[string]bool{}
	for _, tt := range cases {
		assert.False(t, seen[tt.name], "%s: twice", tt.name)
		seen[tt.name] = true
		var in, want strings.Builder
		rest := tt.text
		for {
			before, after, found := strings.Cut(rest, "⟦")
			in.WriteString(before)
			want.WriteString(before)
			if !found {
				break
			}
			secret, next, _ := strings.Cut(after, "⟧")
			in.WriteString(strings.ReplaceAll(secret, "·", ""))
			want.WriteString(Mask)
			rest = next
		}
		assert.Equal(t, want.String(), mask(in.String()), tt.name)
		assert.Equal(t, want.String(), mask(want.String()), "%s: masked again", tt.name)
	}
}

func TestText(t *testing.T) {
	rules := mustRules(t, Options{})
	cases := []textCase{
		{"url password", "dial https://bob:⟦hunter2⟧@example.com:443/a?b=c: refused"},
		{"url password, scheme in capitals", "HTTPS://bob:⟦hunter2⟧@example.com"},
		{"url password with @ and :", "postgres://bob:⟦p@s:s⟧@db/app"},
		{"url password with slash and question mark", "postgres://bob:⟦p/s?s⟧@db/app"},
		{"url password with slash and @", "mysql://bob:⟦p@s/s⟧@db/app"},
		{"url password with a space, in quotes", `parse "postgres://bob:⟦p w⟧@db/app": invalid`},
		{"url without user", "redis://:⟦hunter2⟧@redis:6379/0"},
		{"url user is the token", "https://⟦0123456789abcdef⟧@o1.ingest.example.com/2"},
		{"url user is the token, no password", "https://⟦abcdef12⟧:@example.com"},
		{"url user is the token, formal password", "https://⟦abcdef12⟧:x-oauth-basic@example.com"},
		{"url user and password are random", "https://⟦aB3dE5gH7jK9mN1pQ3sT⟧:⟦y1⟧@example.com"},
		{"url user of ssh is a name", "ssh://git@example.com/repo"},
		{"url of many hosts", "mongodb://bob:⟦hunter2⟧@a:27017,b:27017/app?authSource=admin"},
		{"two urls", "https://a:⟦b1⟧@h1,https://c:⟦d1⟧@h2"},
		{"url in a url", "https://proxy.example.com/?to=http://bob:⟦hunter2⟧@example.com/"},
		{"url with a port and @ in its path", "http://example.com:8080/users/a@b"},
		{"url with IPv6", "http://[::1]:4318/a@b"},
		{"url query", "https://example.com/?api_key=⟦abc⟧&b=c&sig=⟦d%2Fe⟧"},
		{"url query of a database", "tcp://db:9000?username=bob&password=⟦abc⟧&x=y"},
		{"url fragment", "https://example.com/cb#access_token=⟦abc⟧&state=xyz"},
		{"url query, harmless", "https://example.com/?token_type=jwt&authSource=admin&key_version=2&page=3"},
		{"url path of a webhook", "https://hooks.slack.com/services/⟦T0/B0/abc⟧"},
		{"url path, random", "https://example.com/in/⟦aB3dE5gH7jK9mN1pQ3sT5v⟧/logs"},
		{"url path, commit", "https://example.com/o/r/commit/8f14e45fceea167a5a36dedd4bea2543aa00bb11"},
		{"url path, uuid", "https://login.example.com/0a0b0c0d-1a1b-2c2d-3e3f-405060708090/oauth2"},

		{"go driver", "bob:⟦hunter2⟧@tcp(db:3306)/app"},
		{"go driver, socket", "dial bob:⟦hunter2⟧@unix(/run/db.sock)/app failed"},
		{"no scheme", "bob:⟦hunter2⟧@db.example.com:5432"},
		{"no scheme, slashes", "//bob:⟦hunter2⟧@db.example.com/x"},
		{"mail address", "mailto:bob@example.com, user:bob@example.com"},
		{"image", "repo.example.com:5000/a/b:1.2@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0ba822cd15d6c15b0f00a0"},
		{"module", "pkg:golang/go.example.com/a@v1.2.3 mod:a/b@v1.2.3"},

		{"bearer", "sent Bearer ⟦abc123def456⟧, got 401"},
		{"basic", "sent basic ⟦Ym9iOmh1bnRlcjI=⟧"},
		{"apikey", "ApiKey ⟦YWJjOmRlZg12⟧"},
		{"splunk", "Splunk ⟦11112222-3333-4444-5555-666677778888⟧"},
		{"challenge", `got WWW-Authenticate: Bearer realm="example", error="invalid_token"`},
		{"talk of schemes", "Basic authentication failed, no bearer token was found, Splunk Enterprise is down"},

		{"pem", "key -----BEGIN X-----\nabc\n-----END X----- and ⟦-----BEGIN RSA PRI·VATE KEY-----\nabc\n-----END RSA PRI·VATE KEY-----⟧ end"},
		{"pem without an end", "⟦-----BEGIN PRI·VATE KEY-----\\nabcdef⟧"},
		{"certificate", "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUJ1jXk3M9b0tVb0dVZ2V4YW1wbGUwCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----"},
		{"jwt", "token is ⟦eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl⟧."},
		{"aws", "AKIA1 is short, ⟦AKIA·ABCDEFGH23456789⟧ is not, nor XAKIAABCDEFGH23456789"},
		{"github", "⟦ghp·_abcdefghijklmnopqrstuvwxyz0123456789⟧"},
		{"slack", "(⟦xoxb·-123456789012-abcdefghij⟧)"},
		{"stripe", "⟦sk_live·_abcdefghijklmnop1234⟧, pk_live_abcdefghijklmnop1234"},
		{"telegram", "bot ⟦1234567890:AAabcdefghijklmnopqrstuvwxyz·1234567⟧"},
		{"azure", "⟦abc8Q~abcdefghijklmnopqrstuvwxyz·0123456⟧"},
		{"password hash", "bob ⟦$2y$10$abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUVWXYZ12345⟧"},
		{"words like prefixes", "task-sk-long-words-in-a-name, hf_model, sdk-go, secret_name_of_something"},

		{"pair", "host=a user=b password=⟦c⟧ db=d"},
		{"pair in quotes", "user='b' password='⟦c d''e⟧' db='d'"},
		{"pair in double quotes", `user="b" password="⟦c \"d⟧" db="d"`},
		{"pair with spaces around", "api_key = ⟦abc⟧ x"},
		{"pair, comma", "user=b, token=⟦abc⟧, db=d,secret_key=⟦e,f⟧,g=h"},
		{"connection string", "Server=tcp:a,1433;User ID=b;Password=⟦c d=e⟧;Encrypt=True;AccountKey=⟦abc==⟧"},
		{"connection string, last", "Endpoint=sb://a/;SharedAccessKeyName=b;SharedAccessKey=⟦abc=⟧"},
		{"connection string, braces", "Uid=a;Pwd=⟦{b;c}⟧;X=y"},
		{"json", `{"user":"a","password":"⟦b⟧","api_key" : "⟦c⟧"}`},
		{"escaped json", `said {\"password\":\"⟦b⟧\",\"x\":1}`},
		{"header lines", "POST /\nAuthorization: ⟦Digest a=b⟧\nX-Api-Key: ⟦c⟧\nHost: d"},
		{"cookie", "Set-Cookie: ⟦a=b; Path=/⟧"},
		{"yaml", "user: a\npassword: ⟦correct horse battery⟧\nx: y"},
		{"yaml block", "a:\n  token: |\n    ⟦abc\n    def⟧\n  x: y"},
		{"go struct", "{User:bob Password:⟦y⟧ Timeout:5s}"},
		{"xml", "<a><user>b</user><password>⟦c⟧</password></a>"},
		{"flag", "run --api-token ⟦abc⟧ --token-file /run/x -password ⟦def⟧"},
		{"flag with =", "run --api-token=⟦abc⟧"},
		{"curl", "curl -u bob:⟦hunter2⟧ --user eve:⟦x1⟧ https://example.com"},
		{"expression", `set(attributes["api_key"], "⟦abc⟧") where attributes["token"] != "⟦d⟧" and a["name"] == "e"`},
		{"expression without text", `delete_key(attributes, "password") and attributes["password"] == nil`},

		{"talk of secrets", "password: must be set; token: unexpected end of input; api_key: is required; secret: otel-credentials not found"},
		{"mysql", "Access denied for user 'otel'@'10.0.0.1' (using password: YES)"},
		{"placeholders", "password=*** token=<token> api_key={{ .Key }} secret=$1 pwd=%s password=xxxx"},
		{"expressions", `^token=(\S+)$ password=[^ ]+ api_key == "a" token != "b" secret =~ "c"`},
		{"arn", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:otel/key-AbCdEf"},
		{"identifiers", "trace 4bf92f3577b34da6a3ce929d0e0e4736 pod checkout-7c9d8f6b5d-x2x9z node ip-10-0-12-34"},
		{"private path", "private_key=/etc/otel/key.pem, tls_key: /etc/otel/key.pem"},
		{"plural counts", "tokens: 500, tokens=500"},
	}
	checkTextCases(t, cases, func(s string) string { return rules.Text(s, nil) })
}

// TestConfigText holds what only a whole value of a configuration lets be known.
func TestConfigText(t *testing.T) {
	rules := mustRules(t, Options{})
	checkTextCases(t, []textCase{
		{"hexadecimal", "⟦0123456789abcdef0123456789abcdef⟧"},
		{"base64", "⟦aB3dE5gH7+K9mN1pQ3sT5v/x==⟧"},
		{"base64 of a short text", "⟦Ym9iOmh1bnRlcjI=⟧"},
		{"letters", "⟦VLHsEGnnPlbWxJIeRHGDCgUmSPYqMwmO⟧"},
		{"small letters and digits", "⟦k67qz4598weg5unwwffg6z1m1⟧"},
		{"in a sentence", "send ⟦aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3⟧ along"},
		{"private key in base64", "⟦LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSUlF⟧"},
		{"bearer and a word", "Bearer ⟦hunter⟧"},
		{"password with spaces", "bob:⟦correct horse⟧@tcp(db:3306)/app"},

		{"certificate in base64", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJz"},
		{"uuid", "627cc493-f310-47de-96bd-71410b7dec09"},
		{"camel case", "SystemCPULoadAverage15mMetricConfig"},
		{"path", "/var/log/Containers2/MyApp3/Service4"},
		{"version", "v0.155.1-0.20260101120000-0123456789ab"},
		{"host", "ip-10-0-12-34.eu-central-1.compute.internal"},
		{"instance", "i-0abcdef1234567890"},
		{"public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvb2JhcmJhemZvb2JhcmJhemZvb2JhcmJhemZvb2Jh me"},
		{"basic auth", "Basic authentication"},
		{"layout", "2006-01-02T15:04:05.999999999Z07:00"},
	}, func(s string) string {
		return rules.Config(map[string]any{"a": s}, nil).Config["a"].(string)
	})
}

// TestHashesAndIdentifiers holds random text whose name says that it is none of a secret.
func TestHashesAndIdentifiers(t *testing.T) {
	const hexadecimal, mixed = "8f14e45fceea167a5a36dedd4bea2543aa00bb11", "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3"
	rules := mustRules(t, Options{})
	for name, want := range map[string][2]string{
		"git.commit": {hexadecimal, Mask}, "checksum": {hexadecimal, Mask}, "trace_id": {hexadecimal, mixed},
		"client_id": {hexadecimal, mixed}, "ca_data": {hexadecimal, mixed}, "plain": {Mask, Mask},
	} {
		for i, value := range []string{hexadecimal, mixed} {
			assert.Equal(t, want[i], rules.Config(map[string]any{name: value}, nil).Config[name], "%s: %s", name, value)
		}
	}
}
