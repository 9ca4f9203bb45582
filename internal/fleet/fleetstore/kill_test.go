// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// childEnv names the file in which a child process keeps a fleet until it is killed.
const childEnv = "FLEETSTORE_TEST_CHILD"

// childAgents report in turns.
const childAgents = 20

// childMain keeps a fleet under load, and says on its standard output up to which event
// it has written. It ends by being killed.
func childMain() {
	f := fleet.New(fleet.Settings{})
	told := &tellingStore{written: make(chan uint64, 1)}
	k := NewKeeper(f, Settings{
		Window: 5 * time.Millisecond,
		Open: func(ctx context.Context) (Store, error) {
			s, err := OpenSQLite(ctx, SQLiteSettings{Path: os.Getenv(childEnv)})
			told.Store = s
			return told, err
		},
	})
	if err := k.Start(context.Background()); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range childAgents {
		name := fmt.Sprint("a", i)
		f.Report(connOf(i+1), fullReport(name, 0), time.Now())
	}
	var written uint64
	for seq := uint64(1); ; seq++ {
		for i := range childAgents {
			f.Report(connOf(i+1), change(fmt.Sprint("a", i), seq), time.Now())
		}
		for f.LastEvent()-written > childLag {
			written = <-told.written
		}
	}
}

// childLag is how many events may wait to be written: less than memory has room for.
const childLag = 1000

// tellingStore says what is written.
type tellingStore struct {
	Store
	written chan uint64 // the latest
}

func (s *tellingStore) Write(ctx context.Context, b Batch) error {
	if err := s.Store.Write(ctx, b); err != nil {
		fmt.Println("error", err)
		return err
	}
	if n := len(b.Events); n > 0 {
		fmt.Println("written", b.Events[n-1].ID)
		select {
		case <-s.written:
		default:
		}
		s.written <- b.Events[n-1].ID
	}
	return nil
}

// TestKilledTwentyTimes kills a process that keeps a fleet under load, and looks at what it left: all that it said
// was written is there, without a hole, and the file is sound. It is one file all the time. With -short that is done
// four times, once for each number of batches.
func TestKilledTwentyTimes(t *testing.T) {
	path := pathIn(t)
	var last uint64
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		written := killOnce(t, path, 2+round%4)
		require.Greater(t, written, last, "round %d", round)
		last = inspect(t, path, written)
	}
	s := openFile(t, path)
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, loaded.Agents, childAgents)
	assert.Zero(t, loaded.Unreadable)
	require.NoError(t, s.Close())
	t.Logf("%d times killed, %d events in the log, none missing", rounds, last)
}

// killOnce lets a child write so many batches, kills it, and returns the last event that it said was written.
func killOnce(t *testing.T, path string, batches int) (written uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		require.Equal(t, "written", word, rest)
		written, err = strconv.ParseUint(rest, 10, 64)
		require.NoError(t, err)
		if i++; i == batches {
			require.NoError(t, cmd.Process.Kill()) // while it goes on
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
	return written
}

// inspect holds the file against what was said to be in it, and returns the last event that is.
func inspect(t *testing.T, path string, written uint64) (last uint64) {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(path, "deferred"))
	require.NoError(t, err)
	defer db.Close()
	var verdict string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&verdict))
	require.Equal(t, "ok", verdict)
	var count uint64
	require.NoError(t, db.QueryRow("SELECT count(*), max(id) FROM events").Scan(&count, &last))
	require.GreaterOrEqual(t, last, written, "what was written is there")
	require.Equal(t, last, count, "there is no hole")
	return last
}
