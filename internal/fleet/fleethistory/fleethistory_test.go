// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleethistory

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var start = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func minute(m int) time.Time { return start.Add(time.Duration(m) * time.Minute) }

// world is a fleet whose log remembers every config.
type world struct {
	t       *testing.T
	fleet   *fleet.Fleet
	configs map[fleet.Sum]*fleet.Config
	seq     map[byte]uint64
	read    int // queries for events
	fails   error
}

func newWorld(t *testing.T) (*world, *Reader) {
	w := &world{t: t, fleet: fleet.New(fleet.Settings{}), configs: map[fleet.Sum]*fleet.Config{}, seq: map[byte]uint64{}}
	return w, New(w, fleetsearch.New(w.fleet))
}

func (w *world) Events(_ context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	w.read++
	return w.fleet.Events(q), w.fails
}

func (w *world) Config(_ context.Context, sum fleet.Sum) (*fleet.Config, error) {
	return w.configs[sum], w.fails
}

func uidOf(n byte) opampwire.InstanceUID { return opampwire.InstanceUID{1, 15: n} }

func (w *world) agent(n byte) *fleet.Agent {
	a, ok := w.fleet.Agent(uidOf(n))
	require.True(w.t, ok)
	return a
}

// report has an agent say of itself: its version, its config, and what each exporter's status is.
func (w *world) report(n byte, at time.Time, version, config string, exporters ...string) {
	uid := uidOf(n)
	text := func(s string) *protobufs.AnyValue {
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
	}
	msg := &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: w.seq[n], Capabilities: 1 | 4 | 0x800}
	w.seq[n]++
	if version != "" {
		msg.AgentDescription = &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{
			{Key: "service.name", Value: text("otel")},
			{Key: "service.version", Value: text(version)},
			{Key: "host.name", Value: text(fmt.Sprintf("host-%d", n%100))},
		}}
	}
	if config != "" {
		msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(config)}},
		}}
	}
	if len(exporters) > 0 {
		root := &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK", ComponentHealthMap: map[string]*protobufs.ComponentHealth{}}
		for i, status := range exporters {
			ok := status == "StatusOK"
			root.Healthy = root.Healthy && ok
			root.ComponentHealthMap[fmt.Sprintf("exporter:e/%d", i)] = &protobufs.ComponentHealth{Healthy: ok, Status: status}
		}
		msg.Health = root
	}
	w.fleet.Report(fleet.Conn{ID: uint64(n), Transport: fleet.TransportWebSocket, RemoteAddr: "10.0.0.1:1"}, msg, at)
	if c := w.agent(n).Config; c != nil {
		w.configs[c.Sum()] = c
	}
}

func exporting(to string) string {
	return "receivers:\n  otlp:\n    x: 1\nexporters:\n  " + to + ":\n    x: 1\nservice:\n  pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [" + to + "]\n"
}

