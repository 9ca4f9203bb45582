// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// summary is an agent in a list and in an event.
type summary struct {
	InstanceUID    string          `json:"instance_uid"`
	ServiceName    string          `json:"service_name"`
	ServiceVersion string          `json:"service_version"`
	HostName       string          `json:"host_name"`
	Condition      fleet.Condition `json:"condition"`
	ConditionSince time.Time       `json:"condition_since"`
	Liveness       fleet.Liveness  `json:"liveness"`
	LivenessSince  time.Time       `json:"liveness_since"`
	Healthy        *bool           `json:"healthy"`
	Status         string          `json:"status"`
	StatusSince    *time.Time      `json:"status_since"`
	LastError      string          `json:"last_error"`
	ProblemsCount  int             `json:"problems_count"`
	FirstProblem   *problem        `json:"first_problem"`
	Transport      string          `json:"transport"`
	RemoteAddress  string          `json:"remote_address"`
	FirstSeen      time.Time       `json:"first_seen"`
	LastSeen       time.Time       `json:"last_seen"`
	Logical        string          `json:"logical"`
	Runs           int             `json:"runs"`
	KnownSince     time.Time       `json:"known_since"`
	Flaps          int             `json:"flaps"`
	Version        uint64          `json:"version"`
}

// problem is a failing part of an agent.
type problem struct {
	Path     []string  `json:"path"`
	Pipeline string    `json:"pipeline"`
	Kind     string    `json:"kind"`
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Error    string    `json:"error"`
	Since    time.Time `json:"since"`
}

func summaries(agents []*fleet.Agent, now time.Time) []summary {
	out := make([]summary, 0, len(agents))
	for _, a := range agents {
		out = append(out, summarize(a, now))
	}
	return out
}

func summarize(a *fleet.Agent, now time.Time) summary {
	s := summary{
		InstanceUID:    a.UID.String(),
		ServiceName:    a.ServiceName(),
		ServiceVersion: a.ServiceVersion(),
		HostName:       a.HostName(),
		Condition:      a.Condition(),
		ConditionSince: a.Since().UTC(),
		Liveness:       a.Liveness,
		LivenessSince:  a.LivenessSince.UTC(),
		ProblemsCount:  len(a.Problems),
		Transport:      a.Transport,
		RemoteAddress:  a.RemoteAddr,
		FirstSeen:      a.FirstSeen.UTC(),
		LastSeen:       a.LastSeen.UTC(),
		Logical:        a.Logical,
		Runs:           a.Runs,
		KnownSince:     a.KnownSince.UTC(),
		Flaps:          a.Flaps(now),
		Version:        a.Version,
	}
	s.LastError = lastError(a)
	if h := a.Health; h != nil {
		s.Healthy, s.Status = &h.Healthy, h.Status
		s.StatusSince = knownTime(h.Since)
	}
	if len(a.Problems) > 0 {
		first := newProblem(a.Problems[0])
		s.FirstProblem = &first
	}
	return s
}

// lastError is the agent's own, or else that of its first problem.
func lastError(a *fleet.Agent) string {
	if a.Health != nil && a.Health.LastError != "" {
		return a.Health.LastError
	}
	if len(a.Problems) > 0 {
		return a.Problems[0].Error
	}
	return ""
}

func newProblem(p fleet.Problem) problem {
	return problem{
		Path: append([]string{}, p.Path...), Pipeline: p.Pipeline, Kind: p.Kind, ID: p.ID,
		Status: p.Status, Error: p.Error, Since: p.Since.UTC(),
	}
}

// knownTime is null in JSON for a time that is not known.
func knownTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
