// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
)

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func leaf(s componentstatus.Status, seconds int, text string) *agentreport.HealthTree {
	return &agentreport.HealthTree{Status: s, Since: at(seconds), Error: text}
}

// What the whole shows for parts of which two or more differ.
func TestSummary(t *testing.T) {
	const (
		none        = componentstatus.StatusNone
		starting    = componentstatus.StatusStarting
		ok          = componentstatus.StatusOK
		recoverable = componentstatus.StatusRecoverableError
		permanent   = componentstatus.StatusPermanentError
		fatal       = componentstatus.StatusFatalError
		stopping    = componentstatus.StatusStopping
		stopped     = componentstatus.StatusStopped
	)
	for name, tc := range map[string]struct {
		parts []*agentreport.HealthTree
		want  *agentreport.HealthTree
	}{
		"nothing":               {nil, &agentreport.HealthTree{Status: none}},
		"all OK, latest time":   {[]*agentreport.HealthTree{leaf(ok, 1, ""), leaf(ok, 5, ""), leaf(ok, 3, "")}, leaf(ok, 5, "")},
		"all stopped":           {[]*agentreport.HealthTree{leaf(stopped, 1, ""), leaf(stopped, 2, "")}, leaf(stopped, 2, "")},
		"some stopped":          {[]*agentreport.HealthTree{leaf(stopped, 4, ""), leaf(ok, 2, "")}, leaf(stopping, 4, "")},
		"stopping and stopped":  {[]*agentreport.HealthTree{leaf(stopped, 1, ""), leaf(stopping, 2, "")}, leaf(stopping, 2, "")},
		"one starts":            {[]*agentreport.HealthTree{leaf(ok, 9, ""), leaf(starting, 2, "")}, leaf(starting, 9, "")},
		"starting hides error":  {[]*agentreport.HealthTree{leaf(permanent, 9, "e"), leaf(starting, 2, "")}, leaf(starting, 9, "")},
		"stopping hides error":  {[]*agentreport.HealthTree{leaf(permanent, 9, "e"), leaf(stopping, 2, "")}, leaf(stopping, 9, "")},
		"fatal hides starting":  {[]*agentreport.HealthTree{leaf(fatal, 2, "f"), leaf(starting, 9, "")}, leaf(fatal, 2, "f")},
		"permanent first":       {[]*agentreport.HealthTree{leaf(recoverable, 1, "r"), leaf(permanent, 5, "p"), leaf(ok, 9, "")}, leaf(permanent, 5, "p")},
		"recoverable before OK": {[]*agentreport.HealthTree{leaf(recoverable, 1, "r"), leaf(ok, 9, "")}, leaf(recoverable, 1, "r")},
		"the first error":       {[]*agentreport.HealthTree{leaf(recoverable, 7, "late"), leaf(recoverable, 3, "first"), leaf(ok, 1, "")}, leaf(recoverable, 3, "first")},
		"a tie is the first":    {[]*agentreport.HealthTree{leaf(recoverable, 3, "a"), leaf(recoverable, 3, "b")}, leaf(recoverable, 3, "a")},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, summary(tc.parts)) })
	}
}

func recorded(events map[*componentstatus.InstanceID]*componentstatus.Event) instances {
	all := instances{}
	for id, ev := range events {
		all[*id] = state{event: ev, since: ev.Timestamp()}
	}
	return all
}

func names(t *agentreport.HealthTree) []string { return slices.Sorted(maps.Keys(t.Children)) }

