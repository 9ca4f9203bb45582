// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func stateFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "opamp.uid")
}

func TestUIDFileOverRestarts(t *testing.T) {
	path, id := stateFile(t), newID()
	first, logs := live(t, id, &filePlace{path: path})
	require.Empty(t, logs)
	for range 5 {
		forget(id)
		uid, logs := live(t, id, &filePlace{path: path})
		require.Equal(t, first, uid)
		require.Empty(t, logs)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(recordOf(first.String(), thisHost)), string(data))
}

// The file is its owner's alone, and nothing but the lock lies beside it, even where a
// crash left something and whatever the permissions of what was there.
func TestUIDFileIsReplacedAsAWhole(t *testing.T) {
	path := stateFile(t)
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o666))
	require.NoError(t, os.WriteFile(path+".tmp", []byte("half a rec"), 0o666))
	old, err := os.Open(path)
	require.NoError(t, err)
	defer old.Close()

	f := &filePlace{path: path}
	require.NoError(t, f.open(t.Context()))
	require.NoError(t, f.save(t.Context(), []byte("new")))
	require.NoError(t, f.close(t.Context()))

	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	names := map[string]os.FileMode{}
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		names[e.Name()] = info.Mode()
	}
	require.Equal(t, map[string]os.FileMode{"opamp.uid": 0o600, "opamp.uid.lock": 0o600}, names)
	buf := make([]byte, 16)
	n, err := old.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "old", string(buf[:n]), "a reader of the old file sees no half of the new one")
}

// The lock keeps a second one out until the first closes, and waits a moment for that.
func TestUIDFileLock(t *testing.T) {
	path := stateFile(t)
	first, second := &filePlace{path: path}, &filePlace{path: path}
	require.NoError(t, first.open(t.Context()))
	require.ErrorIs(t, second.open(t.Context()), errHeld)
	require.ErrorContains(t, second.open(t.Context()), path+".lock")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, second.open(ctx), errHeld, "at once")

	opened := make(chan error)
	go func() { opened <- second.open(t.Context()) }()
	require.NoError(t, first.close(t.Context()))
	require.NoError(t, <-opened)
	require.NoError(t, second.close(t.Context()))
}

// Of many at once one has the file, and all have UIDs of their own.
func TestManyWithOneUIDFile(t *testing.T) {
	path := stateFile(t)
	const many = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[opampwire.InstanceUID]bool{}
	kept, up := 0, make(chan struct{}, many)
	end := make(chan struct{})
	for range many {
		wg.Go(func() {
			k, logs := newTestKeeper(newID(), &filePlace{path: path})
			k.start()
			uid := k.wait(t.Context())
			mu.Lock()
			seen[uid] = true
			if logs.Len() == 0 {
				kept++
			}
			mu.Unlock()
			up <- struct{}{}
			<-end
			k.stop(context.Background())
		})
	}
	for range many {
		<-up
	}
	close(end)
	wg.Wait()
	assert.Len(t, seen, many)
	assert.Equal(t, 1, kept)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err := decodeRecord(data)
	require.NoError(t, err)
	require.True(t, seen[r.uid])
}

// What is at the path or about it may be anything; the collector starts.
func TestUIDFilesThatCannotBe(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(t *testing.T, path string)
		warn string
	}{
		"a directory": {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, "cannot be read"},
		"the directory is gone": {func(t *testing.T, path string) {
			require.NoError(t, os.RemoveAll(filepath.Dir(path)))
		}, "cannot be kept"},
		"the lock is a directory": {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path+".lock", 0o700)) }, "cannot be kept"},
		"no room for the temporary file": {func(t *testing.T, path string) {
			require.NoError(t, os.MkdirAll(filepath.Join(path+".tmp", "x"), 0o700))
		}, "could not be kept"},
		"too long": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 1<<20)), 0o600))
		}, "overwritten"},
	} {
		t.Run(name, func(t *testing.T) {
			path, id := stateFile(t), newID()
			tc.make(t, path)
			uid, logs := live(t, id, &filePlace{path: path})
			require.False(t, uid.IsZero())
			require.Len(t, logs, 1)
			require.Contains(t, logs[0].Message, tc.warn)
			require.Equal(t, path, logs[0].ContextMap()["instance_uid_file"], "by the user's key")
			again, _ := live(t, id, &filePlace{path: path})
			require.Equal(t, uid, again, "a reload")
		})
	}
}
