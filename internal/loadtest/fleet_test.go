// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
)

const (
	// interval is how often an agent makes a heartbeat while others report changes.
	interval = 30 * time.Second
	// changesEvery is how often an agent changes meanwhile.
	changesEvery = 20 * time.Millisecond
	// profilesEnv names a directory for profiles.
	profilesEnv = "FLEETVIEW_PROFILES"
)

// scale is how much is measured.
type scale struct {
	sizes   []int
	beats   int // at least so many, as fast as they go
	changes int
}

func scaleOf() scale {
	if testing.Short() {
		return scale{sizes: []int{100}, beats: 500, changes: 10}
	}
	return scale{sizes: []int{1000, 5000, 15_000}, beats: 30_000, changes: 300}
}

// BenchmarkFleet lets fleets of some sizes live with our server and with one of opamp-go's server package.
func BenchmarkFleet(b *testing.B) {
	s := scaleOf()
	t := &table{}
	for b.Loop() {
		for _, role := range []string{roleFleetview, roleMemory, roleOpAMPGo} {
			sizes := s.sizes
			if role == roleMemory { // to tell what keeping costs
				sizes = sizes[len(sizes)-1:]
			}
			for _, size := range sizes {
				b.Run(fmt.Sprintf("%s/%d", role, size), func(b *testing.B) {
					for b.Loop() {
						r := &run{b: b, scale: s, place: newPlace(b, role), size: size, note: t.column(role, size)}
						r.all()
					}
				})
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(t) // a log of a benchmark that has others below it is not shown
}

// run is the life of one fleet.
type run struct {
	b      *testing.B
	scale  scale
	place  *place
	size   int
	note   func(what string, value float64)
	server *measured.Child
	fleet  *fleet
	idle   measured.Cost // with all agents connected and silent
}

func (r *run) ours() bool  { return r.place.role != roleOpAMPGo }
func (r *run) keeps() bool { return r.place.role == roleFleetview }

func (r *run) all() {
	r.server = r.place.start()
	r.fleet = newFleet(r.b, r.place.agents, r.size)
	r.connect()
	r.heartbeats()
	r.changes()
	r.restart()
	if r.keeps() {
		r.kill()
	}
	r.b.ReportMetric(0, "ns/op")
	r.stop()
}

// stop ends the server as a shutdown does, with everybody connected.
func (r *run) stop() {
	var stopping sync.WaitGroup
	stopping.Go(r.server.Stop)
	if r.ours() { // the other one cuts
		r.fleet.each(r.fleet.part)
	}
	stopping.Wait()
	r.fleet.hangUp()
}

// noted prints a figure twice: with the run, and in the table.
func (r *run) noted(what string, value float64) {
	r.b.ReportMetric(value, strings.ReplaceAll(what, " ", "-"))
	r.note(what, value)
}

// each is a figure for each agent.
func (r *run) each(what string, value int64) { r.noted(what, float64(value)/float64(r.size)) }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// profile writes a profile of the server until the returned function is called, if somebody wants one.
func (r *run) profile(of string) (end func()) {
	dir := os.Getenv(profilesEnv)
	if dir == "" {
		return func() {}
	}
	return r.server.Profile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.pprof", r.place.role, r.size, of)))
}

// warm lets the server do everything once, and leave nothing of it but code that has run.
func (r *run) warm() {
	few := newFleet(r.b, r.place.agents, min(50, r.size))
	few.each(few.connect)
	few.each(few.report)
	for range 20 {
		few.each(few.beat)
	}
	few.hangUp()
}

// connect measures connections that are silent, and then agents that have told everything and are silent.
func (r *run) connect() {
	r.warm()
	before := r.server.Collect()
	end := r.profile("connect")
	r.fleet.each(r.fleet.connect)
	silent := r.server.Count()
	r.noted("µs CPU a connection", micros(silent.CPU-before.CPU)/float64(r.size))
	silent = r.server.Collect()
	r.each("B RSS a silent connection", silent.RSS-before.RSS)
	r.fleet.each(r.fleet.report)
	r.settle()
	r.requireAll()
	told := r.server.Count()
	end()
	r.noted("µs CPU a first report", micros(told.CPU-silent.CPU)/float64(r.size))
	r.each("B RSS an agent before GC", told.RSS-before.RSS)
	r.idle = r.server.Collect()
	r.each("B RSS an agent", r.idle.RSS-before.RSS)
	r.each("B stacks an agent", r.idle.Stacks-before.Stacks)
	r.each("B heap an agent", r.idle.Heap-before.Heap)
	r.noted("full states asked at first", float64(r.fleet.told.Swap(0)))
}

// settle returns when the server has written what it had to.
func (r *run) settle() {
	if !r.keeps() {
		return
	}
	last := int64(-1)
	require.Eventually(r.b, func() bool {
		before := last
		last = r.server.Count().Counts[countStatements]
		return last == before
	}, answerWithin, 250*time.Millisecond)
}

// requireAll asserts that everybody is there, and nobody else once those before are seen to have gone.
func (r *run) requireAll() {
	r.b.Helper()
	require.Eventually(r.b, func() bool { return r.server.Count().Counts[countConnected] == int64(r.size) },
		answerWithin, 50*time.Millisecond, "agents that the server counts as connected: not %d", r.size)
}

// heartbeats measures them as fast as they go.
func (r *run) heartbeats() {
	rounds := (r.scale.beats + r.size - 1) / r.size
	r.fleet.each(r.fleet.beat) // stacks that a collection has shrunk grow again
	// What was told before may be written late on a busy host, and once a minute it is written when agents were last
	// heard. If a heartbeat caused a statement there would be some each time.
	const attempts = 10
	for attempt := 1; ; attempt++ {
		end := r.profile("heartbeats")
		before := r.server.Count()
		began := time.Now()
		for range rounds {
			r.fleet.each(r.fleet.beat)
		}
		took := time.Since(began)
		after := r.server.Count()
		end()
		statements := after.Counts[countStatements] - before.Counts[countStatements]
		if statements != 0 && attempt < attempts {
			continue
		}
		n := float64(rounds * r.size)
		r.noted("µs CPU a heartbeat", micros(after.CPU-before.CPU)/n)
		r.noted("allocations a heartbeat", float64(after.Mallocs-before.Mallocs)/n)
		r.noted("heartbeats a second", n/took.Seconds())
		r.noted("statements a heartbeat", float64(statements)/n)
		require.Zero(r.b, statements, "a heartbeat that changes nothing is not written")
		break
	}
	after := r.server.Collect()
	r.each("B RSS growth by heartbeats", after.RSS-r.idle.RSS)
}

// changes lets components fail, one after the other, while everybody makes heartbeats, and people look.
func (r *run) changes() {
	var looking *people
	if r.ours() {
		looking = look(r.b, r.place.web)
	}
	// Each fails once: of two changes of one agent within a second the stream tells the second alone.
	failing, others := r.fleet.agents[:r.scale.changes], r.fleet.agents[r.scale.changes:]
	beating := r.fleet.steady(others, max(1, int(int64(len(others))*int64(time.Second)/int64(interval))))
	end := r.profile("changes")
	before := r.server.Count()
	began := map[string]time.Time{}
	var answered, read []time.Duration
	tick := time.NewTicker(changesEvery)
	room := &room{}
	for i, a := range failing {
		<-tick.C
		text := fmt.Sprintf("attempt %d failed", i)
		at := time.Now()
		require.NoError(r.b, r.fleet.fail(a, room, text))
		answered = append(answered, time.Since(at))
		began[text] = at
		if looking != nil {
			var shown struct{ Problems []struct{ Error string } }
			require.NoError(r.b, looking.read(context.Background(), "/api/v1/agents/"+a.uid.String(), &shown))
			require.Len(r.b, shown.Problems, 1)
			require.Equal(r.b, text, shown.Problems[0].Error, "what was answered is in the API")
			read = append(read, time.Since(at))
		}
	}
	tick.Stop()
	after := r.server.Count()
	end()
	beats := beating()
	r.noted("ms report to answer p99", ms(quantile(sorted(answered), 0.99)))
	r.noted("ms heartbeat to answer p99", ms(quantile(beats, 0.99)))
	r.noted("ms CPU a change, with browsers", ms(after.CPU-before.CPU)/float64(r.scale.changes))
	if looking == nil {
		return
	}
	shown := looking.awaitShown(began)
	requireFailing(r.b, r.place.web, len(failing))
	looking.leave()
	read = sorted(read)
	r.noted("ms report to API p50", ms(quantile(read, 0.5)))
	r.noted("ms report to API p99", ms(quantile(read, 0.99)))
	r.noted("ms report to page p50", ms(quantile(shown, 0.5)))
	r.noted("ms report to page p99", ms(quantile(shown, 0.99)))
	r.noted("ms overview p99", ms(quantile(sorted(looking.pages), 0.99)))
}

func ms(d time.Duration) float64 { return micros(d) / 1000 }

// restart ends the server as a shutdown does, and lets everybody come back with nothing but a heartbeat.
func (r *run) restart() {
	r.settle()
	r.stop()
	r.comeBack("restart")
	if asked := r.fleet.told.Swap(0); r.keeps() {
		assert.Zero(r.b, asked, "what was kept is asked for again")
	} else {
		assert.EqualValues(r.b, r.size, asked, "what was not kept is asked for")
	}
}

// kill ends the server with no word, while everybody speaks.
func (r *run) kill() {
	r.settle()
	before := r.server.Count().Counts
	beating := make(chan error, 1)
	go func() {
		for {
			if err := r.fleet.try(r.fleet.beat); err != nil {
				beating <- err
				return
			}
		}
	}()
	for range 100 { // of the server's counts: by then there are heartbeats that no checkpoint tells of
		r.server.Count()
	}
	r.server.Kill()
	require.Error(r.b, <-beating)
	r.fleet.hangUp()
	require.EqualValues(r.b, r.size, before[countConnected])
	r.comeBack("kill")
	r.fleet.told.Store(0)
}

// comeBack starts the server again, and measures until everybody has been answered.
func (r *run) comeBack(after string) {
	began := time.Now()
	r.server = r.place.start()
	up := time.Now()
	end := r.profile(after)
	before := r.server.Count()
	r.fleet.each(func(a *agent, room *room) error {
		if err := r.fleet.connect(a, room); err != nil {
			return err
		}
		return r.fleet.beat(a, room)
	})
	there := time.Now()
	r.requireAll()
	if r.ours() { // nobody is shown as he was before he changed, and nobody who fails got lost
		requireFailing(r.b, r.place.web, r.scale.changes)
	}
	r.settle()
	end()
	cost := r.server.Count()
	r.noted("ms to start after a "+after, ms(up.Sub(began)))
	r.noted("ms CPU to start after a "+after, ms(before.CPU))
	r.noted("ms until all are back after a "+after, ms(there.Sub(up)))
	r.noted("full states asked after a "+after, float64(r.fleet.told.Load()))
	r.noted("connections delayed after a "+after, float64(r.fleet.delayed.Swap(0)))
	r.noted("µs CPU an agent after a "+after, micros(cost.CPU-before.CPU)/float64(r.size))
	r.each("B peak RSS an agent after a "+after, cost.Peak-before.RSS)
	r.each("statements an agent after a "+after, cost.Counts[countStatements]-before.Counts[countStatements])
}
