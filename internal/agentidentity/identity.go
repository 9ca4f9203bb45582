// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Identity is where an extension's instance UID comes from: the configuration, else
// what was kept before, else the process. Start and Stop are called once each, by one
// goroutine; UID once, between them; Assigned at any time after Start.
type Identity struct {
	// Fixed at construction.
	uids       *Registry
	id         component.ID
	configured opampwire.InstanceUID // zero: none
	keeper     *keeper               // nil: it is not kept
}

// Configured is an identity whose UID the user chose.
func Configured(uid opampwire.InstanceUID) *Identity {
	return &Identity{configured: uid}
}

// OfProcess is the identity of the extension id, as long as the process lives.
func OfProcess(uids *Registry, id component.ID) *Identity {
	return &Identity{uids: uids, id: id}
}

// KeptIn is the identity of the extension id, as long as place keeps it. What is wrong
// with the place is logged.
func KeptIn(place Place, uids *Registry, id component.ID, logger *zap.Logger) *Identity {
	return &Identity{uids: uids, id: id, keeper: newKeeper(uids, id, place, logger)}
}

// Start begins to look for what was kept. It does not wait.
func (i *Identity) Start() {
	if i.keeper != nil {
		i.keeper.start()
	}
}

// UID is the instance UID to begin with. It waits for what was kept, for two seconds
// at most or until ctx ends.
func (i *Identity) UID(ctx context.Context) opampwire.InstanceUID {
	switch {
	case !i.configured.IsZero():
		return i.configured
	case i.keeper != nil:
		return i.keeper.wait(ctx)
	}
	return i.uids.Of(i.id)
}

// Assigned follows a server that assigned another instance UID. It does not block. A
// configured one is in force again when the extension is next made.
func (i *Identity) Assigned(uid opampwire.InstanceUID) {
	if !i.configured.IsZero() {
		return
	}
	i.uids.set(i.id, knownUID{uid, originAssigned})
	if i.keeper != nil {
		i.keeper.nudge()
	}
}

// Stop writes what is not written yet, within half a second.
func (i *Identity) Stop(ctx context.Context) {
	if i.keeper != nil {
		i.keeper.stop(ctx)
	}
}
