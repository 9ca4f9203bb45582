// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// The values hide in different places and look like nothing in particular, so that only
// the rules for the place can find them. The one from the environment is random, as
// secrets are: a name like "production" is looked for in the configuration only.
const (
	keyCanary      = "grZ7-yellow-tractor"
	userCanary     = "mQ9-quiet-harbour"
	envCanary      = "pL4xQz81Rt0bVm3KwN7e"
	headerCanary   = "tV2-silent-orchard"
	describeCanary = "xK8-wooden-lantern"
	extraCanary    = "nB5-distant-copper"
)

var everyCanary = []string{keyCanary, userCanary, envCanary, headerCanary, describeCanary, extraCanary}

func canarySnapshot() extensioncapabilities.ConfigSnapshot {
	tree := func(env string) map[string]any {
		return map[string]any{
			"exporters": map[string]any{"otlphttp": map[string]any{
				"endpoint": "https://me:" + userCanary + "@backend.example.com:4318",
				"api_key":  keyCanary,
				"headers":  map[string]any{"x-tenant-token": headerCanary},
				"dataset":  env,
				"codename": extraCanary,
				"timeout":  "5s",
			}},
			"service": map[string]any{"pipelines": map[string]any{"traces": map[string]any{"exporters": []any{"otlphttp"}}}},
		}
	}
	return extensioncapabilities.NewConfigSnapshot(
		confmap.NewFromStringMap(tree(envCanary)), confmap.NewFromStringMap(tree("${env:DATASET}")))
}

func requireClean(t *testing.T, where, text string) {
	t.Helper()
	for _, canary := range everyCanary {
		assert.NotContains(t, text, canary, where)
	}
}

func TestNoSecretLeaves(t *testing.T) {
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			logger, logs := logged(zap.DebugLevel)
			set := newSettings("secrets-" + scheme)
			set.Logger = logger
			e := newTestExtension(t, configFor(server.URL(scheme).String(), func(c *Config) {
				c.ReportsRawConfig = true
				c.Redaction.Keys = []string{"codename"}
				c.AgentDescription.NonIdentifyingAttributes = map[string]string{
					"deploy.token": describeCanary, "team": "payments",
				}
			}), set)
			require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
			require.NoError(t, e.NotifyConfigSnapshot(t.Context(), canarySnapshot()))
			e.ComponentStatusChanged(someExporter, componentstatus.NewEvent(componentstatus.StatusOK))
			require.NoError(t, e.Ready())

			// What an exporter's error and its attributes may carry, the value from the
			// environment among them, which nothing but the configuration tells.
			attributes := pcommon.NewMap()
			attributes.PutStr("request", "POST https://me:"+userCanary+"@backend.example.com/?dataset="+envCanary)
			e.ComponentStatusChanged(someExporter, componentstatus.NewEvent(componentstatus.StatusPermanentError,
				componentstatus.WithError(fmt.Errorf("rejected %s: Authorization: Bearer %s, %s", keyCanary, headerCanary, envCanary)),
				componentstatus.WithAttributes(attributes)))
			seen := []opamptest.Heard{server.NextWith(t, func(h opamptest.Heard) bool { return h.EffectiveConfig != nil })}
			seen = append(seen, nextFrom(t, server, seen[0], func(h opamptest.Heard) bool {
				return strings.Contains(prototext.Format(h.Health), "rejected")
			}))

			for _, h := range append(seen, server.Rest()...) {
				requireClean(t, "on the wire", prototext.Format(h.AgentToServer))
			}
			objects := seen[0].GetEffectiveConfig().GetConfigMap().GetConfigMap()
			require.Len(t, objects, 2)
			for _, kept := range []string{"backend.example.com:4318", "timeout: 5s", "[REDACTED]"} {
				assert.Contains(t, string(objects[""].GetBody()), kept)
			}
			assert.Contains(t, string(objects["raw"].GetBody()), "${env:DATASET}", "where it comes from may be known")
			assert.Equal(t, "payments", textOf(seen[0].GetAgentDescription().GetNonIdentifyingAttributes(), "team"))
			for _, entry := range logs.All() {
				requireClean(t, "in the log", fmt.Sprint(entry.Message, entry.ContextMap()))
			}
		})
	}
}

func TestLogOfAFailureHoldsNoSecret(t *testing.T) {
	logger, logs := logged(zap.DebugLevel)
	r, err := newRedactor(&RedactionConfig{})
	require.NoError(t, err)
	_, masked, err := r.effectiveConfig(canarySnapshot().Effective(), canarySnapshot().Unexpanded(), false)
	require.NoError(t, err)
	assert.Positive(t, masked)

	clean := r.logger(logger).With(zap.String("with", keyCanary))
	clean.Warn("it failed", zap.Error(errors.New("dial https://me:"+userCanary+"@h: "+envCanary)), zap.String("text", headerCanary))
	require.Equal(t, 1, logs.Len())
	requireClean(t, "in the log", fmt.Sprint(logs.All()[0].ContextMap()))
	assert.Contains(t, logs.All()[0].ContextMap()["error"], "dial https://")
}

// The Collector masks an opaque field before an extension sees it, but not the exporter's
// error that repeats what was in it.
func TestSecretOfAnOpaqueFieldIsKnownByItsVariable(t *testing.T) {
	t.Setenv("FLEETVIEW_TEST_TOKEN", "correct horse battery")
	tree := func(token string) *confmap.Conf {
		return confmap.NewFromStringMap(map[string]any{"exporters": map[string]any{"x": map[string]any{"token": token}}})
	}
	r, err := newRedactor(&RedactionConfig{})
	require.NoError(t, err)
	_, _, err = r.effectiveConfig(tree("[REDACTED]"), tree("${env:FLEETVIEW_TEST_TOKEN}"), false)
	require.NoError(t, err)
	assert.Equal(t, "server refused [REDACTED]", r.text("server refused correct horse battery"))
}

// What stands in the unexpanded configuration alone is known, too: the default of a
// reference in an opaque field, and headers, which the Collector shows there
// (opentelemetry-collector issue 15980).
func TestSecretOfTheUnexpandedConfigurationIsKnown(t *testing.T) {
	tree := func(token, header string) *confmap.Conf {
		return confmap.NewFromStringMap(map[string]any{"exporters": map[string]any{"x": map[string]any{
			"token": token, "headers": map[string]any{"x-vendor": header},
		}}})
	}
	r, err := newRedactor(&RedactionConfig{})
	require.NoError(t, err)
	_, _, err = r.effectiveConfig(tree("[REDACTED]", "[REDACTED]"), tree("${env:FLEETVIEW_UNSET:-horse-battery}", "staple-correct"), false)
	require.NoError(t, err)
	assert.Equal(t, "[REDACTED] and [REDACTED] were refused", r.text("horse-battery and staple-correct were refused"))
}

// Who the agent is has a name from the environment in many places: a node's, which also stands
// in an endpoint, or the instance UID. A token does not become a name by standing there.
func TestDescriptionShowsNamesAndNoSecrets(t *testing.T) {
	const node, token, uid = "node-7.pool.example", "correct horse battery", "0199e6a0-0000-7000-8000-000000000001"
	t.Setenv("FLEETVIEW_TEST_TOKEN", token)
	tree := func(token, node, uid string) *confmap.Conf {
		return confmap.NewFromStringMap(map[string]any{
			"receivers": map[string]any{"kubeletstats": map[string]any{"endpoint": "https://" + node + ":10250"}},
			"exporters": map[string]any{"x": map[string]any{"token": token}},
			"extensions": map[string]any{"opamp": map[string]any{
				"instance_uid":      uid,
				"agent_description": map[string]any{"non_identifying_attributes": map[string]any{"k8s.node.name": node}},
			}},
		})
	}
	server := opamptest.NewServer(t, opamptest.Script{})
	e := newTestExtension(t, configFor(server.URL("ws").String(), func(c *Config) {
		c.InstanceUID = uid
		c.AgentDescription.NonIdentifyingAttributes = map[string]string{"k8s.node.name": node, "note": "with " + token}
	}), newSettings("description"))
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { // it is described before the configuration is known
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.facts.InstanceUID != ""
	}, patience, time.Millisecond)
	require.NoError(t, e.NotifyConfigSnapshot(t.Context(), extensioncapabilities.NewConfigSnapshot(
		tree("[REDACTED]", node, uid),
		tree("${env:FLEETVIEW_TEST_TOKEN}", "${env:NODE}", "${env:UID}"))))
	description := server.Next(t).GetAgentDescription()
	assert.Equal(t, uid, textOf(description.GetIdentifyingAttributes(), "service.instance.id"))
	assert.Equal(t, node, textOf(description.GetNonIdentifyingAttributes(), "k8s.node.name"))
	assert.Equal(t, "with [REDACTED]", textOf(description.GetNonIdentifyingAttributes(), "note"))
}

// A configuration that is not reported has secrets as well.
func TestErrorsHoldNoSecretOfAConfigurationThatIsNotReported(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	e := newTestExtension(t, configFor(server.URL("ws").String(), func(c *Config) {
		c.Capabilities.ReportsEffectiveConfig = false
	}), newSettings("unreported"))
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, e.NotifyConfigSnapshot(t.Context(), canarySnapshot()))
	e.ComponentStatusChanged(someExporter, componentstatus.NewPermanentErrorEvent(errors.New("rejected "+envCanary)))
	require.NoError(t, e.Ready())
	heard := server.NextWith(t, func(h opamptest.Heard) bool { return strings.Contains(prototext.Format(h.Health), "rejected") })
	requireClean(t, "on the wire", prototext.Format(heard.AgentToServer))
	assert.Nil(t, heard.GetEffectiveConfig())
}

func TestRawConfigIsReportedOnlyWhenAskedFor(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{Refuse: func(http.ResponseWriter, *http.Request) bool { return false }})
	startExtension(t, configFor(server.URL("ws").String()), newSettings("no-raw"))
	first := server.NextWith(t, func(h opamptest.Heard) bool { return h.EffectiveConfig != nil })
	assert.Len(t, first.GetEffectiveConfig().GetConfigMap().GetConfigMap(), 1)
}
