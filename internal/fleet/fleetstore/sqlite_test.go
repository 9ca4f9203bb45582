// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// raw opens the file as anybody could.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(path, "deferred", "busy_timeout(5000)"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestAPathMayHaveAnyName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c=d%20&é#.db")
	s := openFile(t, path)
	require.NoError(t, s.Write(ctx, all(fleetOf("a"))))
	require.NoError(t, s.Close())
	_, err := os.Stat(path)
	require.NoError(t, err)
}

func TestOneProcessAtATime(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	_, err := OpenSQLite(ctx, SQLiteSettings{Path: path})
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.Close())
	require.NoError(t, openFile(t, path).Close())
}

func TestANewerSchemaIsLeftAlone(t *testing.T) {
	path := pathIn(t)
	require.NoError(t, openFile(t, path).Close())
	db := raw(t, path)
	_, err := db.Exec("INSERT INTO schema_versions (version, applied) VALUES (?, 0)", schemaVersion()+1)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	_, err = OpenSQLite(ctx, SQLiteSettings{Path: path})

	require.ErrorIs(t, err, ErrNewer)
	assert.ErrorContains(t, err, fmt.Sprintf("its schema is %d, this program knows %d", schemaVersion()+1, schemaVersion()))
}

// A file of the first schema goes on to be used.
func TestAnOlderSchemaIsBroughtUpToNow(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	f := fleetOf("a")
	require.NoError(t, s.Write(ctx, all(f)))
	require.NoError(t, s.Close())
	db := raw(t, path)
	for _, text := range []string{"DROP TABLE agent_said", "DELETE FROM schema_versions WHERE version > 1"} {
		_, err := db.Exec(text)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())

	s = openFile(t, path)
	f.Report(connOf(1), saying("a", 1, "one"), testNow)
	require.NoError(t, s.WriteSaid(ctx, []Said{saidBy(t, f, "a")}))
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	require.Len(t, loaded.Agents, 1)
	assert.Equal(t, agentOf(t, f, "a").Channels, loaded.Agents[0].Channels)
	require.NoError(t, s.Close())
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	for name, write := range map[string]func(path string){
		"text": func(path string) {
			require.NoError(t, os.WriteFile(path, []byte("some text that is no database at all, but long enough to look at"), 0o600))
		},
		"another program's database": func(path string) {
			db := raw(t, path)
			_, err := db.Exec("CREATE TABLE theirs (a)")
			require.NoError(t, err)
			require.NoError(t, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := pathIn(t)
			write(path)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = OpenSQLite(ctx, SQLiteSettings{Path: path})
			require.ErrorIs(t, err, ErrForeign)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			if name == "text" {
				assert.Equal(t, before, after)
			}
			db := raw(t, path)
			var tables int
			if name != "text" {
				require.NoError(t, db.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables))
				assert.Equal(t, 1, tables)
			}
		})
	}
}

func TestNoPlaceForAFileIsAnError(t *testing.T) {
	_, err := OpenSQLite(ctx, SQLiteSettings{Path: filepath.Join(t.TempDir(), "missing", "fleet.db")})
	require.ErrorIs(t, err, ErrUnwritable)
	assert.NotErrorIs(t, err, ErrLocked)

	path := pathIn(t) // where another file has to be made beside it
	require.NoError(t, os.Mkdir(path+"-lock", 0o700))
	_, err = OpenSQLite(ctx, SQLiteSettings{Path: path})
	require.ErrorIs(t, err, ErrUnwritable)
}

func TestADiskThatIsFullUndoesTheBatch(t *testing.T) {
	path := pathIn(t)
	s, err := OpenSQLite(ctx, SQLiteSettings{Path: path, MaxBytes: 400 << 10})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Write(ctx, all(fleetOf("a"))))

	err = s.Write(ctx, Batch{Events: history(20_000)})

	require.ErrorIs(t, err, ErrFull)
	page, err := s.Events(ctx, fleet.EventQuery{})
	require.NoError(t, err)
	assert.Len(t, page.Events, 1, "nothing of the batch is there")
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, loaded.Agents, 1)
}

// damage overwrites most of a file's pages with noise, but not the first.
func damage(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, len(content), 4*pageSize)
	for i := pageSize; i < len(content); i++ {
		content[i] = byte(rand.Uint32())
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

func TestADamagedFileIsNoticed(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	require.NoError(t, s.Write(ctx, all(fleetOf("a", "b"))))
	require.NoError(t, s.Close())
	damage(t, path)

	s, err := OpenSQLite(ctx, SQLiteSettings{Path: path})
	if err == nil {
		_, err = s.Load(ctx)
		require.NoError(t, s.Close())
	}
	require.ErrorIs(t, err, ErrDamaged)
}

func TestAnAgentThatCanNotBeReadIsLeftOut(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	require.NoError(t, s.Write(ctx, all(fleetOf("a", "b"))))
	db := raw(t, path)
	for _, text := range []string{
		"UPDATE agent_state SET body = x'00' WHERE agent = 1",
		"UPDATE blobs SET body = x'00' WHERE kind = 'config'",
	} {
		_, err := db.Exec(text)
		require.NoError(t, err)
	}
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	assert.Equal(t, 1, loaded.Unreadable)
	require.Len(t, loaded.Agents, 1)
	assert.Nil(t, loaded.Agents[0].Config)
	assert.False(t, loaded.Agents[0].Heard().Synced, "it is asked for what is lost")
}

func TestComponentsAreFlat(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	defer s.Close()
	f := fleetOf("a")
	require.NoError(t, s.Write(ctx, all(f)))
	was := agentOf(t, f, "a")
	f.Report(connOf(1), change("a", 1), testNow)
	require.NoError(t, s.Write(ctx, Batch{Agents: []Change{changeOf(keptOf(was), agentOf(t, f, "a"))}}))

	type row struct{ path, pipeline, kind, typ, name, status, failure, alike string }
	var got []row
	rows, err := raw(t, path).Query("SELECT path, pipeline, kind, type, name, status, error, alike FROM components WHERE healthy = 0 ORDER BY path")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var r row
		require.NoError(t, rows.Scan(&r.path, &r.pipeline, &r.kind, &r.typ, &r.name, &r.status, &r.failure, &r.alike))
		got = append(got, r)
	}
	require.NoError(t, rows.Err())
	const failing = "StatusRecoverableError"
	assert.Equal(t, []row{
		{"", "", "", "", "", failing, "", ""},
		{"pipeline:traces", "traces", "pipeline", "traces", "traces", failing, "", ""},
		{"pipeline:traces > exporter:otlp/2", "traces", "exporter", "otlp", "otlp/2", failing, "connection 1 refused", "connection <n> refused"},
	}, got)
}

// TestNothingIsLeftBehind holds every table against agents that come and go.
func TestNothingIsLeftBehind(t *testing.T) {
	path := pathIn(t)
	s := openFile(t, path)
	defer s.Close()
	f := fleetOf("a", "b")
	require.NoError(t, s.Write(ctx, all(f)))
	require.NoError(t, s.Write(ctx, Batch{Removed: []opampwire.InstanceUID{uidOf("a"), uidOf("b")}}))
	for _, table := range []string{"agents", "agent_seen", "agent_said", "agent_state", "attributes", "components"} {
		var n int
		require.NoError(t, raw(t, path).QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		assert.Zero(t, n, table)
	}
}
