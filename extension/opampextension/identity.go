// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"sync"

	"go.opentelemetry.io/collector/component"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// uids are the instance UIDs of this process. The state is the process's and not
// an extension's because a reload (SIGHUP) makes new extensions in the same process,
// with a new service.instance.id too, and the agent is still the same one: an
// instance UID that changed would leave a ghost behind in every fleet
// (opentelemetry-collector issue 6158).
var uids = uidRegistry{byID: map[component.ID]opampwire.InstanceUID{}}

// uidRegistry holds one instance UID for each component id that was ever used.
type uidRegistry struct {
	mu   sync.Mutex
	byID map[component.ID]opampwire.InstanceUID // guarded by mu
}

// of is the UID of an extension, made when it is first asked for.
func (r *uidRegistry) of(id component.ID) opampwire.InstanceUID {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid, ok := r.byID[id]
	if !ok {
		uid = opampwire.NewInstanceUID()
		r.byID[id] = uid
	}
	return uid
}

// set keeps the UID that a server assigned.
func (r *uidRegistry) set(id component.ID, uid opampwire.InstanceUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[id] = uid
}

// instanceUID is the configured one, or the process's for this extension.
func (c *Config) instanceUID(id component.ID) (opampwire.InstanceUID, error) {
	if c.InstanceUID != "" {
		return opampwire.ParseInstanceUID(c.InstanceUID)
	}
	return uids.of(id), nil
}

// supervised says that a supervisor chose the instance UID and expects to read it
// back as service.instance.id.
func (c *Config) supervised() bool { return c.InstanceUID != "" && c.PPID != 0 }
