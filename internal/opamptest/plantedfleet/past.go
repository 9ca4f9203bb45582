// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plantedfleet

import (
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// What happened before: a roll-out that came to some, a config that broke something, a pod that was started anew.
const (
	// Rolled is how many edge agents got NewVersion within the last hour. The first of them, RolledBroken, fell ill later:
	// they are of those that are Refused.
	Rolled       = 16
	RolledBroken = 4
	// Misconfigured got another config two minutes before its exporter began to fail, fourteen minutes ago.
	Misconfigured = 5 // as UID counts
	// Restarted is the fourth pod in one place; Restarts were before it.
	Restarted = 186 // as UID counts
	Restarts  = 3

	firstRolled = 4 + Refused - RolledBroken
	// OldEndpoint is in the config that Misconfigured had before.
	OldEndpoint = "https://old.example.com"
)

// past is played before all else. It ends ten minutes ago, for a fleet hears in the order of time.
func past(f *fleet.Fleet, all []*agent, now time.Time, pause func()) {
	step := func(n int, seq uint64, at time.Time, change func(*protobufs.AgentToServer)) {
		m := all[n].report(at)
		m.SequenceNum = -seq // the first that Play sends is 0
		change(m)
		f.Report(all[n].conn(n), m, at)
	}
	old := func(m *protobufs.AgentToServer) {
		for _, a := range m.AgentDescription.IdentifyingAttributes {
			if a.Key == "service.version" {
				a.Value = pairs("", OldVersion)[0].Value
			}
		}
	}
	well := func(n int) *protobufs.ComponentHealth {
		a := *all[n]
		a.failing = ""
		return a.health(now.Add(-time.Second)) // as Play does, so that it is no other run
	}
	long := now.Add(-3 * time.Hour)
	for i := range Rolled {
		n := firstRolled + i
		step(n, 2, long, func(m *protobufs.AgentToServer) { old(m); m.Health = well(n) })
	}
	bad := Misconfigured - 1
	step(bad, 3, long, func(m *protobufs.AgentToServer) {
		body := m.EffectiveConfig.ConfigMap.ConfigMap[""]
		body.Body = []byte(strings.ReplaceAll(string(body.Body), "https://otlp.example.com", OldEndpoint))
		m.Health = well(bad)
	})
	restarts(f, all[Restarted-1], now)
	for i := range Rolled {
		n := firstRolled + i
		step(n, 1, now.Add(-time.Duration(50-2*i)*time.Minute), func(m *protobufs.AgentToServer) { m.Health = well(n) })
	}
	pause()
	step(bad, 2, now.Add(-16*time.Minute), func(m *protobufs.AgentToServer) { m.Health = well(bad) })
	step(bad, 1, now.Add(-14*time.Minute), func(m *protobufs.AgentToServer) { m.Health = all[bad].health(now.Add(-time.Second)) })
}

// restarts has pods come one after the other in the place of a.
func restarts(f *fleet.Fleet, a *agent, now time.Time) {
	for i := range Restarts {
		pod := *a
		pod.UID = UID(1000 + i)
		at := now.Add(-time.Duration(150-20*i) * time.Minute)
		conn := fleet.Conn{ID: uint64(7000 + i), Transport: fleet.TransportWebSocket, RemoteAddr: a.address + ":40000"}
		f.Report(conn, pod.report(at), at)
		f.Disconnected(conn, at.Add(19*time.Minute))
	}
}
