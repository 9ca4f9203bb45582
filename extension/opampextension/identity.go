// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-fleetview/fleetview/internal/agentidentity"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// uids are the instance UIDs of this process, which outlive the extensions of a reload.
var uids agentidentity.Registry

// newIdentity refuses what is a mistake in the configuration; that a storage or a file
// does not work is none.
func newIdentity(cfg *Config, set extension.Settings, host component.Host) (*agentidentity.Identity, error) {
	switch {
	case cfg.InstanceUID != "":
		uid, err := opampwire.ParseInstanceUID(cfg.InstanceUID)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadInstanceUID, err)
		}
		return agentidentity.Configured(uid), nil
	case cfg.Storage != nil:
		place, err := agentidentity.Storage(*cfg.Storage, set.ID, host)
		if err != nil {
			return nil, fmt.Errorf("storage: %w", err)
		}
		return agentidentity.KeptIn(place, &uids, set.ID, set.Logger), nil
	case cfg.InstanceUIDFile != "":
		return agentidentity.KeptIn(agentidentity.File(cfg.InstanceUIDFile), &uids, set.ID, set.Logger), nil
	}
	return agentidentity.OfProcess(&uids, set.ID), nil
}

// supervised says that a supervisor chose the instance UID and expects to read it
// back as service.instance.id.
func (c *Config) supervised() bool { return c.InstanceUID != "" && c.PPID != 0 }

// validateState holds that there is at most one place for the instance UID, and that
// a file can be there.
func (c *Config) validateState() error {
	var errs []error
	if c.Storage != nil && c.InstanceUIDFile != "" {
		errs = append(errs, errors.New("storage: cannot be set beside instance_uid_file: one of them keeps the instance UID; "+
			"custom_messages::storage keeps messages alone"))
	}
	if c.InstanceUIDFile != "" && c.InstanceUID != "" {
		errs = append(errs, errors.New("instance_uid_file: cannot be set beside instance_uid: a configured UID stays the same anyway"))
	}
	if c.InstanceUIDFile != "" {
		if err := agentidentity.ValidateFile(c.InstanceUIDFile); err != nil {
			errs = append(errs, fmt.Errorf("instance_uid_file: %w", err))
		}
	}
	return errors.Join(errs...)
}
