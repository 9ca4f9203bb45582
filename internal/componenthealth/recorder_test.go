// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// inBubble runs a test of timing with a started harness that is stopped after it.
func inBubble(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness()
		defer h.Stop()
		h.start()
		test(t, h)
	})
}

// inRunning is inBubble with the Collector up and its first tree taken, at second 10.
func inRunning(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	inBubble(t, func(t *testing.T, h *harness) {
		h.running()
		time.Sleep(10 * time.Second)
		h.take()
		test(t, h)
	})
}

func TestBeforeReadyOneStartingMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.report(componentstatus.StatusStarting, opamp, debug)
		h.report(componentstatus.StatusOK, opamp, debug)
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(time.Hour)

		m := h.takeOne(t)
		require.Zero(t, m.at)
		require.False(t, m.health.GetHealthy())
		require.Equal(t, "StatusStarting", m.health.GetStatus())
		require.Equal(t, uint64(h.started.UnixNano()), m.health.GetStartTimeUnixNano())
		require.Empty(t, m.health.GetComponentHealthMap())
	})
}

// contrib's extension says healthy (empty), then Starting, then OK (fault B6).
func TestReadySendsOneCoherentTreeAndNoFlap(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.running()
		time.Sleep(time.Minute)

		m := h.takeOne(t)
		require.Zero(t, m.at)
		require.True(t, m.health.GetHealthy())
		require.Equal(t, "StatusOK", m.health.GetStatus())
		require.Len(t, m.health.GetComponentHealthMap(), 3)
		require.True(t, part(t, m.health, "pipeline:traces", "exporter:otlp/backend").GetHealthy())
	})
}

func TestReadyWaitsForAComponentThatStillStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.report(componentstatus.StatusStarting, zpages)
		h.running()
		h.report(componentstatus.StatusStarting, batch)
		time.Sleep(300 * time.Millisecond)
		require.Empty(t, h.take())

		h.report(componentstatus.StatusOK, batch)
		time.Sleep(time.Minute)
		m := h.takeOne(t)
		require.Equal(t, 300*time.Millisecond, m.at)
		require.True(t, m.health.GetHealthy())
	})
}

func TestReadyDoesNotWaitLongForAComponentThatStillStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.running()
		h.report(componentstatus.StatusStarting, batch)
		time.Sleep(time.Minute)

		m := h.takeOne(t)
		require.Equal(t, settleTime, m.at)
		require.Equal(t, "StatusStarting", m.health.GetStatus())

		h.report(componentstatus.StatusOK, batch)
		synctest.Wait()
		require.True(t, h.takeOne(t).health.GetHealthy())
	})
}

func TestReadyWithNoComponentKnown(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.Ready()
		synctest.Wait()
		require.True(t, h.takeOne(t).health.GetHealthy())
	})
}

func TestReadyTwiceIsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.running()
		h.Ready()
		synctest.Wait()
		h.Ready()
		time.Sleep(time.Minute)
		require.Len(t, h.take(), 1)
	})
}

func TestFirstBadNewsLeavesAtOnce(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		synctest.Wait()

		m := h.takeOne(t)
		require.Equal(t, 10*time.Second, m.at)
		require.False(t, m.health.GetHealthy())
		require.Equal(t, "refused", m.health.GetLastError())
		exporter := part(t, m.health, "pipeline:traces", "exporter:otlp/backend")
		require.Equal(t, "refused", exporter.GetLastError())
		require.Equal(t, uint64(h.started.Add(10*time.Second).UnixNano()), exporter.GetStatusTimeUnixNano())
		require.True(t, part(t, m.health, "pipeline:logs").GetHealthy())
	})
}

func TestRecoveryLeavesAtOnceAfterAQuietSecond(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(time.Second)
		h.take()

		h.report(componentstatus.StatusOK, backend)
		synctest.Wait()
		m := h.takeOne(t)
		require.Equal(t, 11*time.Second, m.at)
		require.True(t, m.health.GetHealthy())
		require.Empty(t, m.health.GetLastError())
	})
}

func TestRecoveryWithinTheSecondWaitsForItsEnd(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(100 * time.Millisecond)
		h.take()
		h.report(componentstatus.StatusOK, backend)
		time.Sleep(time.Minute)
		require.Equal(t, 11*time.Second, h.takeOne(t).at)
	})
}

