// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"errors"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// BenchmarkComponentStatusChanged is what a component pays, under the service's
// lock, for a change of status while reports go out.
func BenchmarkComponentStatusChanged(b *testing.B) {
	r := New(time.Now())
	r.Start(func(*protobufs.ComponentHealth) {})
	defer r.Stop()
	r.Ready()
	events := []*componentstatus.Event{
		status(componentstatus.StatusOK),
		componentstatus.NewRecoverableErrorEvent(errors.New("connection refused")),
	}
	r.ComponentStatusChanged(backend, events[0])
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		r.ComponentStatusChanged(backend, events[i%2])
	}
}

// BenchmarkStorm spreads 10,000 changes of status over one second of real time
// and counts the messages of that second.
func BenchmarkStorm(b *testing.B) {
	const (
		events = 10_000
		slices = 100
	)
	var messages uint64
	for range b.N {
		r := New(time.Now())
		r.Start(func(*protobufs.ComponentHealth) {})
		r.Ready()
		before := r.Stats().Reports
		begin := time.Now()
		for s := range slices {
			for range events / slices / 2 {
				r.ComponentStatusChanged(backend, failure("connection refused"))
				r.ComponentStatusChanged(backend, status(componentstatus.StatusOK))
			}
			time.Sleep(time.Until(begin.Add(time.Duration(s+1) * time.Second / slices)))
		}
		messages += r.Stats().Reports - before
		r.Stop()
	}
	b.ReportMetric(float64(messages)/float64(b.N), "messages/s")
	b.ReportMetric(float64(events), "events/s")
}
