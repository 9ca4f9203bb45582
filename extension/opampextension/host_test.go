// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/agentidentity"
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
	require.Equal(t, agentidentity.HostID(), h.ID)
	require.Equal(t, h, readHost(), "the same each time")
}

func TestReadProcess(t *testing.T) {
	p := readProcess()
	require.Equal(t, int64(os.Getpid()), p.PID)
	require.NotContains(t, p.Executable, string(filepath.Separator))
	require.NotEmpty(t, p.Executable)
	require.Equal(t, runtime.Version(), p.RuntimeVersion)
}
