// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build interop

package gateway

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Agents of others, unchanged, through a gateway to opamp-go's unchanged server. They are
// programs of their own; where one cannot be built the test fails and says why.

// program runs an agent of others until the test ends.
type program struct {
	t     *testing.T
	lines chan string
	end   func() // closes its standard input and waits
}

func runProgram(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &program{t: t, lines: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	ended := false
	p.end = func() {
		if !ended {
			ended = true
			_ = in.Close()
			<-read
			_ = cmd.Wait()
		}
	}
	t.Cleanup(p.end)
	return p
}

// hears waits for a line that begins so.
func (p *program) hears(prefix string) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			p.t.Log(line)
			if strings.HasPrefix(line, prefix) {
				return
			}
		case <-deadline:
			require.FailNow(p.t, "the agent says nothing that begins with "+prefix)
		}
	}
}

func build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

func TestInteropOpAMPGoClient(t *testing.T) {
	binary := build(t, "../interop")
	uid := opampwire.InstanceUID{0: 1, 15: 7}
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{MinConnections: 2, HTTPSilence: time.Second, Grace: 100 * time.Millisecond}, p)
			agent := runProgram(t, ".", binary, fmt.Sprintf("%s://%s/v1/opamp", scheme, r.addr))
			agent.hears("connected")
			r.eventually(func() bool { return p.agent(uid).messages > 0 }, "the server hears nothing")
			for i := range 3 {
				text := fmt.Sprintf("push-%d", i)
				p.push(uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "test.custom", Type: "t", Data: []byte(text)}})
				agent.hears("custom " + text)
			}
			p.kill()
			p.revive()
			full := p.agent(uid).full
			r.eventually(func() bool { return p.connects(uid) || p.agent(uid).full > full }, "it is not heard of again")
			agent.end()
			r.eventually(func() bool { return p.agent(uid).goodbyes > 0 }, "nobody says that it has gone")
			require.Zero(t, r.drop.counts()[ReasonMalformed])
		})
	}
}

// contrib is a collector with contrib's opamp extension.
const contrib = `
extensions:
  opamp:
    server:
      %[1]s:
        endpoint: %[1]s://%[2]s/v1/opamp%[3]s
receivers:
  nop:
exporters:
  nop:
service:
  extensions: [opamp]
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [nop], exporters: [nop]}
`

func TestInteropContribExtension(t *testing.T) {
	binary, err := filepath.Abs("../../bin/otelcol-peer")
	require.NoError(t, err)
	require.FileExists(t, binary, "make interop builds it")
	for scheme, more := range map[string]string{"ws": "", "http": "\n        polling_interval: 200ms"} {
		t.Run(scheme, func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{}, p)
			config := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, contrib, scheme, r.addr, more), 0o600))
			cmd := exec.Command(binary, "--config", config)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			t.Cleanup(func() {
				_ = cmd.Process.Signal(os.Interrupt)
				_ = cmd.Wait()
			})
			r.eventually(func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				for _, a := range p.agents {
					if a.described {
						return a.full <= 1
					}
				}
				return false
			}, "the server hears nothing, or not all")
			require.Zero(t, r.drop.counts()[ReasonMalformed])
		})
	}
}

// elastic is an agent of Elastic's client.
const elastic = `
const { createOpAMPClient } = require('@elastic/opamp-client-node');
const client = createOpAMPClient({
  endpoint: process.argv[2], heartbeatIntervalSeconds: 0.2,
  capabilities: 0n,
});
client.setAgentDescription({ identifyingAttributes: { 'service.name': 'elastic' } });
client.start();
console.log('started');
process.stdin.resume();
process.stdin.on('end', async () => { await client.shutdown({ sendDisconnect: true }); process.exit(0); });
`

func TestInteropElasticClient(t *testing.T) {
	dir := t.TempDir()
	install := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "@elastic/opamp-client-node@0.5.0")
	install.Dir = dir
	out, err := install.CombinedOutput()
	require.NoError(t, err, "needs npm: %s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent.js"), []byte(elastic), 0o600))
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	agent := runProgram(t, dir, "node", "agent.js", "http://"+r.addr+"/v1/opamp")
	agent.hears("started")
	var uid opampwire.InstanceUID
	r.eventually(func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for u, a := range p.agents {
			uid = u
			return a.messages > 3
		}
		return false
	}, "the server hears nothing")
	require.LessOrEqual(t, p.agent(uid).full, 1, "its messages arrive in order, none is lost")
	require.Zero(t, r.drop.counts()[ReasonMalformed])
}
