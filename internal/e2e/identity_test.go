// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// identityConfig is a configuration that keeps the instance UID in dir.
func identityConfig(t *testing.T, kind, dir string, server *opamptest.Server) string {
	t.Helper()
	extensions, opamp, more := "opamp", "instance_uid_file: "+filepath.Join(dir, "uid"), ""
	if kind == "storage" {
		extensions, opamp, more = "opamp, file_storage", "storage: file_storage", "file_storage: {directory: "+dir+"}"
	}
	return fmt.Sprintf(`
service:
  extensions: [%s]
extensions:
  opamp:
    server: {ws: {endpoint: "%s"}}
    %s
  %s
`, extensions, server.URL("ws"), opamp, more)
}

// life is an agent over reloads and restarts, of which the server hears.
type life struct {
	server *opamptest.Server
	config string

	c                 *collector
	ready             int // times that c said so
	conns             int // that the server has had
	reloads, restarts int
}

func (l *life) start(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	l.c, l.ready = startCollector(t, distribution(t), l.config), 0
	return l.connected(t)
}

// restart ends the collector by a signal and starts it again.
func (l *life) restart(t *testing.T, how syscall.Signal) opampwire.InstanceUID {
	t.Helper()
	l.c.signal(t, how)
	<-l.c.done
	l.restarts++
	return l.start(t)
}

func (l *life) reload(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	l.c.signal(t, syscall.SIGHUP)
	l.reloads++
	return l.connected(t)
}

// connected is the UID of the first message on the next connection of a collector that is up.
func (l *life) connected(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	l.ready++
	l.conns++
	l.c.waitReady(t, l.ready)
	return uidOf(t, l.server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == l.conns }))
}

// rename has the server assign another UID.
func (l *life) rename(t *testing.T) opampwire.InstanceUID {
	t.Helper()
	uid := opampwire.NewInstanceUID()
	l.server.Push(t, &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: uid.Bytes()}})
	l.server.NextWith(t, func(h opamptest.Heard) bool { return string(h.GetInstanceUid()) == string(uid.Bytes()) })
	return uid
}

func uidOf(t *testing.T, h opamptest.Heard) opampwire.InstanceUID {
	t.Helper()
	uid, err := opampwire.InstanceUIDFromBytes(h.GetInstanceUid())
	require.NoError(t, err)
	return uid
}

// TestIdentity follows an agent over reloads, orderly restarts and crashes. The UID is another one only
// when the server assigns it.
func TestIdentity(t *testing.T) {
	for _, kind := range []string{"file", "storage"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server, dir := opamptest.NewServer(t, opamptest.Script{}), t.TempDir()
			l := &life{server: server, config: identityConfig(t, kind, dir, server)}
			want := l.start(t)
			const chapters = 5
			for range chapters {
				for range 2 {
					require.Equal(t, want, l.reload(t), "after a reload")
				}
				require.Equal(t, want, l.restart(t, syscall.SIGTERM), "after a restart")
				require.Equal(t, want, l.restart(t, syscall.SIGKILL), "after a crash")
				want = l.rename(t)
				if kind == "file" {
					eventually(t, "the UID is in the file", func() bool { return strings.Contains(read(t, dir, "uid"), want.String()) })
					require.Equal(t, want, l.restart(t, syscall.SIGKILL), "after a crash")
				}
				require.Equal(t, want, l.restart(t, syscall.SIGTERM), "after a restart")
			}
			t.Logf("%d reloads, %d restarts, %d assignments", l.reloads, l.restarts, chapters)
		})
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(text)
}

// TestTwoCollectorsWithOneIdentity runs a second process on the place where the first keeps its UID. It
// says so and is another agent, until the first is gone.
func TestTwoCollectorsWithOneIdentity(t *testing.T) {
	for kind, key := range map[string]string{"file": "instance_uid_file", "storage": "storage"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start := func() (*life, opampwire.InstanceUID) {
				server := opamptest.NewServer(t, opamptest.Script{})
				l := &life{server: server, config: identityConfig(t, kind, dir, server)}
				uid := l.start(t)
				return l, uid
			}
			first, uid := start()
			second, other := start()
			require.NotEqual(t, uid, other)
			warnings := second.c.waitLines(t, map[string]int{"file": 1, "storage": 2}[kind], "the place is taken", func(line logLine) bool {
				return line.Level == "warn" && strings.Contains(line.Raw, `"`+key+`"`)
			})
			if kind == "file" {
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0].Text, "Another collector")
				require.Contains(t, warnings[0].Raw, filepath.Join(dir, "uid"))
			} else { // a storage keeps custom messages, too
				require.Len(t, warnings, 2)
				texts := warnings[0].Text + "\n" + warnings[1].Text
				require.Contains(t, texts, "The instance UID cannot be kept")
				require.Contains(t, texts, "the storage of custom messages")
			}
			require.Equal(t, other, second.reload(t), "the place is still taken")
			require.Equal(t, uid, first.reload(t))

			first.c.kill()
			require.Equal(t, uid, second.restart(t, syscall.SIGTERM), "the place is free")
		})
	}
}

// TestParentIsGone kills the process that the collector takes for its supervisor, and tells how long the
// collector outlives it. Until the supervisor's own parent takes notice of its end, it is a zombie.
func TestParentIsGone(t *testing.T) {
	for _, reaped := range []bool{true, false} {
		t.Run(fmt.Sprintf("reaped %t", reaped), func(t *testing.T) {
			t.Parallel()
			supervisor := exec.Command("sleep", "600")
			require.NoError(t, supervisor.Start())
			t.Cleanup(func() { _ = supervisor.Process.Kill(); _ = supervisor.Wait() })
			server := opamptest.NewServer(t, opamptest.Script{})
			const interval = 200 * time.Millisecond
			c := startCollector(t, distribution(t), fmt.Sprintf(`
service:
  extensions: [opamp]
extensions:
  opamp:
    server: {ws: {endpoint: "%s"}}
    ppid: %d
    ppid_poll_interval: %v
`, server.URL("ws"), supervisor.Process.Pid, interval))
			c.waitReady(t, 1)
			server.Next(t)

			require.NoError(t, supervisor.Process.Kill())
			began := time.Now()
			if reaped {
				_ = supervisor.Wait()
			}
			select {
			case <-c.done:
			case <-time.After(patience):
				require.Fail(t, "the collector outlives its supervisor")
			}
			t.Logf("gone %v after its supervisor, which was looked at each %v", time.Since(began).Round(time.Millisecond), interval)
			assert.Equal(t, 0, c.cmd.ProcessState.ExitCode(), "it ends in order")
			server.NextWith(t, func(h opamptest.Heard) bool { return h.AgentDisconnect != nil })
		})
	}
}
