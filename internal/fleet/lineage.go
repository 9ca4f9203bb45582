// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Lineage is what one agent owes to those that were the same thing before it: a pod that is started anew has another
// instance UID and is another agent to the protocol, and the same one to people.
type Lineage struct {
	// Logical is the logical identity, empty where the agent tells nothing that would give it one; see [Identity].
	Logical string
	// Runs counts the instances, this one included. At least 1.
	Runs int
	// KnownSince is when the first of them was first seen.
	KnownSince time.Time
	// Before is the instance right before this one, zero where there was none.
	Before opampwire.InstanceUID

	// troubles are when it last came back, started again or fell ill, the last last. At most maxTroubles.
	troubles []time.Time
}

// FlapWindow is the time over which [Agent.Flaps] counts.
const FlapWindow = time.Hour

// FlapsMany is how many flaps within [FlapWindow] are more than an upgrade and its correction.
const FlapsMany = 4

const maxTroubles = 32

// Flaps counts how often the agent came back, started again or fell ill within [FlapWindow] before now; 32 stands for
// that many or more.
func (a *Agent) Flaps(now time.Time) int {
	i, _ := slices.BinarySearchFunc(a.troubles, now.Add(-FlapWindow), time.Time.Compare)
	return len(a.troubles) - i
}

// noteTrouble remembers a moment of trouble. The slice is another one: that of an older state never changes.
func (l *Lineage) noteTrouble(now time.Time) {
	old := l.troubles[max(0, len(l.troubles)-maxTroubles+1):]
	l.troubles = append(slices.Clone(old), now)
}

// troubled reports whether the step from prev was one that counts as a flap.
func (a *Agent) troubled(prev *Agent, ch Changes) bool {
	if prev == nil {
		return false
	}
	cameBack := ch&ChangedLiveness != 0 && a.Present() && prev.Liveness != LivenessUnknown
	if cameBack {
		return true
	}
	if ch&ChangedHealth == 0 {
		return false
	}
	from, to := prev.startedText(), a.startedText()
	fellIll := a.Condition() == ConditionUnhealthy && prev.Condition() == ConditionHealthy
	return fellIll || from != "" && to != "" && from != to
}

// succeed makes a the successor of gone, who was there before all that a followed until now.
func (l *Lineage) succeed(gone *Agent, now time.Time) {
	if l.Before.IsZero() {
		l.Before = gone.UID
	}
	l.Runs += gone.Runs
	l.KnownSince = gone.KnownSince
	all := append(slices.Clone(gone.troubles), l.troubles...)
	slices.SortFunc(all, time.Time.Compare)
	l.troubles = all
	l.noteTrouble(now)
}

// savedLineage is a [Lineage] as it is written down.
type savedLineage struct {
	Logical    string    `json:"logical,omitempty"`
	Runs       int       `json:"runs"`
	KnownSince time.Time `json:"known_since"`
	Before     []byte    `json:"before,omitempty"`
	Troubles   []int64   `json:"troubles,omitempty"`
}

func (l *Lineage) save() savedLineage {
	s := savedLineage{Logical: l.Logical, Runs: l.Runs, KnownSince: l.KnownSince.UTC()}
	if !l.Before.IsZero() {
		s.Before = l.Before.Bytes()
	}
	for _, t := range l.troubles {
		s.Troubles = append(s.Troubles, saveTime(t))
	}
	return s
}

func (s savedLineage) restore() Lineage {
	l := Lineage{Logical: s.Logical, Runs: max(s.Runs, 1), KnownSince: s.KnownSince}
	if before, err := opampwire.InstanceUIDFromBytes(s.Before); err == nil {
		l.Before = before
	}
	for _, n := range s.Troubles[max(0, len(s.Troubles)-maxTroubles):] {
		l.troubles = append(l.troubles, restoreTime(n))
	}
	return l
}
