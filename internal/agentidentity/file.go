// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.uber.org/zap"
)

const (
	// lockPatience is how long a lock that another process holds is asked for. The
	// other one may be on its way out: a restart, or the extension before a reload.
	lockPatience = time.Second
	lockInterval = 50 * time.Millisecond
)

// File is a place in the file at path, whose directory has to exist. An empty file
// with ".lock" after its name lies beside it from then on.
func File(path string) Place { return &filePlace{path: path} }

// ValidateFile holds that path is, or can become, a place.
func ValidateFile(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("its directory has to exist: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("%q is not a directory", dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", path)
	}
	return nil
}

// filePlace keeps a record in a file, with a lock file beside it: the record itself is
// replaced with each save, and a lock on it would go with it.
type filePlace struct {
	path string
	lock *os.File // held from open to close
}

func (f *filePlace) field() zap.Field { return zap.String("instance_uid_file", f.path) }

// open locks the file's name for this process and this extension. The lock goes with
// the process, however that ends; the lock file stays.
func (f *filePlace) open(ctx context.Context) error {
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := awaitLock(ctx, lock); err != nil {
		_ = lock.Close()
		return fmt.Errorf("lock %q: %w", f.path+".lock", err)
	}
	f.lock = lock
	return nil
}

func awaitLock(ctx context.Context, lock *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	again := time.NewTicker(lockInterval)
	defer again.Stop()
	for {
		err := tryLock(lock)
		if !errors.Is(err, errHeld) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (f *filePlace) load(context.Context) ([]byte, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // reading a pipe would wait for ever
		return nil, fmt.Errorf("%q is not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// One byte more than may be there, which then is not a record.
	return io.ReadAll(io.LimitReader(file, maxRecord+1))
}

// save replaces the file as a whole: after a crash at any moment there is the old
// record or the new one. The lock makes the temporary file's name ours.
func (f *filePlace) save(_ context.Context, data []byte) error {
	temporary := f.path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSynced(temporary, data); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, f.path); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return syncDirectory(filepath.Dir(f.path))
}

func writeSynced(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// syncDirectory makes a rename in dir last. Windows has no way to ask for it.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *filePlace) close(context.Context) error { return f.lock.Close() }
