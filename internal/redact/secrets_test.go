// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSecretsComeBack(t *testing.T) {
	rules := mustRules(t, Options{})
	result := rules.Config(map[string]any{
		"password": "correct horse/battery", "token": "aB3dE5gH7jK9", "api_key": "wording", "pin": 8123456,
		"headers": map[string]any{"authorization": "Bearer qwe123rty456"}, "url": "http://bob:p%40ss!x1@h", "quoted_secret": `a"b\c 12x`,
		"pwd": "short", "secret": "changeme", "client_secret": "plainword", "database": "plainword", "license_key": "keyname12", "keyname12": 1,
		"private_key": strings.Repeat("x1", maxSecretLength),
	}, nil)
	tests := map[string]string{
		"got correct horse/battery":                 "got " + Mask,
		"got correct+horse%2Fbattery":               "got " + Mask,
		"got correct%20horse%2Fbattery":             "got " + Mask,
		"401 for aB3dE5gH7jK9":                      "401 for " + Mask,
		"xaB3dE5gH7jK9y":                            "x" + Mask + "y",
		"aB3dE5gH7jK9 aB3dE5gH7jK9":                 Mask + " " + Mask,
		"a wording, rewording":                      "a " + Mask + ", rewording",
		"pin 8123456":                               "pin " + Mask,
		"sent qwe123rty456":                         "sent " + Mask,
		"user p%40ss!x1":                            "user " + Mask,
		`said {"x":"a\"b\\c 12x"}`:                  `said {"x":"` + Mask + `"}`,
		"too short, changeme, plainword, keyname12": "too short, changeme, plainword, keyname12",
		"nothing to see":                            "nothing to see",
		"abc":                                       "abc",
		"aB3d":                                      "aB3d",
		"the end is aB3dE5":                         "the end is aB3dE5",
	}
	for text, want := range tests {
		assert.Equal(t, want, rules.Text(text, result.Secrets), text)
	}
	assert.Equal(t, "401 for aB3dE5gH7jK9", rules.Text("401 for aB3dE5gH7jK9", nil))
}

// TestSecretsComeBackInTheConfiguration holds values that hold a secret of elsewhere.
func TestSecretsComeBackInTheConfiguration(t *testing.T) {
	config := map[string]any{
		"token": "aB3dE5gH7jK9", "endpoint": "https://example.com/in/aB3dE5gH7jK9/v1", "list": []any{"x-aB3dE5gH7jK9", map[string]any{"a": "aB3dE5gH7jK9"}},
		"typed": map[any]any{1: "aB3dE5gH7jK9", 2: []string{"aB3dE5gH7jK9"}}, "password": "grafana1", "database": "grafana1", "user": "grafana12",
	}
	out := mustRules(t, Options{}).Config(config, nil)
	assert.Equal(t, map[string]any{
		"token": Mask, "endpoint": "https://example.com/in/" + Mask + "/v1", "list": []any{"x-" + Mask, map[string]any{"a": Mask}},
		"typed": map[any]any{1: Mask, 2: []any{Mask}}, "password": Mask, "database": "grafana1", "user": "grafana12",
	}, out.Config)
	assert.Equal(t, 7, out.Masked)

	allowed := mustRules(t, Options{Allow: []string{"**::endpoint"}}).Config(map[string]any{"exporters": config}, nil)
	assert.Equal(t, "https://example.com/in/aB3dE5gH7jK9/v1", below(allowed.Config, "endpoint"), "shown because the user says so")
	assert.Nil(t, allowed.Secrets, "and not looked for elsewhere")
}

func TestSecretsWith(t *testing.T) {
	rules := mustRules(t, Options{})
	var none *Secrets
	assert.Zero(t, none.Len())
	assert.Nil(t, none.With("", "abc", "password", "5m30s", "true"))
	one := none.With("aB3dE5gH7jK9")
	two := one.With("Bearer zY8xW6vU4")
	assert.Equal(t, 1, one.Len())
	assert.Equal(t, 2, two.Len())
	assert.Equal(t, "a "+Mask+" b "+Mask, rules.Text("a aB3dE5gH7jK9 b zY8xW6vU4", two))
	assert.Equal(t, "a "+Mask+" b zY8xW6vU4", rules.Text("a aB3dE5gH7jK9 b zY8xW6vU4", one), "a set never changes")
	assert.Equal(t, "a "+Mask, rules.Text("a abcdefgh1234", none.With("abcdefgh12", "abcdefgh1234")), "the longest")
}

func TestSecretsAreBounded(t *testing.T) {
	var none *Secrets
	values := make([]string, 3*maxSecrets)
	for i := range values {
		values[i] = fmt.Sprintf("secret%dvalue", i)
	}
	assert.Equal(t, maxSecrets, none.With(values...).Len())
	for i := range values {
		values[i] += strings.Repeat("x", maxSecretLength-20)
	}
	assert.LessOrEqual(t, none.With(values...).Len(), maxSecretsBytes/(maxSecretLength-20)+1)
	assert.Nil(t, none.With(strings.Repeat("x1", maxSecretLength)))
}

func TestSecretsFromProviders(t *testing.T) {
	rules := mustRules(t, Options{})
	result := rules.Config(
		map[string]any{"a": "gateway.example.com", "b": "aB3dE5gH7jK9mN1", "c": "aB3dE5gH7jK9mN1"},
		map[string]any{"a": "${env:A}", "b": "${env:B}", "c": "aB3dE5gH7jK9mN1"})
	assert.Equal(t, map[string]any{"a": Mask, "b": Mask, "c": "aB3dE5gH7jK9mN1"}, result.Config, "what is written elsewhere as well stays")
	assert.Equal(t, "dial gateway.example.com as "+Mask, rules.Text("dial gateway.example.com as aB3dE5gH7jK9mN1", result.Secrets))
}

// What is part of the mask is no secret to look for: it would be found in the mask.
func TestASecretThatIsPartOfTheMask(t *testing.T) {
	var none *Secrets
	known := none.With(Mask, strings.TrimSuffix(Mask, "]"), Mask[1:])
	assert.Equal(t, "[REDACTED", mustRules(t, Options{}).Text("[REDACTED", known))
}

// A text that was cut off in the middle of a secret does not give away the half of it.
func TestHalfASecretAtTheEndOfAText(t *testing.T) {
	var none *Secrets
	known := none.With("correct horse battery staple")
	rules := mustRules(t, Options{})
	for text, want := range map[string]string{
		"refused: correct horse battery staple":  "refused: " + Mask,
		"refused: correct horse battery stapl…":  "refused: " + Mask + "…",
		"refused: correct hor…":                  "refused: " + Mask + "…",
		"refused: correct horse battery st":      "refused: " + Mask,
		"refused: correct hor...":                "refused: " + Mask + "...",
		"that is corr…":                          "that is corr…",
		"that is correct":                        "that is correct",
		"correct horse battery staple, correct…": Mask + ", " + Mask + "…",
		"…": "…",
	} {
		assert.Equal(t, want, rules.Text(text, known), text)
		assert.Equal(t, want, rules.Text(want, known), "masking twice is masking once")
	}
}
