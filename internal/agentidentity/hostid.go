// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/host"
)

// hostIDLimit bounds the program that macOS is asked with.
const hostIDLimit = time.Second

// HostID is host.id of the semantic conventions, empty where it is not known. It does
// not change in the life of the process. It may take a moment the first time.
func HostID() string { return hostID() }

var hostID = sync.OnceValue(func() string {
	if runtime.GOOS == "linux" {
		return machineID("/etc/machine-id", "/var/lib/dbus/machine-id")
	}
	ctx, cancel := context.WithTimeout(context.Background(), hostIDLimit)
	defer cancel()
	id, err := host.HostIDWithContext(ctx)
	if err != nil {
		return ""
	}
	return id
})

// machineID is the first of these files that holds a machine id (machine-id(5)): 32
// hexadecimal digits, which they may not be yet while the machine first boots. What
// else Linux knows of itself depends on who asks (product_uuid) or changes with each
// boot (boot_id), so that it is no identity.
func machineID(files ...string) string {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		id := strings.TrimSpace(string(data))
		if len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" {
			return id
		}
	}
	return ""
}
