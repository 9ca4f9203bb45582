// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMachineID(t *testing.T) {
	const id = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	file := func(t *testing.T, content string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "machine-id")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for content, want := range map[string]string{
		id:                         id,
		id + "\n":                  id,
		"":                         "",
		"uninitialized\n":          "", // while the machine first boots
		id[1:]:                     "",
		id + id:                    "",
		strings.Repeat("\xff", 32): "",
		strings.Repeat("x", 32):    "",
	} {
		require.Equal(t, want, machineID(file(t, content)), content)
	}
	require.Equal(t, id, machineID("/no/such/file", file(t, "uninitialized"), t.TempDir(), file(t, id)), "the first that has one")
	require.Empty(t, machineID("/no/such/file"))
}
