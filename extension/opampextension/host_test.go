// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOSDescription(t *testing.T) {
	for want, in := range map[string][3]string{
		"Debian 12.11":                      {"linux", "debian", "12.11"},
		"Opensuse-Leap 15.6":                {"linux", "opensuse-leap", "15.6"},
		"Alpine":                            {"linux", "alpine", ""},
		"macOS 15.1":                        {"darwin", "darwin", "15.1"},
		"Microsoft Windows 11 Pro 10.0 x64": {"windows", "Microsoft Windows 11 Pro", "10.0 x64"},
		"":                                  {"linux", "", ""},
	} {
		require.Equal(t, want, osDescription(in[0], in[1], in[2]))
	}
}

func TestReadHost(t *testing.T) {
	h := readHost()
	require.Equal(t, runtime.GOOS, h.OSType)
	require.Equal(t, runtime.GOARCH, h.Arch)
	require.Equal(t, h, readHost(), "the same each time")
}

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
	require.Equal(t, readHost().ID, hostID())
}

func TestReadProcess(t *testing.T) {
	p := readProcess()
	require.Equal(t, int64(os.Getpid()), p.PID)
	require.NotContains(t, p.Executable, string(filepath.Separator))
	require.NotEmpty(t, p.Executable)
	require.Equal(t, runtime.Version(), p.RuntimeVersion)
}
