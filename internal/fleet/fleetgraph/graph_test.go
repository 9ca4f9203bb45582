// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetgraph

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var update = flag.Bool("update", false, "write the golden files anew")

func agentOf(tb testing.TB, config string, health *protobufs.ComponentHealth) *fleet.Agent {
	msg := &protobufs.AgentToServer{Capabilities: 1, Health: health}
	if config != "" {
		msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(config)}},
		}}
	}
	a, _, _ := fleet.Apply(nil, fleet.Input{UID: opampwire.InstanceUID{1}, Msg: msg, Now: time.Unix(1_800_000_000, 0)})
	require.NotNil(tb, a)
	return a
}

// healthOfWords reads words such as pipeline:traces/exporter:otlp=StatusRecoverableError:refused.
func healthOfWords(words ...string) *protobufs.ComponentHealth {
	root := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK"}
	for _, w := range words {
		path, verdict, _ := strings.Cut(w, "=")
		node := root
		for part := range strings.SplitSeq(path, ">") {
			if node.ComponentHealthMap == nil {
				node.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
			}
			if node.ComponentHealthMap[part] == nil {
				node.ComponentHealthMap[part] = &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK"}
			}
			node = node.ComponentHealthMap[part]
		}
		if verdict != "" {
			node.Status, node.LastError, _ = strings.Cut(verdict, ":")
			node.Healthy = false
		}
	}
	return root
}

// Each testdata/*.yaml is a config; comments that begin with #! are its health. The golden file beside it is the graph.
func TestGraphs(t *testing.T) {
	names, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(names), 5)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		var health []string
		for line := range strings.Lines(string(raw)) {
			if word, ok := strings.CutPrefix(line, "#! "); ok {
				health = append(health, strings.TrimSpace(word))
			}
		}
		g := Of(agentOf(t, string(raw), healthOfWords(health...)))
		check(t, g)
		got := dump(g)
		golden := strings.TrimSuffix(name, ".yaml") + ".golden"
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), got, name)
		assert.Equal(t, g, Of(agentOf(t, string(raw), healthOfWords(health...))), "drawn again, it is the same")
	}
}

func dump(g Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%dx%d", g.Width, g.Height)
	if g.Problem != "" {
		fmt.Fprintf(&b, " problem=%q", g.Problem)
	}
	b.WriteString("\n")
	for _, p := range g.Pipelines {
		fmt.Fprintf(&b, "lane %s %v %s\n", p.Name, p.Box, p.State)
	}
	for i, n := range g.Nodes {
		fmt.Fprintf(&b, "node %d %s %s in %s %v %s %q undeclared=%t\n", i, n.Role, n.ID(), g.Pipelines[n.Pipeline].Name, n.Box, n.State, n.Error, n.Undeclared)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "edge %d-%d connector=%t %d,%d %d,%d\n", e.From, e.To, e.Connector, e.X1, e.Y1, e.X2, e.Y2)
	}
	for _, e := range g.Extensions {
		fmt.Fprintf(&b, "extension %s %v %s undeclared=%t\n", e.Name, e.Box, e.State, e.Undeclared)
	}
	for _, r := range g.Table() {
		fmt.Fprintf(&b, "row %s | %s | %s | %s | %v\n", r.Pipeline, r.Role, r.Name, r.Health.State, r.To)
	}
	return b.String()
}

// check holds what is true of every drawing: all of it is inside, and nothing lies over anything else.
func check(t *testing.T, g Graph) {
	t.Helper()
	require.LessOrEqual(t, len(g.Nodes), maxNodes)
	require.LessOrEqual(t, len(g.Edges), maxEdges)
	require.LessOrEqual(t, len(g.Pipelines), maxPipelines)
	require.LessOrEqual(t, len(g.Extensions), maxNodes)
	var boxes []Box
	for _, n := range g.Nodes {
		lane := g.Pipelines[n.Pipeline].Box
		require.True(t, within(n.Box, lane), "%v is not in %v", n.Box, lane)
		boxes = append(boxes, n.Box)
	}
	for _, e := range g.Extensions {
		boxes = append(boxes, e.Box)
	}
	for i, a := range boxes {
		require.True(t, within(a, Box{0, 0, g.Width, g.Height}))
		for _, b := range boxes[i+1:] {
			require.False(t, overlap(a, b), "%v lies over %v", a, b)
		}
	}
	for i, a := range g.Pipelines {
		for _, b := range g.Pipelines[i+1:] {
			require.False(t, overlap(a.Box, b.Box))
		}
	}
}

func within(a, b Box) bool {
	return a.X >= b.X && a.Y >= b.Y && a.X+a.Width <= b.X+b.Width && a.Y+a.Height <= b.Y+b.Height
}

func overlap(a, b Box) bool {
	return a.X < b.X+b.Width && b.X < a.X+a.Width && a.Y < b.Y+b.Height && b.Y < a.Y+a.Height
}

func TestWithoutConfig(t *testing.T) {
	g := Of(agentOf(t, "", healthOfWords(
		"pipeline:traces>receiver:otlp", "pipeline:traces>processor:batch", "pipeline:traces>connector:count",
		"pipeline:metrics>connector:count", "pipeline:metrics>exporter:otlp=StatusPermanentError:no", "extensions>extension:opamp",
	)))
	check(t, g)
	assert.True(t, g.FromHealth)
	assert.Equal(t, "it tells no config", g.Problem)
	assert.Len(t, g.Pipelines, 2)
	assert.Len(t, g.Nodes, 5)
	assert.Len(t, g.Extensions, 1)
	connectors := 0
	for _, e := range g.Edges {
		if e.Connector {
			connectors++
		}
	}
	assert.Equal(t, 1, connectors)

	nothing := Of(agentOf(t, "", nil))
	assert.Empty(t, nothing.Nodes)
	assert.Equal(t, "its config has no pipelines", Of(agentOf(t, "a: b", nil)).Problem)
	assert.Contains(t, Of(agentOf(t, "a: [", nil)).Problem, "its config can't be read")
}

func TestHostileConfigs(t *testing.T) {
	var many strings.Builder
	many.WriteString("service:\n  pipelines:\n")
	for p := range 200 {
		fmt.Fprintf(&many, "    traces/%d:\n      receivers: [%s]\n      exporters: [%s]\n", p,
			strings.Repeat(fmt.Sprintf("a/%d,", p), 50), strings.Repeat(fmt.Sprintf("b/%d,", p), 50))
	}
	g := Of(agentOf(t, many.String(), nil))
	check(t, g)
	assert.Equal(t, 200*100+100-maxNodes, g.Omitted, "each component and pipeline that is not drawn")

	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9))
	}
	assert.NotEmpty(t, Of(agentOf(t, bomb+"service: {pipelines: {traces: {receivers: *y}}}\n", nil)).Problem)

	ring := "connectors: {c1: , c2: }\nservice:\n  pipelines:\n    traces/a: {receivers: [c2], exporters: [c1]}\n" +
		"    traces/b: {receivers: [c1], exporters: [c2, c1]}\n"
	g = Of(agentOf(t, ring, nil))
	check(t, g)
	assert.Len(t, g.Pipelines, 2)
}

func FuzzOf(f *testing.F) {
	f.Add("connectors: {c: }\nservice:\n  pipelines:\n    traces: {receivers: [c], processors: [p], exporters: [c]}\n")
	f.Add("service: {extensions: [a], pipelines: {x: {exporters: y}}}")
	f.Fuzz(func(t *testing.T, config string) {
		if len(config) > 1<<16 {
			return
		}
		check(t, Of(agentOf(t, config, nil)))
	})
}
