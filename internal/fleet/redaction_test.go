// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/redact"
)

const secretToken = "Zq8vK2mXw4Lr9TbN7pYc"

func redacting(tb testing.TB, l Limits) *Fleet {
	tb.Helper()
	rules, err := redact.New(redact.Options{})
	require.NoError(tb, err)
	return New(Settings{Redact: rules, Limits: l})
}

// secretConfig is a config with a token in it.
func secretConfig(token string) string {
	return "exporters:\n  otlp:\n    headers:\n      authorization: " + token + "\n"
}

func failing(text string) *protobufs.ComponentHealth {
	return &protobufs.ComponentHealth{Status: statusPermanentError, LastError: text}
}

func errorOf(t *testing.T, f *Fleet, name string) string {
	t.Helper()
	a, ok := f.Agent(scenarioUID(name))
	require.True(t, ok)
	return a.Health.LastError
}

func TestASecretThatComesBackIsMasked(t *testing.T) {
	f := redacting(t, Limits{})
	msg := fullReport(0)
	msg.EffectiveConfig, msg.Health = scenarioConfig(secretConfig(secretToken)), failing("rejected: "+secretToken)
	f.Report(testConn, reportOf("a", msg), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	assert.Equal(t, 1, a.Config.Masked)
	assert.NotContains(t, a.Config.Files[0].Body, secretToken)
	assert.Equal(t, "rejected: [REDACTED]", a.Health.LastError)

	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 1, Health: failing("again: " + secretToken)}), testNow)
	assert.Equal(t, "again: [REDACTED]", errorOf(t, f, "a"), "later messages too")
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 2}), testNow)
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 3, Health: failing("once more: " + secretToken)}), testNow)
	assert.Equal(t, "once more: [REDACTED]", errorOf(t, f, "a"), "a heartbeat forgets nothing")
	for _, e := range f.Events(EventQuery{}).Events {
		assert.NotContains(t, e.Detail, secretToken)
	}
}

// TestSecretsOfTheConfigBeforeComeBackLate where what went wrong with it is told after the one that followed it.
func TestSecretsOfTheConfigBeforeComeBackLate(t *testing.T) {
	f := redacting(t, Limits{})
	const old, other = "Hd5gT9sQ1xVb3Zr7NfWk", "K3wR8yPc6Jm2Xt5Ls9Qd"
	configs := []string{secretConfig(other), secretConfig(old), secretConfig(secretToken), secretConfig(secretToken) + "# again\n"}
	for i, config := range configs {
		msg := fullReport(uint64(i))
		msg.EffectiveConfig = scenarioConfig(config)
		f.Report(testConn, reportOf("a", msg), testNow)
	}
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 4, Health: failing("no: " + old + " nor " + secretToken)}), testNow)
	assert.Equal(t, "no: [REDACTED] nor [REDACTED]", errorOf(t, f, "a"))
}

// TestErrorsOfAConfigThatWasCutAreWithheld for its secrets may be in the rest.
func TestErrorsOfAConfigThatWasCutAreWithheld(t *testing.T) {
	f := redacting(t, Limits{MaxConfigBytes: 100})
	msg := fullReport(0)
	msg.EffectiveConfig, msg.Health = scenarioConfig(strings.Repeat("# a comment\n", 10)+"password: "+secretToken+"\n"), failing("no: "+secretToken)
	f.Report(testConn, reportOf("a", msg), testNow)
	assert.Equal(t, redact.Mask, errorOf(t, f, "a"))
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 1, Health: failing("still not: " + secretToken)}), testNow)
	assert.Equal(t, redact.Mask, errorOf(t, f, "a"))

	a, _ := f.Agent(scenarioUID("a"))
	again := redacting(t, Limits{MaxConfigBytes: 100})
	again.Restore([]*Agent{roundTrip(t, a)}, f.LastEvent(), testNow)
	again.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 2, Health: failing("after a restart: " + secretToken)}), testNow)
	assert.Equal(t, redact.Mask, errorOf(t, again, "a"))

	msg = fullReport(3)
	msg.EffectiveConfig, msg.Health = scenarioConfig(secretConfig(secretToken)), failing("short: "+secretToken)
	f.Report(testConn, reportOf("a", msg), testNow)
	assert.Equal(t, "short: [REDACTED]", errorOf(t, f, "a"))
}

