// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"go.yaml.in/yaml/v3"
)

// canaryMark encloses a planted secret; see testdata/redaction.
var canaryMark = regexp.MustCompile(`(?s)⟦([a-z-]+):(.*?)⟧`)

// canaries are planted secrets, by what planted them.
type canaries map[string]string

// plant takes the marks out of a text and remembers what they enclosed.
func (c canaries) plant(where, text string) string {
	return canaryMark.ReplaceAllStringFunc(text, func(mark string) string {
		m := canaryMark.FindStringSubmatch(mark)
		secret := strings.ReplaceAll(m[2], "·", "")
		if !strings.HasPrefix(m[1], "provider-") { // only who has the configuration before it was expanded can know
			for _, line := range strings.Split(secret, "\n") {
				if line = strings.TrimSpace(line); line != "" && (!strings.HasPrefix(line, "-----") || !strings.Contains(secret, "\n")) {
					c[fmt.Sprintf("%s: %s %d", where, m[1], len(c))] = line
				}
			}
		}
		return secret
	})
}

// tree plants in all texts of a tree.
func (c canaries) tree(where string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = c.tree(where, v[k])
		}
	case []any:
		for i := range v {
			v[i] = c.tree(where, v[i])
		}
	case string:
		return c.plant(where, v)
	}
	return v
}

// foreignReports are first messages of agents that mask nothing: a configuration of the corpus each, its password in an
// error, and the texts of the corpus as errors and attributes.
func foreignReports(t *testing.T, c canaries) (out []*protobufs.AgentToServer) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/redaction/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var tree map[string]any
		require.NoError(t, yaml.Unmarshal(raw, &tree))
		name := filepath.Base(file)
		own := canaries{}
		tree = own.tree(name, tree).(map[string]any)
		switch {
		case strings.HasSuffix(name, ".unexpanded.yaml"):
			continue
		case name == "texts.yaml":
			out = append(out, textReport(tree))
		default:
			body, err := yaml.Marshal(tree)
			require.NoError(t, err)
			out = append(out, configReport(string(body), own))
		}
		for where, secret := range own {
			c[where] = secret
		}
	}
	return out
}

func configReport(body string, own canaries) *protobufs.AgentToServer {
	msg := foreign()
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(body), ContentType: "text/yaml"}},
	}}
	for where, secret := range own {
		if strings.Contains(where, ": password ") && len(secret) > 12 {
			addFailure(msg, "cannot log in with "+secret+" at the database")
		}
	}
	return msg
}

func textReport(tree map[string]any) *protobufs.AgentToServer {
	msg := foreign()
	for _, texts := range tree {
		for _, text := range texts.([]any) {
			addFailure(msg, text.(string))
			msg.AgentDescription.NonIdentifyingAttributes = append(msg.AgentDescription.NonIdentifyingAttributes, &protobufs.KeyValue{
				Key:   fmt.Sprint("note.", len(msg.AgentDescription.NonIdentifyingAttributes)),
				Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: text.(string)}},
			})
		}
	}
	return msg
}