// The first error right behind an ordinary message does not wait for the second
// to end, but only once in ten.
func TestBadNewsOvertakesTheLimitOnceInTenSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.running()
		time.Sleep(200 * time.Millisecond)
		h.take()

		h.ComponentStatusChanged(backend, failure("refused"))
		synctest.Wait()
		require.Equal(t, 200*time.Millisecond, h.takeOne(t).at)

		h.report(componentstatus.StatusOK, backend)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 1200*time.Millisecond, h.takeOne(t).at, "recovery")

		time.Sleep(100 * time.Millisecond)
		h.ComponentStatusChanged(backend, failure("refused again"))
		time.Sleep(time.Minute)
		require.Equal(t, 2200*time.Millisecond, h.takeOne(t).at, "bad news again, now within the limit")
	})
}

// A whole that gets worse is bad news, too: permanent after recoverable.
func TestWorseningOfTheWholeIsBadNews(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(100 * time.Millisecond)
		h.take()
		h.ComponentStatusChanged(debug, componentstatus.NewFatalErrorEvent(errors.New("out of disk")))
		synctest.Wait()
		require.Equal(t, "StatusFatalError", h.takeOne(t).health.GetStatus())
	})
}

// contrib's newest compares only the whole's status and error, so none of these
// would be told (fault B7b).
func TestChangesBelowAnUnchangedWholeAreReported(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(2 * time.Second)
		h.take()

		h.ComponentStatusChanged(debug, failure("disk full"))
		synctest.Wait()
		m := h.takeOne(t)
		require.Equal(t, "refused", m.health.GetLastError())
		require.Equal(t, "disk full", part(t, m.health, "pipeline:logs", "exporter:debug").GetLastError())

		time.Sleep(2 * time.Second)
		h.report(componentstatus.StatusOK, debug)
		synctest.Wait()
		m = h.takeOne(t)
		require.Equal(t, "refused", m.health.GetLastError())
		require.True(t, part(t, m.health, "pipeline:logs").GetHealthy())

		time.Sleep(2 * time.Second)
		attributes := pcommon.NewMap()
		attributes.PutInt("queue", 7)
		h.ComponentStatusChanged(otlp, componentstatus.NewEvent(componentstatus.StatusOK, componentstatus.WithAttributes(attributes)))
		synctest.Wait()
		require.Len(t, part(t, h.takeOne(t).health, "pipeline:logs", "receiver:otlp").GetAttributes(), 1)
	})
}

// memory_limiter reports OK every second (fault B7).
func TestTheSameStatusAgainIsNoNews(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		for range 100 {
			h.report(componentstatus.StatusOK, batch, otlp)
			time.Sleep(time.Second)
		}
		require.Empty(t, h.take())

		h.ComponentStatusChanged(backend, failure("refused"))
		synctest.Wait()
		require.Equal(t, uint64(h.started.UnixNano()),
			part(t, h.takeOne(t).health, "pipeline:traces", "processor:batch").GetStatusTimeUnixNano(),
			"OK since the first time it was said")
	})
}

func TestAnErrorRepeatedWithTheSameTextIsNoNews(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		for range 100 {
			h.ComponentStatusChanged(backend, failure("refused"))
			time.Sleep(time.Second)
		}
		h.takeOne(t)
	})
}

// A text with a counter in it changes every time: the text is kept current, at
// the pace, and the failure has one beginning.
func TestAnErrorWithChangingTextKeepsItsBeginning(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		for i := range 10_000 {
			h.ComponentStatusChanged(backend, failure(fmt.Sprintf("dropped %d items", i)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)

		sent := h.take()
		require.Len(t, sent, 11, "one a second and the last")
		began := uint64(h.started.Add(10 * time.Second).UnixNano())
		for _, m := range sent {
			require.Equal(t, began, m.health.GetStatusTimeUnixNano())
		}
		require.Equal(t, "dropped 9999 items", sent[10].health.GetLastError())
	})
}