// TestTwoAgentsWhoseConfigsDifferInTheirSecrets have the same config once it is masked.
func TestTwoAgentsWhoseConfigsDifferInTheirSecrets(t *testing.T) {
	f := redacting(t, Limits{})
	const other = "Hd5gT9sQ1xVb3Zr7NfWk"
	for name, token := range map[string]string{"a": secretToken, "b": other} {
		msg := fullReport(0)
		msg.EffectiveConfig, msg.Health = scenarioConfig(secretConfig(token)), failing("no: "+token)
		f.Report(testConn, reportOf(name, msg), testNow)
		assert.Equal(t, "no: [REDACTED]", errorOf(t, f, name))
	}
	a, _ := f.Agent(scenarioUID("a"))
	b, _ := f.Agent(scenarioUID("b"))
	assert.Same(t, a.Config, b.Config)
	f.Report(testConn, reportOf("b", &protobufs.AgentToServer{SequenceNum: 1, Health: failing("still: " + other)}), testNow)
	assert.Equal(t, "still: [REDACTED]", errorOf(t, f, "b"))
}

func TestErrorsAreWithheldUntilTheConfigIsKnown(t *testing.T) {
	f := redacting(t, Limits{})
	caps := uint64(1 | 4 | 0x800)
	reply := f.Report(testConn, reportOf("a", &protobufs.AgentToServer{Capabilities: caps, Health: failing("early: " + secretToken)}), testNow)
	assert.NotZero(t, reply.GetFlags()&1, "it is asked for the rest")
	assert.Equal(t, redact.Mask, errorOf(t, f, "a"))
	msg := fullReport(1)
	msg.EffectiveConfig, msg.Health = scenarioConfig(secretConfig(secretToken)), failing("known: "+secretToken)
	f.Report(testConn, reportOf("a", msg), testNow)
	assert.Equal(t, "known: [REDACTED]", errorOf(t, f, "a"))

	// After a restart nobody knows the secrets any more, so the agent is asked.
	a, _ := f.Agent(scenarioUID("a"))
	again := redacting(t, Limits{})
	again.Restore([]*Agent{roundTrip(t, a)}, f.LastEvent(), testNow)
	reply = again.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 2, Health: failing("new: " + secretToken)}), testNow)
	assert.NotZero(t, reply.GetFlags()&1)
	assert.Equal(t, redact.Mask, errorOf(t, again, "a"))

	// An agent that masks its own has nothing to hide, and is not asked.
	plain := fullReport(0)
	plain.EffectiveConfig = scenarioConfig("exporters:\n  otlp:\n    headers:\n      authorization: '[REDACTED]'\n")
	f.Report(testConn, reportOf("b", plain), testNow)
	b, _ := f.Agent(scenarioUID("b"))
	again.Restore([]*Agent{roundTrip(t, b)}, 0, testNow)
	reply = again.Report(testConn, reportOf("b", &protobufs.AgentToServer{SequenceNum: 1, Health: failing("connection refused")}), testNow)
	assert.Zero(t, reply.GetFlags())
	assert.Equal(t, "connection refused", errorOf(t, again, "b"))

	// One without a config has nothing to wait for.
	f.Report(testConn, reportOf("c", &protobufs.AgentToServer{Capabilities: 1 | 0x800, Health: failing("no config")}), testNow)
	assert.Equal(t, "no config", errorOf(t, f, "c"))
}

