// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/localaws"
)

// base is what the configurations of the tests share. A test's own file is merged over it.
const base = `
receivers:
  nop:
exporters:
  nop:
service:
  telemetry:
    logs: {level: info, encoding: json, sampling: {enabled: false}}
    metrics: {level: none}
  pipelines:
    metrics:
      receivers: [nop]
      exporters: [nop]
`

const (
	readyLine = "Everything is ready. Begin running and processing data."
	// reapLimit is how long a process may take to end once it is told to. A collector's own
	// shutdown is a matter of milliseconds.
	reapLimit = 20 * time.Second
)

// logLine is one line of a collector's log.
type logLine struct {
	Level  string `json:"level"`
	Text   string `json:"msg"`
	Error  string `json:"error"`
	Reason string `json:"reason"`
	ID     string `json:"otelcol.component.id"`
	// Of the S3 receiver.
	Key          string `json:"key"`
	ReceiveCount int    `json:"receive_count"`

	Raw string `json:"-"`
}

// collector is a running process of a distribution.
type collector struct {
	// Fixed at construction.
	cmd   *exec.Cmd
	began time.Time
	done  chan struct{} // closed when the process has ended and its log is read

	mu   sync.Mutex
	log  []logLine     // guarded by mu
	more chan struct{} // guarded by mu: closed and replaced at each line
}

// startCollector starts the binary on base and config, and ends it with the test.
func startCollector(t *testing.T, binary, config string) *collector {
	t.Helper()
	dir := t.TempDir()
	return startOn(t, binary, writeFile(t, dir, "base.yaml", base), writeFile(t, dir, "config.yaml", config))
}

// startOn starts the binary on configuration files.
func startOn(t *testing.T, binary string, files ...string) *collector {
	t.Helper()
	args := make([]string, 0, len(files))
	for _, file := range files {
		args = append(args, "--config="+file)
	}
	return startCommand(t, exec.Command(binary, args...))
}

// startCommand starts a program that is a collector, or runs one.
func startCommand(t *testing.T, cmd *exec.Cmd) *collector {
	t.Helper()
	c := &collector{
		cmd:   cmd,
		began: time.Now(),
		done:  make(chan struct{}),
		more:  make(chan struct{}),
	}
	out, in := io.Pipe()
	c.cmd.Stdout, c.cmd.Stderr = in, in
	c.cmd.Env = append(append(cmd.Environ(), "GOMAXPROCS=2"), localaws.Environment()...)
	require.NoError(t, c.cmd.Start())
	var reader sync.WaitGroup
	reader.Go(func() { c.readLog(out) })
	go func() {
		_ = c.cmd.Wait() // the exit code is read from ProcessState
		_ = in.Close()
		reader.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(cmd.Path), c.text())
		}
	})
	return c
}

func (c *collector) readLog(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := logLine{Raw: lines.Text()}
		_ = json.Unmarshal(lines.Bytes(), &line) // what isn't JSON is Raw alone
		c.mu.Lock()
		c.log = append(c.log, line)
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
	}
}

// lines is the log so far, and a channel that closes when there is more.
func (c *collector) lines() ([]logLine, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log), c.more
}

func (c *collector) text() string {
	lines, _ := c.lines()
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(line.Raw + "\n")
	}
	return text.String()
}

// matching is the lines so far that ok takes.
func (c *collector) matching(ok func(logLine) bool) []logLine {
	lines, _ := c.lines()
	return slices.DeleteFunc(lines, func(line logLine) bool { return !ok(line) })
}

// waitLines waits until ok takes n lines.
func (c *collector) waitLines(t *testing.T, n int, what string, ok func(logLine) bool) []logLine {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		_, more := c.lines()
		if found := c.matching(ok); len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-c.done:
			require.GreaterOrEqual(t, len(c.matching(ok)), n, "the process ended before its log said: %s", what)
		case <-deadline.C:
			require.Fail(t, "the log does not say: "+what)
		}
	}
}

// waitReady waits until the collector has said n times that it is ready: once, and once more after
// each reload.
func (c *collector) waitReady(t *testing.T, n int) {
	t.Helper()
	c.waitLines(t, n, readyLine, func(line logLine) bool { return line.Text == readyLine })
}

// waitText is the same for a collector whose log is for people.
func (c *collector) waitText(t *testing.T, text string) {
	t.Helper()
	c.waitLines(t, 1, text, func(line logLine) bool { return strings.Contains(line.Raw, text) })
}

func (c *collector) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(signal))
}

// stop asks the collector to end, as a service manager does, and returns how long that took.
func (c *collector) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	c.signal(t, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(reapLimit):
		require.Fail(t, "the collector does not end")
	}
	require.Equal(t, 0, c.cmd.ProcessState.ExitCode(), "exit code")
	return time.Since(began)
}

// kill ends the process at once. Killing twice is harmless.
func (c *collector) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// run runs the binary to its end and returns what it printed.
func run(t *testing.T, binary string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "it does not end")
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), err
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}
