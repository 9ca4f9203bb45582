// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

// uidStorageKey names the record in the storage that this extension has to itself.
const uidStorageKey = "instance_uid"

// uidStorage keeps a record in a storage extension. The client stays open as long as
// the record is in use: file_storage locks its file that long.
type uidStorage struct {
	// Fixed at construction.
	id     component.ID // of the storage
	owner  component.ID
	ext    storage.Extension
	client storage.Client // from open to close
}

func newUIDStorage(id, owner component.ID, host component.Host) (*uidStorage, error) {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("storage: extension %q not found", id)
	}
	store, ok := ext.(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("storage: extension %q is not a storage extension", id)
	}
	return &uidStorage{id: id, owner: owner, ext: store}, nil
}

func (s *uidStorage) field() zap.Field { return zap.Stringer("storage", s.id) }

func (s *uidStorage) open(ctx context.Context) error {
	return survive(func() (err error) {
		s.client, err = s.ext.GetClient(ctx, component.KindExtension, s.owner, "")
		if err == nil && s.client == nil {
			return errors.New("the storage gave no client")
		}
		return err
	})
}

func (s *uidStorage) load(ctx context.Context) (data []byte, err error) {
	err = survive(func() (err error) {
		data, err = s.client.Get(ctx, uidStorageKey)
		return err
	})
	return data, err
}

func (s *uidStorage) save(ctx context.Context, data []byte) error {
	return survive(func() error { return s.client.Set(ctx, uidStorageKey, data) })
}

func (s *uidStorage) close(ctx context.Context) error {
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
