// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// uids are the instance UIDs of this process. The state is the process's and not
// an extension's because a reload (SIGHUP) makes new extensions in the same process,
// with a new service.instance.id too, and the agent is still the same one: an
// instance UID that changed would leave a ghost behind in every fleet
// (opentelemetry-collector issue 6158).
var uids = &uidRegistry{byID: map[component.ID]knownUID{}}

// uidOrigin says who else may know an instance UID.
type uidOrigin int

const (
	uidMade     uidOrigin = iota // by this process, and it is written nowhere
	uidAssigned                  // by the server, and it is written nowhere yet
	uidKept                      // as it stands in a file or a storage, which another process may come to read
)

type knownUID struct {
	uid    opampwire.InstanceUID
	origin uidOrigin
}

// uidRegistry holds one instance UID for each component id that was ever used.
type uidRegistry struct {
	mu   sync.Mutex
	byID map[component.ID]knownUID // guarded by mu
}

// of is the UID of an extension, made when it is first asked for.
func (r *uidRegistry) of(id component.ID) knownUID {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.byID[id]
	if !ok {
		known = knownUID{opampwire.NewInstanceUID(), uidMade}
		r.byID[id] = known
	}
	return known
}

// set remembers the UID that is in use from now on.
func (r *uidRegistry) set(id component.ID, known knownUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[id] = known
}

// kept notes that uid is written down, if it still is the one in use.
func (r *uidRegistry) kept(id component.ID, uid opampwire.InstanceUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id].uid == uid {
		r.byID[id] = knownUID{uid, uidKept}
	}
}

// own is a UID that no other process can have read anywhere: the one in use, or a new
// one, which is not remembered.
func (r *uidRegistry) own(id component.ID) knownUID {
	if known := r.of(id); known.origin != uidKept {
		return known
	}
	return knownUID{opampwire.NewInstanceUID(), uidMade}
}

// identity is where an extension's instance UID comes from: the configuration, else
// what was kept before, else the process.
type identity struct {
	// Fixed at construction.
	id         component.ID
	configured opampwire.InstanceUID // zero: none
	keeper     *uidKeeper            // nil: it is not kept
}

// newIdentity refuses what is a mistake in the configuration; that a storage or a file
// does not work is none.
func newIdentity(cfg *Config, set extension.Settings, host component.Host) (*identity, error) {
	i := &identity{id: set.ID}
	if cfg.InstanceUID != "" {
		uid, err := opampwire.ParseInstanceUID(cfg.InstanceUID)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadInstanceUID, err)
		}
		i.configured = uid
		return i, nil
	}
	place, err := cfg.uidPlace(set.ID, host)
	if err != nil {
		return nil, err
	}
	if place != nil {
		i.keeper = newUIDKeeper(set.ID, place, set.Logger)
	}
	return i, nil
}

// uidPlace is where the instance UID is kept, nil for nowhere.
func (c *Config) uidPlace(id component.ID, host component.Host) (uidPlace, error) {
	switch {
	case c.Storage != nil:
		return newUIDStorage(*c.Storage, id, host)
	case c.InstanceUIDFile != "":
		return &uidFile{path: c.InstanceUIDFile}, nil
	}
	return nil, nil
}

func (i *identity) start() {
	if i.keeper != nil {
		i.keeper.start()
	}
}

// uid is the instance UID to begin with. It waits for what was kept, for two seconds
// at most or until ctx ends.
func (i *identity) uid(ctx context.Context) opampwire.InstanceUID {
	switch {
	case !i.configured.IsZero():
		return i.configured
	case i.keeper != nil:
		return i.keeper.wait(ctx)
	}
	return uids.of(i.id).uid
}

// assigned follows a server that assigned another instance UID. It does not block. A
// configured one is in force again when the extension is next made.
func (i *identity) assigned(uid opampwire.InstanceUID) {
	if !i.configured.IsZero() {
		return
	}
	uids.set(i.id, knownUID{uid, uidAssigned})
	if i.keeper != nil {
		i.keeper.nudge()
	}
}

// stop writes what is not written yet, within half a second.
func (i *identity) stop(ctx context.Context) {
	if i.keeper != nil {
		i.keeper.stop(ctx)
	}
}

// supervised says that a supervisor chose the instance UID and expects to read it
// back as service.instance.id.
func (c *Config) supervised() bool { return c.InstanceUID != "" && c.PPID != 0 }

// validateState holds that there is at most one place for the instance UID, and that
// a file can be there.
func (c *Config) validateState() error {
	var errs []error
	if c.Storage != nil && c.InstanceUIDFile != "" {
		errs = append(errs, errors.New("storage: cannot be set beside instance_uid_file: one of them keeps the instance UID"))
	}
	for _, place := range [...]struct {
		key string
		set bool
	}{{"storage", c.Storage != nil}, {"instance_uid_file", c.InstanceUIDFile != ""}} {
		if place.set && c.InstanceUID != "" {
			errs = append(errs, fmt.Errorf("%s: cannot be set beside instance_uid: a configured UID stays the same anyway", place.key))
		}
	}
	if c.InstanceUIDFile != "" {
		if err := validateUIDFile(c.InstanceUIDFile); err != nil {
			errs = append(errs, fmt.Errorf("instance_uid_file: %w", err))
		}
	}
	return errors.Join(errs...)
}

// validateUIDFile holds that path is, or can become, a file.
func validateUIDFile(path string) error {
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
