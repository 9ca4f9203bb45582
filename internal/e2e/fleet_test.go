// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fleet is a collector with an opamp_server.
type fleet struct {
	*collector
	agents string // host and port
	web    string // host and port
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	return startFleetAt(t, freeAddress(t), freeAddress(t))
}

func startFleetAt(t *testing.T, agents, web string) *fleet {
	t.Helper()
	f := &fleet{agents: agents, web: web}
	f.collector = startCollector(t, distribution(t), serverConfig(fmt.Sprintf(
		"    agents: {endpoint: '%s'}\n    web: {endpoint: '%s'}", agents, web)))
	f.waitReady(t, 1)
	return f
}

// startAgent starts a collector that reports to f and has the exporter whose status a test sets.
func (f *fleet) startAgent(t *testing.T, transport string) (*collector, exporter) {
	t.Helper()
	e, config := newExporter(t)
	interval := "" // of plain HTTP only
	if transport == "http" {
		interval = ", polling_interval: 1s"
	}
	c := startCollector(t, testDistribution(t), config+fmt.Sprintf(`
  extensions: [opamp]
extensions:
  opamp: {server: {%s: {endpoint: "%s://%s/v1/opamp"%s}}}
`, transport, transport, f.agents, interval))
	c.waitReady(t, 1)
	return c, e
}

// agent is what the API tells of one agent.
type agent struct {
	UID          string    `json:"instance_uid"`
	Service      string    `json:"service_name"`
	Condition    string    `json:"condition"`
	Liveness     string    `json:"liveness"`
	Status       string    `json:"status"`
	LastError    string    `json:"last_error"`
	FirstProblem *problem  `json:"first_problem"`
	Problems     []problem `json:"problems"` // only of one agent, not of a list

	// Only of one agent: nil is never reported.
	Description *struct{} `json:"description"`
	Health      *health   `json:"health"`
	Config      *struct{} `json:"effective_config"`
	Components  *struct {
		Listed bool `json:"listed"`
	} `json:"available_components"`
}

type problem struct {
	Path     []string  `json:"path"`
	Pipeline string    `json:"pipeline"`
	Kind     string    `json:"kind"`
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Error    string    `json:"error"`
	Since    time.Time `json:"since"`
}

type health struct {
	Name       string   `json:"name"`
	Healthy    bool     `json:"healthy"`
	Status     string   `json:"status"`
	Components []health `json:"components"`
}

// part is the health below h on a path of names.
func (h *health) part(path ...string) *health {
	for _, name := range path {
		var next *health
		for n := range h.Components {
			if h.Components[n].Name == name {
				next = &h.Components[n]
			}
		}
		if next == nil {
			return nil
		}
		h = next
	}
	return h
}

// list is every agent that the API knows.
func (f *fleet) list(t *testing.T) []agent {
	t.Helper()
	var page struct {
		Agents []agent `json:"agents"`
	}
	f.get(t, "/api/v1/agents", &page)
	return page.Agents
}

// show is all about one agent.
func (f *fleet) show(t *testing.T, uid string) agent {
	t.Helper()
	var a agent
	f.get(t, "/api/v1/agents/"+uid, &a)
	return a
}

func (f *fleet) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.web+path, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	require.NoError(t, json.Unmarshal(body, into), "%s", body)
}

// changes is what the event stream tells, an agent at a time. It ends with the test.
type changes <-chan agent

func (f *fleet) watch(t *testing.T) changes {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.web+"/api/v1/events", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)

	agents, ended := make(chan agent, 1024), make(chan error, 1)
	go func() { ended <- readEvents(resp.Body, agents) }()
	t.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("event stream: %v", err)
		}
	})
	return agents
}

func readEvents(stream io.Reader, agents chan<- agent) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct {
			Agents []agent `json:"agents"`
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return fmt.Errorf("%w: %s", err, data)
		}
		for _, a := range event.Agents {
			agents <- a
		}
	}
	return lines.Err()
}

// until waits for an agent of which ok says yes.
func (c changes) until(t *testing.T, what string, ok func(agent) bool) agent {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var last agent
	for {
		select {
		case last = <-c:
			if ok(last) {
				return last
			}
		case <-deadline.C:
			require.Fail(t, "no agent is "+what, "the last one told: %+v", last)
		}
	}
}

func isHealthy(a agent) bool { return a.Condition == "healthy" }

func is(liveness string) func(agent) bool {
	return func(a agent) bool { return a.Liveness == liveness }
}
