// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"fmt"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/checkpoint"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/progress"
)

// openCheckpoint opens the storage that keeps how far one signal of a receiver is; without an id,
// none.
func openCheckpoint(ctx context.Context, id *component.ID, host component.Host, receiver component.ID, signal string) (checkpoint.Store, error) {
	if id == nil {
		return checkpoint.Store{}, nil
	}
	extension, found := host.GetExtensions()[*id]
	if !found {
		return checkpoint.Store{}, fmt.Errorf("storage: extension %q does not exist: it has to be in service::extensions", id)
	}
	keeper, ok := extension.(storage.Extension)
	if !ok {
		return checkpoint.Store{}, fmt.Errorf("storage: extension %q is not a storage extension", id)
	}
	client, err := keeper.GetClient(ctx, component.KindReceiver, receiver, signal)
	if err != nil {
		return checkpoint.Store{}, fmt.Errorf("storage: extension %q: %w", id, err)
	}
	return checkpoint.Store{Client: client}, nil
}

// openReporter registers the capability with the extension that is named, if one is.
func (r *s3Receiver) openReporter(host component.Host) error {
	id := r.cfg.Notifications.OpAMPExtension
	if id == nil {
		return nil
	}
	extension, found := host.GetExtensions()[*id]
	if !found {
		return fmt.Errorf("extension %q does not exist", id)
	}
	registry, ok := extension.(opampcustommessages.CustomCapabilityRegistry)
	if !ok {
		return fmt.Errorf("extension %q is not a custom message registry", id)
	}
	handler, err := registry.Register(ingestprogress.Capability)
	if err != nil {
		return fmt.Errorf("extension %q: capability %s: %w", id, ingestprogress.Capability, err)
	}
	r.reporter = progress.StartReporter(r.tracker, handler, r.cfg.mode() == modeTimeRange, r.set.Logger)
	return nil
}
