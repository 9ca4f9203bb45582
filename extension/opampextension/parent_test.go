// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var errLookup = errors.New("permission denied")

// looks is a process table that changes with each look; the last stays.
type looks []struct {
	info processInfo
	err  error
}

func (l *looks) next(context.Context, int32) (processInfo, error) {
	now := (*l)[0]
	if len(*l) > 1 {
		*l = (*l)[1:]
	}
	return now.info, now.err
}

func parent(age time.Duration) processInfo {
	return processInfo{running: true, age: age, ageKnown: true}
}

func TestParentWatch(t *testing.T) {
	const older, younger = -time.Minute, time.Hour
	alive, hidden, gone := parent(older), processInfo{running: true}, processInfo{}
	for name, tc := range map[string]struct {
		looks looks
		want  time.Duration // until the process is asked to end; 0 is never
	}{
		"alive":                                {looks{{info: alive}}, 0},
		"gone at the first look":               {looks{{info: gone}}, 1},
		"gone at the third":                    {looks{{info: alive}, {info: alive}, {info: gone}}, 10 * time.Second},
		"start time hidden":                    {looks{{info: hidden}}, 0},
		"hidden at first":                      {looks{{info: hidden}, {info: alive}, {info: hidden}, {info: alive}}, 0},
		"one failed look":                      {looks{{info: alive}, {err: errLookup}, {info: alive}}, 0},
		"two failed looks, twice":              {looks{{err: errLookup}, {err: errLookup}, {info: alive}, {err: errLookup}, {err: errLookup}, {info: alive}}, 0},
		"every look fails":                     {looks{{err: errLookup}}, 10 * time.Second},
		"another process has the id":           {looks{{info: alive}, {info: parent(younger)}}, 15 * time.Second},
		"another had it before the first look": {looks{{info: parent(younger)}}, 10 * time.Second},
		"an older process has the id":          {looks{{info: alive}, {info: parent(2 * older)}}, 15 * time.Second},
		"started within the same moment":       {looks{{info: parent(time.Second)}}, 0},
		"a start time that is off for once":    {looks{{info: alive}, {info: parent(younger)}, {info: alive}}, 0},
		"a start time that is off a little":    {looks{{info: alive}, {info: parent(older + 2*time.Second)}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ended := time.Duration(0)
				w := parentWatch{
					pid: 4711, interval: 5 * time.Second, logger: zap.NewNop(), look: tc.looks.next,
					terminate: func() error { ended = max(time.Since(began), 1); return nil },
					exit:      func(int) {},
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); w.run(ctx) }()
				time.Sleep(time.Hour)
				cancel()
				<-done
				require.Equal(t, tc.want, ended)
			})
		})
	}
}

// The process is asked, and if it does not end, it is ended.
func TestParentWatchEndsAProcessThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exited := make(chan time.Time, 1)
		w := parentWatch{
			logger:    zap.NewNop(),
			terminate: func() error { return nil },
			exit:      func(int) { exited <- time.Now() },
		}
		began := time.Now()
		w.endProcess(errNotRunning)
		require.Equal(t, exitGrace, (<-exited).Sub(began))
	})
}

func TestParentWatchThatCannotAskEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		codes := []int{}
		w := parentWatch{
			logger:    zap.NewNop(),
			terminate: func() error { return errors.ErrUnsupported },
			exit:      func(code int) { codes = append(codes, code) },
		}
		w.endProcess(errNotRunning)
		time.Sleep(time.Hour)
		require.Equal(t, []int{1}, codes)
	})
}

// A real process: alive, then killed, at first not yet reaped by its parent (this
// test), then reaped.
func TestLookAtProcess(t *testing.T) {
	child := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, child.Start())
	pid := int32(child.Process.Pid)

	info, err := lookAtProcess(t.Context(), pid)
	require.NoError(t, err)
	require.True(t, info.running)
	require.True(t, info.ageKnown)
	require.GreaterOrEqual(t, info.age, -ageTolerance, "younger than this test")

	require.NoError(t, child.Process.Kill())
	require.Eventually(t, func() bool {
		info, err := lookAtProcess(t.Context(), pid)
		return err == nil && !info.running
	}, patience, time.Millisecond, "a zombie does not run")
	_ = child.Wait()
	info, err = lookAtProcess(t.Context(), pid)
	require.NoError(t, err)
	require.False(t, info.running)

	info, err = lookAtProcess(t.Context(), int32(os.Getppid()))
	require.NoError(t, err)
	require.True(t, info.running)
	require.LessOrEqual(t, info.age, ageTolerance, "older than this test")
}

// An extension whose parent is gone sends this process SIGTERM.
func TestAnExtensionWhoseParentIsGoneEndsTheProcess(t *testing.T) {
	child := exec.CommandContext(t.Context(), "true")
	require.NoError(t, child.Run())

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	defer signal.Stop(told)

	cfg := configFor("ws://127.0.0.1:1", func(c *Config) { c.PPID = int64(child.Process.Pid) })
	e := newTestExtension(t, cfg, newSettings("orphan"))
	e.parent.exit = func(int) {}
	require.NoError(t, e.Start(t.Context(), hostWith(nil)))
	select {
	case <-told:
	case <-time.After(patience):
		require.FailNow(t, "no SIGTERM")
	}
}

// Shutdown ends the watch.
func TestAnExtensionWithAParentShutsDown(t *testing.T) {
	cfg := configFor("ws://127.0.0.1:1", func(c *Config) { c.PPID = int64(os.Getppid()) })
	e := newTestExtension(t, cfg, newSettings("child"))
	e.parent.terminate = func() error { return errors.New("not meant to end") }
	e.parent.exit = func(int) { panic("not meant to end") }
	require.NoError(t, e.Start(t.Context(), hostWith(nil)))
	require.NoError(t, e.Shutdown(t.Context()))
}
