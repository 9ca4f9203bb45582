// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWordsOf(t *testing.T) {
	tests := map[string][]string{
		"":                       {},
		"__":                     {},
		"api_key":                {"api", "key"},
		"API_KEY-2":              {"api", "key", "2"},
		"apiKey":                 {"api", "key"},
		"APIKeyValue":            {"api", "key", "value"},
		"x.Api-Key":              {"x", "api", "key"},
		"oauth2Client":           {"oauth", "2", "client"},
		"key\x00":                {"key"},
		"clé_privée":             {"clé", "privée"},
		"\xff\xfetoken":          {"token"},
		"ȺȺtoken":                {"ⱥⱥtoken"}, // longer in lower case
		strings.Repeat("a_", 40): strings.Split(strings.Repeat("a ", maxNameWords-1)+"a", " "),
	}
	for name, want := range tests {
		assert.Equal(t, want, wordsOf(name), "%q", name)
	}
}

// TestNamesOfSecrets holds names whose scalar is masked, whatever it is.
func TestNamesOfSecrets(t *testing.T) {
	rules := mustRules(t, Options{})
	for _, name := range strings.Fields(`
		password PASSWORD Password passwd pwd pass passphrase passPhrase pass_word db_password dbPassword userpass storepass
		auth_password privacy_password keystore_password password_hash password2 new_password password_value
		secret client_secret clientSecret clientsecret secret_key secret_access_key access_key_secret token_secret secret_id
		token tokens access_token accesstoken bearer_token api_token id_token session_token token_data installation_token
		api_key apikey apiKey api-key APIKEY x-api-key apiKeys access_key accessKey access_key_id account_key AccountKey
		private_key privateKey private_key_pem key_pem key_data license_key ingest_key ingestion_key write_key agent_key
		application_key instrumentation_key encryption_key signing_key shared_access_key SharedAccessKey service_account_key
		authorization bearer cookie cookies erlang_cookie jwt community sas salt pin psk otp htpasswd creds header_value
		basic_auth_users session_id sessionid gossip_key hmac_key csrf_key netrc`) {
		out := rules.Config(map[string]any{"a": map[string]any{name: "word"}}, nil)
		assert.Equal(t, Mask, out.Config["a"].(map[string]any)[name], name)
	}
}

// TestHarmlessNames holds names that have the word for a secret in them, and whose
// scalar is shown.
func TestHarmlessNames(t *testing.T) {
	rules := mustRules(t, Options{})
	for _, name := range strings.Fields(`
		token_url token_uri token_file token_type token_endpoint tokenizer token_bucket_size tokens_per_second
		bearer_token_file password_file password_policy passwordless password_command bypass compass pass_through
		key keys key_file key_id cert_file ca_file key_prefix partition_key sort_key sort_keys routing_key primary_key
		foreign_key public_key message_key key_attributes group_by_keys metadata_keys blocked_key_patterns keyspace
		secret_name secret_arn secret_ref secret_store_type secretName client_secret_file credentials_file
		auth_type auth_mechanism auth_source auth_enabled authenticator auth_header token_header api_key_header
		cookie_name session_timeout session_name signature_version signature_algorithm salt_length pinned dsn_name
		client_id tenant_id subscription_id user username header headers_to_keep allowed_headers code statement
		webhook_path health_path connection_timeout datasource_type`) {
		out := rules.Config(map[string]any{"a": map[string]any{name: "word"}}, nil)
		assert.Equal(t, "word", out.Config["a"].(map[string]any)[name], name)
	}
}

func TestKeyBelowItsParent(t *testing.T) {
	rules := mustRules(t, Options{})
	config := map[string]any{
		"api":     map[string]any{"key": "abc", "site": "eu"},
		"tls":     map[string]any{"key": "/etc/tls/server.key", "keys": "abc"},
		"ssh":     map[string]any{"key": "abc"},
		"actions": []any{map[string]any{"key": "service.name", "action": "delete"}},
		"grouped": map[string]any{"key": "host"},
	}
	want := map[string]any{
		"api":     map[string]any{"key": Mask, "site": "eu"},
		"tls":     map[string]any{"key": "/etc/tls/server.key", "keys": Mask},
		"ssh":     map[string]any{"key": Mask},
		"actions": []any{map[string]any{"key": "service.name", "action": "delete"}},
		"grouped": map[string]any{"key": "host"},
	}
	assert.Equal(t, want, rules.Config(config, nil).Config)
}

func TestScalarsUnderAName(t *testing.T) {
	rules := mustRules(t, Options{})
	tests := []struct {
		name     string
		in, want any
	}{
		{"password", 1234, Mask},
		{"password", 12.5, Mask},
		{"password", true, true},
		{"password", nil, nil},
		{"password", "", ""},
		{"password", "true", "true"},
		{"password", "false", "false"},
		{"password", Mask, Mask},
		{"password", "correct horse battery", Mask},
		{"tokens", 500, 500},
		{"max_token", 500, 500},
		{"tokens", []any{"a", "b"}, []any{Mask, Mask}},
		{"token", map[string]any{"file": "/run/x", "value": "x", "ttl": "5m", "x": 5}, map[string]any{"file": "/run/x", "value": Mask, "ttl": "5m", "x": Mask}},
		{"passwords", map[string]any{"alice": "x", "bob": []any{"y"}}, map[string]any{"alice": Mask, "bob": []any{Mask}}},
		{"auth", "basicauth/server", "basicauth/server"},
		{"auth", "oauth2client", "oauth2client"},
		{"auth", "SCRAM-SHA-256", "SCRAM-SHA-256"},
		{"auth", "serviceAccount", "serviceAccount"},
		{"auth", "https://issuer.example.com", "https://issuer.example.com"},
		{"auth", "bob:hunter2", Mask},
		{"auth", "hunter2", Mask},
		{"auth", map[string]any{"authenticator": "oidc", "x": "hunter2"}, map[string]any{"authenticator": "oidc", "x": "hunter2"}},
		{"session", "QmFzaWNhbGx5Tm90aGluZw", Mask},
		{"session", "24h", "24h"},
		{"authorization", map[string]any{"type": "Bearer", "credentials": "abc"}, map[string]any{"type": "Bearer", "credentials": Mask}},
		{"private_key", "/etc/keys/rsa.pem", "/etc/keys/rsa.pem"},
		{"private_key", "/abc+def", Mask},
		{"secret_key", "/etc/keys/rsa.pem", Mask},
	}
	for _, tt := range tests {
		out := rules.Config(map[string]any{tt.name: tt.in}, nil)
		assert.Equal(t, tt.want, out.Config[tt.name], "%s: %v", tt.name, tt.in)
	}
}

func TestComponentsMayBeCalledAnything(t *testing.T) {
	config := map[string]any{
		"extensions": map[string]any{"token": map[string]any{"a": "b"}, "bearer/password": map[string]any{"scheme": "x"}},
		"exporters":  map[string]any{"headers": map[string]any{"endpoint": "b"}, "otlp/secret": nil},
		"service": map[string]any{
			"extensions": []any{"token", "bearer/password"},
			"pipelines":  map[string]any{"traces/token": map[string]any{"receivers": []any{"otlp/password"}}},
		},
	}
	out := mustRules(t, Options{}).Config(config, nil)
	assert.Equal(t, config, out.Config)
	assert.Zero(t, out.Masked)
	assert.Nil(t, out.Secrets)
}