func TestAttributesAreMaskedByNameAndByShape(t *testing.T) {
	f := redacting(t, Limits{})
	msg := fullReport(0)
	bytesValue := &protobufs.AnyValue{Value: &protobufs.AnyValue_BytesValue{BytesValue: []byte("hunter2hunter2")}}
	list := &protobufs.AnyValue{Value: &protobufs.AnyValue_ArrayValue{ArrayValue: &protobufs.ArrayValue{Values: []*protobufs.AnyValue{textValue("Bearer " + secretToken)}}}}
	nested := &protobufs.AnyValue{Value: &protobufs.AnyValue_KvlistValue{KvlistValue: &protobufs.KeyValueList{Values: []*protobufs.KeyValue{{Key: "password", Value: textValue("hunter2hunter2")}}}}}
	msg.AgentDescription.NonIdentifyingAttributes = []*protobufs.KeyValue{
		{Key: "api_token", Value: textValue("hunter2hunter2")},
		{Key: "api_token", Value: textValue("another-hunter2")},
		{Key: "team", Value: textValue("payments")},
		{Key: "note", Value: textValue("see https://u:hunter2hunter2@h/")},
		{Key: "db.password", Value: bytesValue},
		{Key: "lines", Value: list},
		{Key: "map", Value: nested},
	}
	f.Report(testConn, reportOf("a", msg), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	assert.Equal(t, []Attribute{
		{Key: "api_token", Value: redact.Mask},
		{Key: "api_token", Value: redact.Mask},
		{Key: "team", Value: "payments"},
		{Key: "note", Value: "see https://u:[REDACTED]@h/"},
		{Key: "db.password", Value: []byte(redact.Mask)},
		{Key: "lines", Value: []any{"Bearer [REDACTED]"}},
		{Key: "map", Value: []Attribute{{Key: "password", Value: redact.Mask}}},
	}, a.Description.NonIdentifying)
	assert.NotContains(t, a.search, "hunter2")
}

func TestAConfigThatIsTooBigIsCutAtALine(t *testing.T) {
	f := redacting(t, Limits{MaxConfigBytes: 100})
	body := "a: 1\n" + strings.Repeat("# a line that is long enough to be too much\n", 2) + "password: " + secretToken + "\n"
	msg := fullReport(0)
	msg.EffectiveConfig = scenarioConfig(body)
	f.Report(testConn, reportOf("a", msg), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	file := a.Config.Files[0]
	assert.True(t, file.Truncated)
	assert.Equal(t, len(body), file.Size)
	assert.NotContains(t, file.Body, secretToken[:4])
	assert.Equal(t, uint64(1), f.Stats().Cuts[CutConfigBytes])
}

// TestNoMoreIsLookedAtThanIsKept of many files as of one, so that what a message costs is bounded by that.
func TestNoMoreIsLookedAtThanIsKept(t *testing.T) {
	f := redacting(t, Limits{MaxConfigBytes: 1000})
	files := map[string]*protobufs.AgentConfigObject{}
	for i := range 10 {
		files[fmt.Sprint(i)] = &protobufs.AgentConfigObject{Body: []byte(strings.Repeat("# a comment\n", 30) + "password: " + secretToken + "\n")}
	}
	msg := fullReport(0)
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{ConfigMap: files}}
	msg.AgentDescription.NonIdentifyingAttributes = []*protobufs.KeyValue{{Key: "note", Value: textValue(strings.Repeat("password=hunter2 ", 1<<16))}}
	f.Report(testConn, reportOf("a", msg), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	assert.LessOrEqual(t, f.redact.bytes, 1000)
	assert.False(t, a.Config.Files[0].Truncated)
	for _, file := range a.Config.Files[2:] {
		assert.True(t, file.Truncated)
		assert.Equal(t, len("# a comment\n")*30+len("password: \n")+len(secretToken), file.Size)
		assert.NotContains(t, file.Body, secretToken)
	}
	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 1, Health: failing("no: " + secretToken)}), testNow)
	assert.Equal(t, redact.Mask, errorOf(t, f, "a"))
}

