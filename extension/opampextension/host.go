// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/shirou/gopsutil/v4/host"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
)

// platform is the operating system for people. It is asked for once in the life of
// the process, because on some Linux distributions that runs a program (lsb_release,
// for a fifth of a second, three at most), and it does not change.
var platform = sync.OnceValue(func() string {
	name, _, version, err := host.PlatformInformation()
	if err != nil {
		return ""
	}
	return osDescription(runtime.GOOS, name, version)
})

// readHost finds out what the machine is. What cannot be found out is left empty: a
// container may hide any of it, and none is worth a Collector that does not start.
// It may take a moment the first time.
func readHost() agentreport.Host {
	h := agentreport.Host{OSType: runtime.GOOS, Arch: runtime.GOARCH, OSDescription: platform(), ID: hostID()}
	if name, err := os.Hostname(); err == nil {
		h.Name = name
	}
	return h
}

// hostIDLimit bounds the program that macOS is asked with.
const hostIDLimit = time.Second

// hostID is host.id of the semantic conventions, empty where it is not known. It does
// not change in the life of the process.
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

// readProcess finds out what this process is.
func readProcess() agentreport.Process {
	p := agentreport.Process{
		PID:            int64(os.Getpid()),
		RuntimeName:    "go",
		RuntimeVersion: runtime.Version(),
	}
	if path, err := os.Executable(); err == nil {
		p.Executable = filepath.Base(path)
	}
	return p
}

// osDescription is the operating system for people, "Debian 12.11".
func osDescription(goos, name, version string) string {
	switch goos {
	case "darwin":
		name = "macOS"
	case "linux":
		name = titled(name)
	}
	return strings.TrimSpace(name + " " + version)
}

// titled starts each word of s with a capital: opensuse-leap is Opensuse-Leap.
func titled(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		if !inWord {
			r = unicode.ToUpper(r)
		}
		inWord = unicode.IsLetter(r) || unicode.IsDigit(r)
		return r
	}, s)
}
