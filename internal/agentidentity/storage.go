// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

// storageKey names the record in the storage that this extension has to itself.
const storageKey = "instance_uid"

// storagePlace keeps a record in a storage extension. The client stays open as long as
// the record is in use: file_storage locks its file that long.
type storagePlace struct {
	// Fixed at construction.
	id     component.ID // of the storage
	owner  component.ID
	ext    storage.Extension
	client storage.Client // from open to close
}

// Storage is a place in the storage extension id of host, for the extension owner
// alone. It fails if there is no such extension.
func Storage(id, owner component.ID, host component.Host) (Place, error) {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("extension %q not found", id)
	}
	store, ok := ext.(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("extension %q is not a storage extension", id)
	}
	return &storagePlace{id: id, owner: owner, ext: store}, nil
}

func (s *storagePlace) field() zap.Field { return zap.Stringer("storage", s.id) }

func (s *storagePlace) open(ctx context.Context) error {
	return survive(func() (err error) {
		s.client, err = s.ext.GetClient(ctx, component.KindExtension, s.owner, "")
		if err == nil && s.client == nil {
			return errors.New("the storage gave no client")
		}
		return err
	})
}

func (s *storagePlace) load(ctx context.Context) (data []byte, err error) {
	err = survive(func() (err error) {
		data, err = s.client.Get(ctx, storageKey)
		return err
	})
	return data, err
}

func (s *storagePlace) save(ctx context.Context, data []byte) error {
	return survive(func() error { return s.client.Set(ctx, storageKey, data) })
}

func (s *storagePlace) close(ctx context.Context) error {
	return survive(func() error { return s.client.Close(ctx) })
}

// survive makes a panic an error: the database below file_storage panics on a damaged
// file, and an identity is not worth a Collector.
func survive(call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the storage panicked: %v", r)
		}
	}()
	return call()
}
