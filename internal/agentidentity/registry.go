// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"sync"

	"go.opentelemetry.io/collector/component"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Registry holds one instance UID for each component id that was ever used. There is
// one for a process, because a reload (SIGHUP) makes new extensions in the same
// process, with a new service.instance.id too, and the agent is still the same one: an
// instance UID that changed would leave a ghost behind in every fleet
// (opentelemetry-collector issue 6158). The zero value is empty and ready. Its methods
// may be called concurrently.
type Registry struct {
	mu   sync.Mutex
	byID map[component.ID]knownUID // guarded by mu
}

// origin says who else may know an instance UID.
type origin int

const (
	originMade     origin = iota // by this process, and it is written nowhere
	originAssigned               // by the server, and it is written nowhere yet
	originKept                   // as it stands in a file or a storage, which another process may come to read
)

type knownUID struct {
	uid    opampwire.InstanceUID
	origin origin
}

// Of is the UID of an extension, made when it is first asked for.
func (r *Registry) Of(id component.ID) opampwire.InstanceUID { return r.of(id).uid }

func (r *Registry) of(id component.ID) knownUID {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.byID[id]
	if !ok {
		known = knownUID{opampwire.NewInstanceUID(), originMade}
		r.setLocked(id, known)
	}
	return known
}

// set remembers the UID that is in use from now on.
func (r *Registry) set(id component.ID, known knownUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setLocked(id, known)
}

func (r *Registry) setLocked(id component.ID, known knownUID) {
	if r.byID == nil {
		r.byID = map[component.ID]knownUID{}
	}
	r.byID[id] = known
}

// kept notes that uid is written down, if it still is the one in use.
func (r *Registry) kept(id component.ID, uid opampwire.InstanceUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id].uid == uid {
		r.setLocked(id, knownUID{uid, originKept})
	}
}

// own is a UID that no other process can have read anywhere: the one in use, or a new
// one, which is not remembered.
func (r *Registry) own(id component.ID) knownUID {
	if known := r.of(id); known.origin != originKept {
		return known
	}
	return knownUID{opampwire.NewInstanceUID(), originMade}
}
