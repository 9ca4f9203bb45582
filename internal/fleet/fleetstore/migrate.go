// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"slices"
	"time"
)

// migrations are the steps from nothing to now, in the order of their names. A step that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks a file as ours: "FLVW".
const applicationID = 0x464c5657

// schemaVersion is that of this program.
func schemaVersion() int { return len(steps()) }

func steps() []string {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		panic(err) // embedded
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, "migrations/"+e.Name())
	}
	slices.Sort(names)
	return names
}

// migrate brings the schema up to now. It only goes forward: what a newer program wrote is left alone.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := claim(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx,
		"CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)"); err != nil {
		return err
	}
	var at int
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_versions").Scan(&at); err != nil {
		return err
	}
	if at > schemaVersion() {
		return fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, at, schemaVersion())
	}
	for i, name := range steps()[at:] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(text)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO schema_versions (version, applied) VALUES (?, ?)",
			at+i+1, time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// claim marks an empty file as ours, and refuses one that is somebody else's.
func claim(ctx context.Context, tx *sql.Tx) error {
	var id, tables int
	if err := tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if id == applicationID {
		return nil
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if id != 0 || tables != 0 {
		return ErrForeign
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	return err
}
