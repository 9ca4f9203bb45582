// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package measured

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Cost is what a process has used so far, and holds now.
type Cost struct {
	RSS     int64         // bytes that are resident
	Peak    int64         // bytes, the most there ever were
	Heap    int64         // bytes in use of the heap, garbage included
	Stacks  int64         // bytes
	CPU     time.Duration // user and system
	Mallocs int64

	// Counts are what only this kind of process has, by name.
	Counts map[string]int64
}

// own is the cost of this process.
func own() Cost {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c := Cost{
		Heap: int64(m.HeapInuse), Stacks: int64(m.StackInuse), Mallocs: int64(m.Mallocs), //nolint:gosec // far below 2^63
		CPU: ProcessCPU(),
	}
	c.RSS, c.Peak = residentBytes()
	return c
}

// residentBytes are those now, and the most there ever were.
func residentBytes() (now, most int64) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kilobytes << 10
		case "VmHWM":
			most = kilobytes << 10
		}
	}
	return now, most
}

// ProcessCPU is the processor time of this process so far.
func ProcessCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