func TestAFailureAfterARecoveryBeginsAnew(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(10 * time.Millisecond)
		h.report(componentstatus.StatusOK, backend)
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(time.Minute)

		sent := h.take()
		require.Len(t, sent, 2)
		require.Equal(t, uint64(10*time.Millisecond), sent[1].health.GetStatusTimeUnixNano()-sent[0].health.GetStatusTimeUnixNano())
	})
}

// 10,000 events in a second, of components that fail and recover all the time: at
// most two messages in any second, one a second on average, the last state last.
func TestStorm(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		ids := []*componentstatus.InstanceID{debug, backend, batch, otlp}
		for i := range 10_000 {
			id := ids[i%len(ids)]
			if i/len(ids)%2 == 0 {
				h.ComponentStatusChanged(id, failure(fmt.Sprint("failure ", i)))
			} else {
				h.report(componentstatus.StatusOK, id)
			}
			time.Sleep(100 * time.Microsecond)
		}
		h.ComponentStatusChanged(backend, failure("the last word"))
		time.Sleep(time.Minute)

		sent := h.take()
		require.LessOrEqual(t, len(sent), 4)
		requirePace(t, sent, 2)
		last := sent[len(sent)-1].health
		require.Equal(t, "the last word", last.GetLastError())
		require.True(t, part(t, last, "pipeline:logs").GetHealthy())
		require.Equal(t, uint64(10_001+12), h.Stats().Events)
	})
}

func TestALongStormIsOneMessageASecond(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		for range 60 * 1000 {
			h.ComponentStatusChanged(backend, failure("refused"))
			h.report(componentstatus.StatusOK, backend)
			time.Sleep(time.Millisecond)
		}
		sent := h.take()
		require.LessOrEqual(t, len(sent), 60+60/10+1)
		requirePace(t, sent, 2)
	})
}

// requirePace holds that no window of one second has more than most messages.
func requirePace(t *testing.T, sent []message, most int) {
	t.Helper()
	for i := range sent {
		if j := i + most; j < len(sent) {
			require.GreaterOrEqual(t, sent[j].at-sent[i].at, time.Second, "messages %d to %d", i, j)
		}
	}
}

func TestNotReadySaysStoppingOnceAndThenNothing(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(time.Millisecond)
		h.take()

		h.NotReady()
		for _, id := range []*componentstatus.InstanceID{otlp, batch, backend, debug} {
			h.report(componentstatus.StatusStopping, id)
			h.report(componentstatus.StatusStopped, id)
			time.Sleep(5 * time.Second)
		}
		h.NotReady()
		time.Sleep(time.Minute)

		m := h.takeOne(t)
		require.Equal(t, 10*time.Second+time.Millisecond, m.at)
		require.False(t, m.health.GetHealthy())
		require.Equal(t, "StatusStopping", m.health.GetStatus())
		require.Equal(t, uint64(h.started.UnixNano()), m.health.GetStartTimeUnixNano())
		require.Equal(t, "refused", part(t, m.health, "pipeline:traces", "exporter:otlp/backend").GetLastError(),
			"what failed before the stop stays readable")
	})
}

func TestStopRightBehindNotReadyStillSaysStopping(t *testing.T) {
	for range 50 {
		inRunning(t, func(t *testing.T, h *harness) {
			h.NotReady()
			h.Stop()
			require.Equal(t, "StatusStopping", h.takeOne(t).health.GetStatus())
		})
	}
}

func TestNotReadyWithoutReadyShowsWhatFailedToStart(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.take()
		h.report(componentstatus.StatusStarting, zpages)
		h.ComponentStatusChanged(zpages, componentstatus.NewPermanentErrorEvent(errors.New("address in use")))
		h.NotReady()
		synctest.Wait()
		m := h.takeOne(t)
		require.Equal(t, "StatusStopping", m.health.GetStatus())
		require.Equal(t, "address in use", part(t, m.health, "extensions", "extension:zpages").GetLastError())
	})
}

func TestReadyAgainAfterNotReady(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.NotReady()
		synctest.Wait()
		h.take()
		time.Sleep(time.Second)
		h.Ready()
		synctest.Wait()
		require.True(t, h.takeOne(t).health.GetHealthy())
	})
}

