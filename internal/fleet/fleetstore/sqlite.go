// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLiteSettings of [OpenSQLite]. A zero field takes its default.
type SQLiteSettings struct {
	// Path of the file. Beside it are, while it is used, those with -wal, -shm and -lock at the end.
	Path string
	// MaxBytes bounds the size of the file. 0 is no bound.
	MaxBytes int64
}

// pageSize of the file, in bytes.
const pageSize = 4096

// readers is how many queries are answered at a time. They wait for no writer, and no writer for them.
const readers = 4

// sqliteStore is a [Store] in one file.
type sqliteStore struct {
	// Fixed at construction.
	settings SQLiteSettings
	write    *sql.DB // one connection
	read     *sql.DB
	lock     *lock
	packer   *packer
	file     os.FileInfo // which file it is

	statements atomic.Uint64

	// Owned by the writer.
	identities map[string]int64 // some of the table, for speed
}

// OpenSQLite opens the database, makes it where there is none, and brings its tables up to now. It belongs to this
// process until it is closed.
func OpenSQLite(ctx context.Context, set SQLiteSettings) (Store, error) {
	l, err := takeLock(ctx, set.Path)
	if err != nil {
		return nil, sqliteError(err)
	}
	s := &sqliteStore{settings: set, lock: l, packer: newPacker(), identities: map[string]int64{}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(sqliteError(err), s.Close())
	}
	return s, nil
}

func (s *sqliteStore) open(ctx context.Context) (err error) {
	pragmas := []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-16384)"}
	if s.settings.MaxBytes > 0 {
		pragmas = append(pragmas, "max_page_count("+strconv.FormatInt(max(1, s.settings.MaxBytes/pageSize), 10)+")")
	}
	if s.write, err = sql.Open("sqlite", dataSource(s.settings.Path, "immediate", pragmas...)); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if s.file, err = os.Stat(s.settings.Path); err != nil {
		return err
	}
	s.read, err = sql.Open("sqlite", dataSource(s.settings.Path, "deferred", "busy_timeout(5000)", "query_only(1)", "cache_size(-8192)"))
	if err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return s.read.PingContext(ctx)
}

func dataSource(path, begin string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas, "_txlock": {begin}}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(filepath.ToSlash(path)), RawQuery: q.Encode()}).String()
}

// Stats are figures about the file.
func (s *sqliteStore) Stats() Stats {
	st := Stats{Statements: s.statements.Load()}
	for _, end := range []string{"", "-wal"} {
		if info, err := os.Stat(s.settings.Path + end); err == nil {
			st.Bytes += info.Size()
		}
	}
	return st
}

// Close closes the file. What was written is in it, without the others beside it.
func (s *sqliteStore) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.packer.close()
	return errors.Join(append(errs, s.lock.release())...)
}

// begin starts a transaction that writes, and counts what it does.
func (s *sqliteStore) begin(ctx context.Context) (*writing, error) {
	// What is written into a file that has no name any more is lost with this process.
	if is, err := os.Stat(s.settings.Path); errors.Is(err, fs.ErrNotExist) || (err == nil && !os.SameFile(is, s.file)) {
		return nil, ErrGone
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &writing{tx: tx, store: s, ctx: ctx, prepared: map[string]*sql.Stmt{}}, nil
}

// writing is one transaction.
type writing struct {
	tx       *sql.Tx
	store    *sqliteStore
	ctx      context.Context //nolint:containedctx // it lives as long as the transaction
	prepared map[string]*sql.Stmt
	err      error // the first
}

func (w *writing) statement(text string) *sql.Stmt {
	if w.err != nil {
		return nil
	}
	st := w.prepared[text]
	if st == nil {
		if st, w.err = w.tx.PrepareContext(w.ctx, text); w.err != nil {
			return nil
		}
		w.prepared[text] = st
	}
	w.store.statements.Add(1)
	return st
}

func (w *writing) exec(text string, args ...any) (rows int64) {
	st := w.statement(text)
	if st == nil {
		return 0
	}
	result, err := st.ExecContext(w.ctx, args...)
	if err != nil {
		w.err = err
		return 0
	}
	rows, _ = result.RowsAffected()
	return rows
}

// number is the one number that a statement returns; 0 if it returns none.
func (w *writing) number(text string, args ...any) (n int64) {
	st := w.statement(text)
	if st == nil {
		return 0
	}
	if err := st.QueryRowContext(w.ctx, args...).Scan(&n); err != nil && !errors.Is(err, sql.ErrNoRows) {
		w.err = err
	}
	return n
}

// end commits, or undoes all where something failed.
func (w *writing) end() error {
	if w.err != nil {
		return errors.Join(w.err, w.tx.Rollback())
	}
	return w.tx.Commit()
}

// sqliteError gives errors of the engine the names that callers know.
func sqliteError(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	var kind error
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		kind = ErrLocked
	case sqlite3.SQLITE_FULL:
		kind = ErrFull
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR:
		kind = ErrUnwritable
	case sqlite3.SQLITE_CORRUPT:
		kind = ErrDamaged
	case sqlite3.SQLITE_NOTADB:
		kind = ErrForeign
	default:
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// lock is held by the process that uses a database. SQLite's own would let two use it in turns, each with a fleet of
// its own.
type lock struct {
	db   *sql.DB
	conn *sql.Conn
}

// lockPatience is how long a process that is on its way out is waited for.
const lockPatience = 500 * time.Millisecond

func takeLock(ctx context.Context, path string) (*lock, error) {
	ms := strconv.FormatInt(lockPatience.Milliseconds(), 10)
	db, err := sql.Open("sqlite", dataSource(path+"-lock", "exclusive", "busy_timeout("+ms+")", "journal_mode(DELETE)"))
	if err != nil {
		return nil, err
	}
	l := &lock{db: db}
	if l.conn, err = db.Conn(ctx); err == nil {
		_, err = l.conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

func (l *lock) release() error {
	var err error
	if l.conn != nil {
		err = l.conn.Close()
	}
	return errors.Join(err, l.db.Close())
}