func foreign() *protobufs.AgentToServer {
	msg := described("foreign")
	msg.Capabilities |= 4 | 0x800
	msg.Health = &protobufs.ComponentHealth{Status: "StatusPermanentError", ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
	return msg
}

func addFailure(msg *protobufs.AgentToServer, text string) {
	parts := msg.Health.ComponentHealthMap
	parts[fmt.Sprintf("exporter:otlp/%d", len(parts))] = &protobufs.ComponentHealth{Status: "StatusPermanentError", LastError: text}
}

// TestNoSecretOfAForeignAgentIsKeptShownOrLogged sends the corpus as agents would that mask nothing, and looks for it
// in everything that there is of the server.
func TestNoSecretOfAForeignAgentIsKeptShownOrLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	core, logs := observer.New(zap.DebugLevel)
	settings := nopSettings()
	settings.Logger = zap.New(core)
	s := newServer(configOf(t, inFile(path)), settings)
	require.NoError(t, s.Start(context.Background(), nopHost))
	planted := canaries{}
	var agents []*agent
	for _, msg := range foreignReports(t, planted) {
		a := connect(t, s)
		a.say(msg)
		for capability, data := range saidOf(msg) {
			a.say(&protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{Capability: capability, Data: data}})
		}
		agents = append(agents, a)
	}
	require.Greater(t, len(planted), 150)

	seen := map[string][]byte{}
	for _, a := range agents {
		for _, page := range []string{"/api/v1/agents/" + a.uid.String(), "/api/v1/agents/" + a.uid.String() + "/custom-messages", "/api/v1/agents/" + a.uid.String() + "/history?limit=1000", "/agents/" + a.uid.String()} {
			resp := get(t, s.webURL()+page)
			require.Equal(t, 200, resp.StatusCode, page)
			seen[page] = []byte(body(t, resp))
		}
	}
	for _, page := range []string{"/", "/api/v1/agents?limit=1000", "/api/v1/history?limit=1000"} {
		seen[page] = []byte(body(t, get(t, s.webURL()+page)))
	}
	for s.keeper.Stats().Events < s.fleet.LastEvent() {
		continue // it is written behind
	}
	look := func(when string) {
		files, err := filepath.Glob(path + "*")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			seen[when+" "+filepath.Base(file)] = content
		}
	}
	look("while it runs")
	var stored strings.Builder
	configs := 0
	for _, a := range agents { // what is compressed on disk, as it is read back
		loaded, ok := s.fleet.Agent(a.uid)
		require.True(t, ok)
		if loaded.Config == nil {
			continue
		}
		configs++
		c, err := s.keeper.Config(context.Background(), loaded.Config.Sum())
		require.NoError(t, err)
		require.NotNil(t, c)
		for _, f := range c.Files {
			stored.WriteString(f.Body)
		}
		assert.NotEqual(t, "[REDACTED]", c.Files[0].Body)
	}
	require.Greater(t, configs, 40)
	seen["configs in the database"] = []byte(stored.String())
	require.NoError(t, s.Shutdown(context.Background()))
	look("after it stopped")
	s = newServer(configOf(t, inFile(path)), settings)
	require.NoError(t, s.Start(context.Background(), nopHost))
	said := 0
	for _, a := range agents { // what is compressed on disk, as it is read back
		loaded, ok := s.fleet.Agent(a.uid)
		require.True(t, ok)
		for _, c := range loaded.Channels {
			said++
			require.Len(t, c.Last, 1)
			seen["said "+a.uid.String()+" "+c.Capability] = c.Last[0].Data
		}
	}
	require.Equal(t, 3*len(agents), said)
	require.NoError(t, s.Shutdown(context.Background()))
	seen["log"] = []byte(fmt.Sprint(logs.All()))

	hits := 0
	for where, content := range seen {
		for name, secret := range planted {
			if bytes.Contains(content, []byte(secret)) || bytes.Contains(content, []byte(jsonText(secret))) {
				hits++
				t.Errorf("%s has the secret of %s", where, name)
			}
		}
	}
	t.Logf("%d secrets looked for in %d places (%d configs): %d found", len(planted), len(seen), configs, hits)
}

// saidOf is what an agent fails with, as custom messages: a text, a long one, and one that only begins as a text.
func saidOf(msg *protobufs.AgentToServer) map[string][]byte {
	var failures strings.Builder
	for _, part := range msg.GetHealth().GetComponentHealthMap() {
		failures.WriteString(part.GetLastError() + "\n")
	}
	return map[string][]byte{
		"com.example.text": []byte(failures.String()),
		"com.example.long": []byte(failures.String() + strings.Repeat("and more\n", 4000)),
		"com.example.data": append([]byte(failures.String()+strings.Repeat("and more\n", 600)), 0xff),
	}
}

// jsonText is a text as it stands in JSON.
func jsonText(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }
