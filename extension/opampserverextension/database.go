// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetstore"
)

// keep takes what the database has into the fleet, before anybody is served, and begins to write what changes.
// Without a path it does nothing.
func (s *server) keep(ctx context.Context, host component.Host) error {
	path := s.config.Database.Path
	if path == "" {
		return nil
	}
	if err := s.config.Database.reachable(); err != nil {
		return err
	}
	keeper := fleetstore.NewKeeper(s.fleet, fleetstore.Settings{
		Name:      "database.path: " + path,
		Retention: s.config.Database.Retention,
		Logger:    s.telemetry.Logger,
		Open: func(ctx context.Context) (fleetstore.Store, error) {
			return fleetstore.OpenSQLite(ctx, fleetstore.SQLiteSettings{Path: path, MaxBytes: s.config.Database.MaxSize})
		},
		SetAside: func(now time.Time) (string, error) { return fleetstore.SetAside(path, now) },
		Advise:   advise,
		Changed:  func(err error) { componentstatus.ReportStatus(host, keepingStatus(path, err)) },
	})
	if err := keeper.Start(ctx); err != nil {
		return err
	}
	s.keeper = keeper
	return nil
}

// keepingStatus tells the Collector that the fleet is served, and not kept.
func keepingStatus(path string, err error) *componentstatus.Event {
	if err == nil {
		return componentstatus.NewEvent(componentstatus.StatusOK)
	}
	return componentstatus.NewRecoverableErrorEvent(fmt.Errorf("database.path: %s: %w", path, err))
}

// advise adds what to do.
func advise(err error) error {
	for _, known := range []struct {
		kind error
		what string
	}{
		{fleetstore.ErrLocked, "stop the other one, or set database.path to another file"},
		{fleetstore.ErrFull, "make room on the disk, or raise database.max_size, or shorten database.retention"},
		{fleetstore.ErrUnwritable, "look whether the disk is sound, and make its directory writable for this process, or set database.path to another file"},
		{fleetstore.ErrGone, "leave it where it is while it is used; a new one begins in its place"},
		{fleetstore.ErrForeign, "move it away, or set database.path to another file"},
		{fleetstore.ErrNewer, "use the newer version again, or set database.path to another file"},
	} {
		if errors.Is(err, known.kind) {
			return fmt.Errorf("%w: %s", err, known.what)
		}
	}
	return err
}

// reachable says what is wrong with the path, in better words than a database has.
func (d *DatabaseConfig) reachable() error {
	dir := filepath.Dir(d.Path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database.path: there is no directory %s: make it, writable for this process", dir)
	case err != nil:
		return fmt.Errorf("database.path: %w", err)
	case !info.IsDir():
		return fmt.Errorf("database.path: %s is not a directory", dir)
	}
	// Who may read the fleet may read this file, and nobody else. Whoever can read the other could hold the lock.
	for _, path := range []string{d.Path, d.Path + "-lock"} {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("database.path: %w: make it writable for this process, or set database.path to another file", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("database.path: %w", err)
		}
	}
	return nil
}

// history is where it is asked for what happened: the database, or memory.
func (s *server) history() fleethistory.Log {
	if s.keeper != nil {
		return s.keeper
	}
	return nil
}
