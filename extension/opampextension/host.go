// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unicode"

	"github.com/shirou/gopsutil/v4/host"

	"github.com/otel-fleetview/fleetview/internal/agentidentity"
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
	h := agentreport.Host{OSType: runtime.GOOS, Arch: runtime.GOARCH, OSDescription: platform(), ID: agentidentity.HostID()}
	if name, err := os.Hostname(); err == nil {
		h.Name = name
	}
	return h
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