func TestAggregateNamesScopesAndComponents(t *testing.T) {
	tree := aggregate(recorded(map[*componentstatus.InstanceID]*componentstatus.Event{
		otlp:    status(componentstatus.StatusOK),
		batch:   status(componentstatus.StatusOK),
		debug:   status(componentstatus.StatusOK),
		backend: failure("connection refused"),
		opamp:   status(componentstatus.StatusOK),
		instance(component.KindConnector, "forward", traces, metrics): status(componentstatus.StatusOK),
	}))

	require.Equal(t, []string{"extensions", "pipeline:logs", "pipeline:metrics/host", "pipeline:traces"}, names(tree))
	require.Equal(t, []string{"extension:opamp"}, names(tree.Children["extensions"]))
	require.Equal(t, []string{"exporter:debug", "receiver:otlp"}, names(tree.Children["pipeline:logs"]))
	require.Equal(t, []string{"connector:forward"}, names(tree.Children["pipeline:metrics/host"]))
	require.Equal(t,
		[]string{"connector:forward", "exporter:otlp/backend", "processor:batch", "receiver:otlp"},
		names(tree.Children["pipeline:traces"]))

	require.Equal(t, componentstatus.StatusRecoverableError, tree.Status)
	require.Equal(t, "connection refused", tree.Error)
	require.Equal(t, componentstatus.StatusRecoverableError, tree.Children["pipeline:traces"].Status)
	require.Equal(t, componentstatus.StatusOK, tree.Children["pipeline:logs"].Status)
}

func TestAggregateOfNothing(t *testing.T) {
	tree := aggregate(instances{})
	require.Equal(t, componentstatus.StatusNone, tree.Status)
	require.Empty(t, tree.Children)
}

// A connector between two pairs of signals is two instances of one name in the
// pipeline that they share. The worse one speaks.
func TestInstancesOfOneComponentInOnePipelineAreMerged(t *testing.T) {
	toMetrics := instance(component.KindConnector, "spanmetrics", traces, metrics)
	toLogs := instance(component.KindConnector, "spanmetrics", traces, logs)
	for range 20 { // whatever the map's order
		tree := aggregate(recorded(map[*componentstatus.InstanceID]*componentstatus.Event{
			toMetrics: status(componentstatus.StatusOK),
			toLogs:    failure("full"),
		}))
		require.Equal(t, "full", tree.Children["pipeline:traces"].Children["connector:spanmetrics"].Error)
		require.Equal(t, "full", tree.Children["pipeline:logs"].Children["connector:spanmetrics"].Error)
		require.Empty(t, tree.Children["pipeline:metrics/host"].Children["connector:spanmetrics"].Error)
	}
}

// One exporter in two signals is two instances and stands in each pipeline with
// its own status.
func TestOneExporterOfTwoSignalsHasTwoStatuses(t *testing.T) {
	tree := aggregate(recorded(map[*componentstatus.InstanceID]*componentstatus.Event{
		instance(component.KindExporter, "otlp", logs):   status(componentstatus.StatusOK),
		instance(component.KindExporter, "otlp", traces): failure("refused"),
	}))
	require.Equal(t, componentstatus.StatusOK, tree.Children["pipeline:logs"].Children["exporter:otlp"].Status)
	require.Equal(t, "refused", tree.Children["pipeline:traces"].Children["exporter:otlp"].Error)
}

type brokenError struct{ text *string }

func (e *brokenError) Error() string { return *e.text }

// An error is asked for its text on this goroutine, where a panic would end the
// Collector.
func TestAnErrorWhoseTextPanicsDoesNotEndTheCollector(t *testing.T) {
	for name, err := range map[string]error{
		"nil pointer": (*brokenError)(nil),
		"nil inside":  &brokenError{},
		"joined":      errors.Join(errors.New("a"), errors.New("b")),
	} {
		t.Run(name, func(t *testing.T) {
			tree := aggregate(recorded(map[*componentstatus.InstanceID]*componentstatus.Event{
				debug: componentstatus.NewPermanentErrorEvent(err),
			}))
			require.NotEmpty(t, tree.Error)
		})
	}
}

func TestAttributesComeWithTheErrorTheyBelongTo(t *testing.T) {
	m := pcommon.NewMap()
	m.PutStr("endpoint", "127.0.0.1:1")
	tree := aggregate(recorded(map[*componentstatus.InstanceID]*componentstatus.Event{
		debug: componentstatus.NewEvent(componentstatus.StatusRecoverableError,
			componentstatus.WithError(errors.New("refused")), componentstatus.WithAttributes(m)),
		otlp: componentstatus.NewEvent(componentstatus.StatusOK, componentstatus.WithAttributes(pcommon.Map{})),
	}))
	require.Equal(t, m, tree.Attributes)
	require.Equal(t, m, tree.Children["pipeline:logs"].Attributes)
	require.Equal(t, pcommon.Map{}, tree.Children["pipeline:traces"].Attributes)
}