func TestAStepBeginsWhereItWasWellLast(t *testing.T) {
	w, r := newWorld(t)
	const ok, soft, hard = "StatusOK", "StatusRecoverableError", "StatusPermanentError"
	w.report(1, minute(0), "1", exporting("otlp"), ok, ok)
	w.report(1, minute(10), "2", "")
	w.report(1, minute(20), "", exporting("otlphttp"))
	w.report(1, minute(30), "", "", ok, soft) // the second fails
	w.report(1, minute(40), "", "", soft, hard)
	w.report(1, minute(50), "", "", ok, hard) // the first is well again
	ask := func(component string, within time.Duration) Transition {
		out, err := r.Transition(t.Context(), TransitionRequest{Agent: w.agent(1), Component: component, Within: within})
		require.NoError(t, err)
		return out
	}
	got := ask("", 0)
	require.NotNil(t, got.Event)
	assert.Equal(t, minute(30), got.Since)
	assert.Equal(t, "exporter:e/1", got.Event.Subject)
	require.Len(t, got.Changes, 2)
	assert.Equal(t, fleet.EventConfig, got.Changes[0].Kind, "the nearest first")
	assert.Equal(t, 10*time.Minute, got.Changes[0].Before)
	assert.True(t, got.Changes[0].Both)
	assert.False(t, got.Changes[0].Same)
	assert.Equal(t, fleet.EventVersion, got.Changes[1].Kind)
	assert.Equal(t, fleet.EventHealth, got.Timeline[0].Kind)
	assert.Len(t, ask("", 15*time.Minute).Changes, 1)

	well := ask("exporter:e/0", 0)
	require.NotNil(t, well.Event)
	assert.Equal(t, minute(50), well.Since, "when it got well")
	assert.Equal(t, minute(30), ask("e", 0).Since, "of many the one that fell ill first")
	nothing := ask("receiver:none", 0)
	assert.Nil(t, nothing.Event)
	assert.True(t, nothing.Since.IsZero())
	assert.Empty(t, nothing.Timeline)

	w.fleet.Note("started", "", minute(55))
	w.fleet.Disconnected(fleet.Conn{ID: 1, Transport: fleet.TransportWebSocket}, minute(60))
	gone := ask("", 0)
	require.NotNil(t, gone.Event)
	assert.Equal(t, fleet.EventLost, gone.Event.Kind)
	kinds := []fleet.EventKind{}
	for _, e := range gone.Timeline {
		kinds = append(kinds, e.Kind)
	}
	assert.Contains(t, kinds, fleet.EventServer, "what the server did is on the same line")
	w.fails = errors.New("disk I/O error")
	_, err := r.Transition(t.Context(), TransitionRequest{Agent: w.agent(1)})
	assert.ErrorIs(t, err, w.fails)
}

func TestOnlyWhatDiffersBetweenInstancesIsNoOtherConfig(t *testing.T) {
	w, r := newWorld(t)
	w.report(1, minute(0), "1", exporting("otlp")+"  telemetry:\n    resource:\n      host.name: a\n", "StatusOK")
	w.report(1, minute(1), "", exporting("otlp")+"  telemetry:\n    resource:\n      host.name: b\n")
	w.report(1, minute(2), "", "", "StatusPermanentError")
	got, err := r.Transition(t.Context(), TransitionRequest{Agent: w.agent(1)})
	require.NoError(t, err)
	require.Len(t, got.Changes, 1)
	assert.True(t, got.Changes[0].Same)
}

func TestOutages(t *testing.T) {
	w, r := newWorld(t)
	f := w.fleet
	f.Note("started", "", minute(0)) // for the first time
	w.report(1, minute(5), "1", "")
	f.Note("stopped", "", minute(10))
	f.Note("started", "", minute(12))
	w.report(2, minute(15), "1", "")
	f.Note("started", "", minute(20)) // was killed
	f.Tick(minute(21))
	f.Tick(minute(31)) // stood still
	got, err := r.Outages(t.Context(), minute(-1))
	require.NoError(t, err)
	assert.Equal(t, []Outage{
		{minute(21), minute(31), OutageAsleep}, {minute(15), minute(20), OutageKilled}, {minute(10), minute(12), OutageStopped},
	}, got)
	late, err := r.Outages(t.Context(), minute(25))
	require.NoError(t, err)
	assert.Len(t, late, 1)
	assert.Equal(t, OutageStopped, During(got, minute(9), minute(11)).Why)
	assert.Equal(t, OutageStopped, During(got, minute(12), minute(12)).Why, "right after")
	assert.Nil(t, During(got, minute(13), minute(14)))
	w.fails = errors.New("disk I/O error")
	_, err = r.Outages(t.Context(), minute(0))
	assert.ErrorIs(t, err, w.fails)
}

func rolled(t *testing.T, r *Reader, q RolloutRequest) Rollout {
	t.Helper()
	q.Now = minute(60)
	if q.From.IsZero() {
		q.From = minute(0)
	}
	q.Steps = 7
	out, err := r.Rollout(t.Context(), q)
	require.NoError(t, err)
	return out
}