func TestTheSameConfigIsMaskedOnce(t *testing.T) {
	f := redacting(t, Limits{})
	var first *cleaned
	for range 3 {
		c := f.redact.config([]byte(secretConfig(secretToken)), f.redact.maxConfig)
		if first == nil {
			first = c
		}
		assert.Same(t, first, c)
	}
	var wg sync.WaitGroup
	for i := range 2 * maxCleaned {
		wg.Go(func() {
			f.redact.config([]byte{'a', ':', ' ', byte('0' + i%10), byte('0' + i/10%10), byte('0' + i/100%10), byte('0' + i/1000)}, 100)
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, len(f.redact.known), maxCleaned)
	assert.Len(t, f.redact.order, len(f.redact.known))
}

// BenchmarkReportRedaction shows what masking adds to a message: nothing to a heartbeat; to a full report once for
// each config, however many agents have it.
func BenchmarkReportRedaction(b *testing.B) {
	config := strings.Repeat(secretConfig(secretToken), 1)
	for i := range 200 {
		config += "    setting_" + strings.Repeat("x", i%10) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + ": 10s\n"
	}
	message := func(i int, body string) *protobufs.AgentToServer {
		msg := fullReport(uint64(i))
		msg.EffectiveConfig, msg.Health = scenarioConfig(body), failing("connection refused")
		return reportOf("a", msg)
	}
	for name, f := range map[string]*Fleet{"off": New(Settings{}), "on": redacting(b, Limits{})} {
		b.Run("heartbeat/"+name, func(b *testing.B) {
			for i := range b.N {
				f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: uint64(i)}), testNow)
			}
		})
		b.Run("full report, config known/"+name, func(b *testing.B) {
			for i := range b.N {
				f.Report(testConn, message(i, config), testNow)
			}
		})
		b.Run("full report, another config each/"+name, func(b *testing.B) {
			for i := range b.N {
				f.Report(testConn, message(i, config+"    n: "+strings.Repeat("z", i%50000)[:min(i%50000, 20)]+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676%26))+"\n"), testNow)
			}
		})
	}
}

// Names come from agents as texts do, and a name may be an address with a password in it.
func TestNamesHoldNoSecrets(t *testing.T) {
	f := redacting(t, Limits{})
	const address, assigned = "https://u:" + secretToken + "@h/x", "token=" + secretToken
	attribute := func(key, value string) *protobufs.KeyValue {
		return &protobufs.KeyValue{Key: key, Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: value}}}
	}
	msg := fullReport(0)
	msg.AgentDescription.NonIdentifyingAttributes = append(msg.AgentDescription.NonIdentifyingAttributes, attribute(assigned, "x"))
	msg.Health = &protobufs.ComponentHealth{ComponentHealthMap: map[string]*protobufs.ComponentHealth{
		"exporter:" + address: {LastError: "no"}, "receiver:otlp": {Healthy: true},
	}}
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{address: {Body: []byte("a: b\n")}},
	}}
	msg.AvailableComponents = &protobufs.AvailableComponents{Hash: []byte("h"), Components: map[string]*protobufs.ComponentDetails{
		"receivers": {SubComponentMap: map[string]*protobufs.ComponentDetails{
			assigned: {Metadata: []*protobufs.KeyValue{attribute("password", secretToken), attribute("code.namespace", address)}},
			"otlp":   {},
		}},
	}}
	msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: []string{assigned, "x"}}
	msg.CustomMessage = &protobufs.CustomMessage{Capability: "x", Type: assigned, Data: []byte("d")}
	f.Report(testConn, reportOf("a", msg), testNow)

	a, _ := f.Agent(scenarioUID("a"))
	require.Len(t, a.Health.Children, 2)
	require.NotNil(t, a.Components)
	require.Len(t, a.Config.Files, 1)
	assert.Contains(t, a.Config.Files[0].Name, "[REDACTED]")
	told, err := json.Marshal([]any{a.Description, a.Health, a.Components, a.Config, a.CustomCapabilities, a.Channels})
	require.NoError(t, err)
	assert.Contains(t, string(told), "[REDACTED]")
	assert.NotContains(t, string(told), secretToken)
	for _, e := range f.Events(EventQuery{}).Events {
		assert.NotContains(t, fmt.Sprintf("%+v", e), secretToken)
	}
}
