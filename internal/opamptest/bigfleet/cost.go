// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package bigfleet

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
)

// Heap is what lives on it, in bytes.
func Heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Costs are times of the same thing: of a core, and by the clock.
type Costs struct{ core, clock []time.Duration }

// Cost does a thing some times and returns what each took. It is the caller's to see to it that nothing else runs in the
// process, and that it has one core: runtime.GOMAXPROCS(1).
func Cost(rounds int, do func()) (c Costs) {
	for range rounds {
		began, clock := measured.ProcessCPU(), time.Now()
		do()
		c.core, c.clock = append(c.core, measured.ProcessCPU()-began), append(c.clock, time.Since(clock))
	}
	return c
}

// And is both together.
func (c Costs) And(o Costs) Costs {
	return Costs{core: slices.Concat(c.core, o.core), clock: slices.Concat(c.clock, o.clock)}
}

// Heads are the words above the figures of String.
const Heads = "  core p50   core p95  clock p50  clock p95"

// String is the median and the 95th percentile, of the core and by the clock.
func (c Costs) String() string {
	return fmt.Sprintf("%10s %10s %10s %10s", c.Core(50), c.Core(95), c.Clock(50), c.Clock(95))
}

// Core is a percentile of the times of a core.
func (c Costs) Core(p int) time.Duration { return percentile(c.core, p) }

// Clock is a percentile of the times by the clock.
func (c Costs) Clock(p int) time.Duration { return percentile(c.clock, p) }

func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)*p/100].Round(10 * time.Microsecond)
}