func TestARolloutOfAVersion(t *testing.T) {
	w, r := newWorld(t)
	for n := range byte(4) {
		w.report(n+1, minute(-60), "1.0", "", "StatusOK")
	}
	w.report(1, minute(5), "1.1", "")
	w.report(2, minute(15), "1.1", "")
	w.report(2, minute(16), "", "", "StatusPermanentError") // fails with it
	w.report(3, minute(25), "1.1", "")
	w.report(3, minute(35), "1.0", "") // is taken back
	w.report(5, minute(45), "1.1", "", "StatusOK")
	w.report(1, minute(55), "1.1", "", "StatusOK")
	got := rolled(t, r, RolloutRequest{})
	assert.Equal(t, "1.1", got.Value, "the newest")
	assert.Equal(t, []int{0, 1, 2, 3, 2, 3, 3}, got.Have)
	assert.Equal(t, []int{4, 4, 4, 4, 4, 5, 5}, got.Total)
	assert.Equal(t, 5, got.Selected)
	assert.Equal(t, 3, got.Done)
	assert.Equal(t, 0, got.Before)
	require.Len(t, got.Missing, 2)
	assert.Equal(t, "1.0", got.Missing[0].Value)
	assert.Equal(t, "-version:1.1 version:*", got.MissingQuery.String())
	require.Len(t, got.Failed, 1)
	assert.Equal(t, uidOf(2), got.Failed[0].Agent.UID)
	assert.Equal(t, minute(15), got.Failed[0].Got)
	assert.Equal(t, minute(16), got.Failed[0].Went)

	past := rolled(t, r, RolloutRequest{Value: "1.1", Until: minute(30)})
	assert.Equal(t, 3, past.Done, "as it was then")
	assert.Equal(t, 4, past.Selected)
	assert.Equal(t, minute(30), past.At[6])
	late := rolled(t, r, RolloutRequest{Value: "1.1", From: minute(50)})
	assert.Equal(t, 3, late.Before)
	assert.Empty(t, late.Failed, "who failed before is no matter of this time")
	none := rolled(t, r, RolloutRequest{Value: "9.9"})
	assert.Equal(t, 0, none.Done)
	assert.Equal(t, []int{0, 0, 0, 0, 0, 0, 0}, none.Have)
	narrow, err := fleetquery.Parse("host:host-1,host-2")
	require.NoError(t, err)
	assert.Equal(t, 2, rolled(t, r, RolloutRequest{Query: narrow}).Selected)
	for _, bad := range []RolloutRequest{{Of: "colour"}, {From: minute(9), Until: minute(8)}, {Of: OfConfig, Value: "ffffffff"}} {
		_, err := r.Rollout(t.Context(), bad)
		assert.Error(t, err)
	}
	w.fails = errors.New("disk I/O error")
	_, err = r.Rollout(t.Context(), RolloutRequest{Now: minute(60)})
	assert.ErrorIs(t, err, w.fails)
}

// A pod that is replaced by one of another version is one agent that got it.
func TestARolloutBySuccession(t *testing.T) {
	w, r := newWorld(t)
	w.report(1, minute(-60), "1.0", exporting("otlp"))
	w.report(2, minute(-60), "1.0", exporting("otlp"))
	w.fleet.Disconnected(fleet.Conn{ID: 1, Transport: fleet.TransportWebSocket}, minute(25))
	w.report(101, minute(25), "1.1", exporting("otlphttp")) // on the host of 1
	got := rolled(t, r, RolloutRequest{})
	assert.Equal(t, []int{0, 0, 0, 1, 1, 1, 1}, got.Have)
	assert.Equal(t, []int{2, 2, 2, 2, 2, 2, 2}, got.Total)
	config := rolled(t, r, RolloutRequest{Of: OfConfig, Value: w.agent(101).Config.Hash()})
	assert.Equal(t, 2, config.Selected, "the family that it replaced is to get it, too")
	assert.Equal(t, []int{0, 0, 0, 1, 1, 1, 1}, config.Have)
	assert.Len(t, config.Query.Terms[0].Values, 2)
	change, err := r.Transition(t.Context(), TransitionRequest{Agent: w.agent(101)})
	require.NoError(t, err)
	assert.NotNil(t, change.Event)

	earlier, err := r.Earlier(t.Context(), w.agent(101))
	require.NoError(t, err)
	assert.Equal(t, []Earlier{{Hash: w.agent(2).Config.Hash(), Until: minute(25)}}, earlier)
	assert.True(t, r.Knows(t.Context(), earlier[0].Hash))
	assert.False(t, r.Knows(t.Context(), "ffffffff"))
}

