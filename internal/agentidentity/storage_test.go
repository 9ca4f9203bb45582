// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

var fileStorageID = component.MustNewID("file_storage")

// newFileStorage is contrib's, on a directory, as the Collector would start it.
func newFileStorage(t *testing.T, dir string) extension.Extension {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory = dir
	cfg.Timeout = 50 * time.Millisecond // for its lock
	require.NoError(t, cfg.Validate())
	ext, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(context.Background())) })
	return ext
}

// hostWith is a host that has these extensions.
type hostWith map[component.ID]component.Component

func (h hostWith) GetExtensions() map[component.ID]component.Component { return h }

func placeIn(t *testing.T, ext extension.Extension, owner component.ID) Place {
	t.Helper()
	place, err := Storage(fileStorageID, owner, hostWith{fileStorageID: ext})
	require.NoError(t, err)
	return place
}

func TestFileStorageOverRestarts(t *testing.T) {
	dir, id := t.TempDir(), newID()
	first, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.Empty(t, logs)
	for range 5 {
		forget(id)
		uid, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
		require.Equal(t, first, uid)
		require.Empty(t, logs)
	}
	other := newID()
	second, logs := live(t, other, placeIn(t, newFileStorage(t, dir), other))
	require.Empty(t, logs)
	require.NotEqual(t, first, second, "each extension has a record of its own")
}

// file_storage locks what it holds as long as it is open. A second process therefore
// gets an error from it, and no UID.
func TestFileStorageIsNotShared(t *testing.T) {
	dir, id := t.TempDir(), newID()
	k, _ := newTestKeeper(id, placeIn(t, newFileStorage(t, dir), id))
	k.start()
	first := k.wait(t.Context())

	forget(id)
	second, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.NotEqual(t, first, second)
	require.Len(t, logs, 1)
	require.Contains(t, logs[0].Message, "cannot be kept")
	require.Equal(t, "file_storage", logs[0].ContextMap()["storage"])
	k.stop(t.Context())

	forget(id)
	third, _ := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.Equal(t, first, third)
}

func TestABrokenFileStorage(t *testing.T) {
	dir, id := t.TempDir(), newID()
	live(t, id, placeIn(t, newFileStorage(t, dir), id))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, entries[0].Name()), []byte("not a database"), 0o600))

	forget(id)
	_, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.Len(t, logs, 1)
	require.Contains(t, logs[0].Message, "cannot be kept")
}

func TestARecordInAStorageThatIsNone(t *testing.T) {
	dir, id := t.TempDir(), newID()
	client, err := newFileStorage(t, dir).(storage.Extension).GetClient(t.Context(), component.KindExtension, id, "")
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), storageKey, []byte("hello")))
	require.NoError(t, client.Close(t.Context()))

	first, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.Len(t, logs, 1)
	require.Contains(t, logs[0].Message, "overwritten")
	forget(id)
	second, logs := live(t, id, placeIn(t, newFileStorage(t, dir), id))
	require.Empty(t, logs)
	require.Equal(t, first, second)
}

// badStorage gives what its field says.
type badStorage struct {
	component.StartFunc
	component.ShutdownFunc
	client func() (storage.Client, error)
}

func (s badStorage) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return s.client()
}

type panickingClient struct{ storage.Client } // each method is a nil dereference

func TestAStorageThatPanics(t *testing.T) {
	for name, tc := range map[string]struct {
		client func() (storage.Client, error)
		warn   []string
	}{
		"when opened":   {func() (storage.Client, error) { panic("page 4 already freed") }, []string{"cannot be kept"}},
		"when used":     {func() (storage.Client, error) { return panickingClient{}, nil }, []string{"cannot be read", "could not be closed"}},
		"without words": {func() (storage.Client, error) { return nil, nil }, []string{"cannot be kept"}},
	} {
		t.Run(name, func(t *testing.T) {
			id := newID()
			_, logs := live(t, id, placeIn(t, badStorage{client: tc.client}, id))
			require.Len(t, logs, len(tc.warn))
			for i, warn := range tc.warn {
				require.Contains(t, logs[i].Message, warn)
			}
		})
	}
}

func TestStorageThatIsNotOne(t *testing.T) {
	owner := newID()
	_, err := Storage(fileStorageID, owner, hostWith(nil))
	require.EqualError(t, err, `extension "file_storage" not found`)
	var none struct {
		component.StartFunc
		component.ShutdownFunc
	}
	_, err = Storage(fileStorageID, owner, hostWith{fileStorageID: none})
	require.EqualError(t, err, `extension "file_storage" is not a storage extension`)
}