// contrib sends the last status's time as the start time, 0 while unhealthy, and
// none in children (fault B5).
func TestStartTimeIsOneAndTheSameEverywhere(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		time.Sleep(time.Second)
		h.running()
		time.Sleep(5 * time.Second)
		h.ComponentStatusChanged(backend, failure("refused"))
		time.Sleep(5 * time.Second)
		h.report(componentstatus.StatusOK, backend)
		time.Sleep(5 * time.Second)
		h.NotReady()
		synctest.Wait()

		sent := h.take()
		require.Len(t, sent, 5)
		for _, m := range sent {
			requireStartTime(t, m.health, uint64(h.started.UnixNano()))
		}
	})
}

func requireStartTime(t *testing.T, h *protobufs.ComponentHealth, want uint64) {
	t.Helper()
	require.Equal(t, want, h.GetStartTimeUnixNano())
	for _, child := range h.GetComponentHealthMap() {
		requireStartTime(t, child, want)
	}
}

func TestEventsBeforeStartCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness()
		h.running()
		h.start()
		defer h.Stop()
		synctest.Wait()
		sent := h.take()
		require.Len(t, sent, 2, "starting, then the tree")
		require.True(t, sent[1].health.GetHealthy())
	})
}

func TestAfterStopNothingIsKeptOrSent(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.Stop()
		before, events := len(h.latest), h.Stats().Events
		for i := range 100 {
			h.ComponentStatusChanged(instance(component.KindExporter, fmt.Sprintf("late/%d", i), logs), failure("late"))
		}
		h.Ready()
		h.NotReady()
		h.start()
		h.Stop()
		time.Sleep(time.Minute)
		require.Empty(t, h.take())
		require.Len(t, h.latest, before)
		require.Equal(t, events, h.Stats().Events)
	})
}

func TestStopBeforeStart(t *testing.T) {
	h := newHarness()
	h.running()
	h.Stop()
	h.Stop()
	h.start()
	require.Empty(t, h.take())
}

func TestStartTwiceIsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.start()
		require.Len(t, h.take(), 1)
	})
}

func TestWhatIsNoEventIsIgnored(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		h.ComponentStatusChanged(nil, failure("nobody"))
		h.ComponentStatusChanged(debug, nil)
		h.ComponentStatusChanged(debug, &componentstatus.Event{})
		time.Sleep(time.Minute)
		require.Empty(t, h.take())
	})
}

func TestComponentsAreBounded(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		for i := range MaxComponents + 10 {
			h.report(componentstatus.StatusOK, instance(component.KindExporter, fmt.Sprintf("many/%d", i), logs))
		}
		synctest.Wait()
		require.Len(t, h.latest, MaxComponents)
		require.Equal(t, uint64(10+6), h.Stats().Dropped)

		time.Sleep(2 * time.Second)
		h.take()
		h.ComponentStatusChanged(debug, failure("known ones still report"))
		synctest.Wait()
		require.Len(t, h.take(), 1)
	})
}

// An idle Collector costs nothing: the goroutine sleeps.
func TestNoMessageWithoutAChange(t *testing.T) {
	inRunning(t, func(t *testing.T, h *harness) {
		time.Sleep(24 * time.Hour)
		require.Empty(t, h.take())
	})
}

// Everything at once, for the race detector. The real clock: what is held is that
// nothing deadlocks and that the last state is the last message.
func TestConcurrency(t *testing.T) {
	h := newHarness()
	h.start()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			id := instance(component.KindExporter, fmt.Sprintf("x/%d", g), logs)
			for i := range 1000 {
				h.ComponentStatusChanged(id, failure(fmt.Sprint(i)))
				h.report(componentstatus.StatusOK, id)
			}
		})
	}
	wg.Go(h.Ready)
	wg.Go(func() { h.Stats() })
	wg.Wait()
	wg.Go(h.NotReady)
	wg.Wait()
	wg.Go(h.Stop)
	wg.Go(h.Stop)
	wg.Go(func() { h.ComponentStatusChanged(debug, failure("late")) })
	wg.Wait()

	sent := h.take()
	last := sent[len(sent)-1].health
	require.Equal(t, "StatusStopping", last.GetStatus())
	require.Len(t, part(t, last, "pipeline:logs").GetComponentHealthMap(), 8)
	require.Equal(t, uint64(len(sent)), h.Stats().Reports)
}