// What nobody runs any more is looked into once.
func TestPastConfigsAreRemembered(t *testing.T) {
	w, r := newWorld(t)
	for i := range 20 {
		w.report(1, minute(i), "1", exporting(fmt.Sprintf("otlp/%d", i)))
	}
	w.fails = context.Canceled // who doesn't wait for an answer leaves nothing behind
	for sum := range w.configs {
		budget := 1
		r.kindOf(t.Context(), sum.String(), &budget)
	}
	w.fails = nil
	budget := 100
	for range 2 {
		for sum := range w.configs {
			assert.NotEmpty(t, r.kindOf(t.Context(), sum.String(), &budget).variant)
		}
	}
	assert.Equal(t, 100-19, budget, "one is run, each other was looked into once")
	budget = 0
	assert.Empty(t, r.kindOf(t.Context(), fleet.Sum{9}.String(), &budget).variant)
	clear(r.kinds)
	got := rolled(t, r, RolloutRequest{Of: OfConfig})
	assert.Equal(t, 1, got.Done)
	assert.False(t, got.Cut)
}

// More configs came at once than a question reads: a roll-out reads some of them itself, and says that there are others.
func TestARolloutSaysHowManyConfigsAreUnread(t *testing.T) {
	w, r := newWorld(t)
	const many = 1000
	for n := range many {
		uid := opampwire.InstanceUID{1, 14: byte(1 + n>>8), 15: byte(n)}
		w.fleet.Report(fleet.Conn{ID: 1, Transport: fleet.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), Capabilities: 1,
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(exporting(fmt.Sprintf("otlp/%d", n)))}},
			}},
		}, minute(0))
	}
	everybody, err := fleetquery.Parse("uid:01")
	require.NoError(t, err)
	got := rolled(t, r, RolloutRequest{Of: OfConfig, Query: everybody})
	assert.Positive(t, got.Unread)
	assert.Equal(t, many, got.Selected, "as many past ones may be looked into, so these may be read")
	assert.Zero(t, r.index.Unread())

	agents, _ := w.fleet.Agents()
	fresh := New(w, fleetsearch.New(w.fleet))
	_, runs := fresh.index.Facts(agents[0].Config.Hash())
	assert.True(t, runs)
	budget := 0
	assert.Empty(t, fresh.kindOf(t.Context(), agents[0].Config.Hash(), &budget).variant)
	budget = 1
	assert.NotEmpty(t, fresh.kindOf(t.Context(), agents[0].Config.Hash(), &budget).variant)
	assert.Zero(t, budget)
	assert.Equal(t, many-1, fresh.index.Unread())
}

// cutLog has more events than are read for one answer.
type cutLog struct{ world }

func (c *cutLog) Events(_ context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	c.read++
	return fleet.EventPage{Events: make([]fleet.Event, q.Limit), Next: 1}, nil
}

func TestARolloutIsBounded(t *testing.T) {
	w, _ := newWorld(t)
	w.report(1, minute(0), "1", "")
	log := &cutLog{*w}
	got := rolled(t, New(log, fleetsearch.New(w.fleet)), RolloutRequest{})
	assert.True(t, got.Cut)
	assert.Equal(t, maxRolloutEvents/fleet.MaxEvents, log.read)
}
