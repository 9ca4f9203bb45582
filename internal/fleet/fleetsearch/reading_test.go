// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// ownConfig is one that differs from all others by more than what has to.
func ownConfig(n int) string { return strings.ReplaceAll(configA, "gw:", fmt.Sprintf("gw%d:", n)) }

// crowd are agents that each run a config of their own.
func crowd(n int) (out []collector) {
	for i := range n {
		out = append(out, collector{id: uint32(i), name: fmt.Sprint("c", i), silentOf: "health", config: ownConfig(i)})
	}
	return out
}

// report reports again, as the message after the last.
func reportAgain(tb testing.TB, f *fleet.Fleet, c collector) {
	msg := c.report()
	if a, ok := f.Agent(uidOf(c.id)); ok {
		msg.SequenceNum = a.Seq + 1
	}
	require.Nil(tb, f.Report(connOf(c), msg, now).GetErrorResponse())
}

// counting is an index that counts what it examines, by hash.
func counting(f *fleet.Fleet) (x *Index, examined map[string]int) {
	x, examined = New(f), map[string]int{}
	x.examine = func(c *fleet.Config) fleetconfig.Facts {
		examined[c.Hash()]++
		return fleetconfig.Examine(c)
	}
	return x, examined
}

func readAll(x *Index) {
	for x.Read(64) > 0 { //nolint:revive // it does the work
	}
}

func timesOf(examined map[string]int) (n int) {
	for _, times := range examined {
		n += times
	}
	return n
}

// requireSeats holds who waits for a config against where it thinks it waits.
func requireSeats(t *testing.T, x *Index) {
	t.Helper()
	unread := 0
	for hash, f := range x.facts {
		if f.unread == nil {
			continue
		}
		unread++
		require.Len(t, f.unread.slots, f.users, hash)
		for seat, slot := range f.unread.slots {
			require.Same(t, f, x.rows[slot].facts)
			require.EqualValues(t, seat, x.rows[slot].seat)
		}
	}
	require.Equal(t, unread, x.reading.unread)
}

var familySide = Side{Facet: FacetFamily}

func TestAQuestionReadsWhatFewReported(t *testing.T) {
	f := fleetOf(t, crowd(usualShare.all)...)
	x, examined := counting(f)
	got := search(t, x, Request{Query: mustParse(t, "finding:no-memory-limiter"), Facets: []Side{familySide}})
	assert.Equal(t, usualShare.all, got.Total)
	assert.Zero(t, got.Unread)
	assert.Zero(t, got.Facets[0].None)
	assert.Len(t, examined, usualShare.all)

	reportAgain(t, f, collector{id: 7, config: strings.ReplaceAll(ownConfig(7), "otlp", "zipkin")})
	got = search(t, x, Request{Query: mustParse(t, "pipeline:traces component:exporter:zipkin"), Facets: []Side{familySide}})
	assert.Equal(t, 1, got.Total)
	assert.Zero(t, got.Unread)
	assert.Equal(t, "zipkin → zipkin (traces)", got.Facets[0].Values[0].Label)
	search(t, x, Request{})
	assert.Equal(t, usualShare.all+1, timesOf(examined), "each once")
}

func TestAQuestionReadsSomeOfWhatManyReported(t *testing.T) {
	const many = 1000
	f := fleetOf(t, crowd(many)...)
	x, examined := counting(f)
	got := search(t, x, Request{Facets: []Side{familySide, {Facet: fleetquery.FacetConfig}}, Top: many})
	assert.Equal(t, many, got.Total, "who is not read is found")
	assert.Equal(t, many-usualShare.some, got.Unread)
	assert.Equal(t, got.Unread, got.Facets[0].None)
	assert.Equal(t, many, got.Facets[1].Distinct, "a hash needs no reading")
	assert.Len(t, examined, usualShare.some)

	configs := x.Configs(ConfigsRequest{Now: now})
	assert.Equal(t, many-2*usualShare.some, configs.Unread)
	assert.Equal(t, configs.Unread, configs.UnreadAgents)
	assert.Equal(t, many, configs.Agents)
	assert.Equal(t, many, configs.Configs)
	assert.Equal(t, 2*usualShare.some, configs.Families[0].Agents)

	hash, _ := f.Agent(uidOf(0))
	assert.Equal(t, 1, search(t, x, Request{Query: mustParse(t, "config:"+hash.Config.Hash())}).Total)
	for _, unread := range []int{
		x.Problems(ProblemsRequest{Now: now}).Unread, x.Coverage(CoverageRequest{Now: now}).Unread,
		x.Agents(fleetquery.Query{}, now).Unread,
	} {
		assert.Positive(t, unread)
	}
	components, _ := x.Components(fleetquery.Query{}, now)
	assert.Equal(t, x.Unread(), components.Unread)
	assert.Equal(t, many-components.Unread, components.Components[0].Running)
}

func TestWhoReportedLastIsSeenInABacklog(t *testing.T) {
	f := fleetOf(t, crowd(1000)...)
	x := New(f)
	search(t, x, Request{})
	reportAgain(t, f, collector{id: 3, config: strings.ReplaceAll(ownConfig(3), "otlp", "zipkin")})
	got := search(t, x, Request{Query: mustParse(t, "component:exporter:zipkin")})
	assert.Equal(t, 1, got.Total)
	assert.Positive(t, got.Unread)
}

func TestOneConfigIsReadWhenItIsAskedFor(t *testing.T) {
	f := fleetOf(t, crowd(1000)...)
	x, examined := counting(f)
	x.Refresh()
	first, _ := f.Agent(uidOf(0)) // which would be read last
	facts, runs := x.Facts(first.Config.Hash())
	assert.True(t, runs)
	assert.Equal(t, fleetconfig.Facts{Hash: first.Config.Hash()}, facts)

	before := x.Unread()
	facts, runs = x.ReadFacts(first.Config.Hash())
	assert.True(t, runs)
	assert.NotEmpty(t, facts.Family)
	assert.Equal(t, before-1, x.Unread())
	_, runs = x.ReadFacts(strings.Repeat("f", 64))
	assert.False(t, runs)

	second, _ := f.Agent(uidOf(1))
	c, ok := x.Config(second.Config.Hash()[:16])
	require.True(t, ok)
	assert.Equal(t, facts.Family, c.Facts.Family)
	assert.Equal(t, 1000-x.Unread(), c.FamilyAgents, "as far as is known")
	assert.Equal(t, x.Unread(), c.Unread)
	assert.Equal(t, 1, examined[second.Config.Hash()])
}

func TestManyWithOneConfigAreReadOnce(t *testing.T) {
	var list []collector
	for i := range 600 {
		list = append(list, collector{id: uint32(i), name: "c", silentOf: "health", config: configA})
	}
	x, examined := counting(fleetOf(t, list...))
	assert.Equal(t, 600, search(t, x, Request{Query: mustParse(t, "component:exporter:otlp")}).Total)
	assert.Equal(t, 1, timesOf(examined))
}

func TestAConfigThatNobodyRunsAnyMoreIsNotRead(t *testing.T) {
	list := crowd(600)
	f := fleetOf(t, list...)
	x, examined := counting(f)
	x.share = share{}
	assert.Equal(t, 600, search(t, x, Request{}).Unread)
	for _, c := range list {
		c.config = configA
		reportAgain(t, f, c)
	}
	assert.Equal(t, 1, search(t, x, Request{}).Unread)
	assert.Zero(t, x.Read(10))
	assert.Equal(t, 1, timesOf(examined))
	assert.Zero(t, x.reading.queue.Len())
}

func TestReadingGoesOnFromTheOldest(t *testing.T) {
	f := fleetOf(t, crowd(100)...)
	x, examined := counting(f)
	assert.Equal(t, 90, x.Read(10))
	first, _ := f.Agent(uidOf(0))
	assert.Contains(t, examined, first.Config.Hash())
	readAll(x)
	assert.Equal(t, 100, timesOf(examined))
	assert.Zero(t, x.Unread())
	compare(t, f, x)
}

func TestLongConfigsAreReadFewAtATime(t *testing.T) {
	var list []collector
	for i := range 8 {
		list = append(list, collector{id: uint32(i), config: ownConfig(i) + "# " + strings.Repeat("x", maxReadBytes/3)})
	}
	x, examined := counting(fleetOf(t, list...))
	got := search(t, x, Request{})
	assert.Len(t, examined, 2)
	assert.Equal(t, 6, got.Unread)
	readAll(x)
	assert.Len(t, examined, 8)
}

// More than a fleet can list are removed between two questions: the index takes all in anew, and reads none again.
func TestNothingIsReadAgainWhenAllIsTakenInAnew(t *testing.T) {
	f := fleet.New(fleet.Settings{MaxAgents: 500})
	for _, c := range crowd(500) {
		reportAgain(t, f, c)
	}
	x, examined := counting(f)
	readAll(x)
	for i := range 1500 { // each makes room for the next
		c := collector{id: 10_000 + uint32(i), config: ownConfig(i % 500)}
		f.Disconnected(connOf(collector{id: uint32(i)}), now)
		f.Disconnected(connOf(collector{id: c.id - 500}), now)
		f.Report(connOf(c), c.report(), now)
	}
	assert.True(t, f.Since(x.position).Reset)
	search(t, x, Request{})
	assert.Equal(t, 500, timesOf(examined))
	compare(t, f, x)
}

func TestWatchersAreWokenWhenAllIsRead(t *testing.T) {
	f := fleetOf(t, crowd(20)...)
	x := New(f)
	w := f.Watch()
	defer w.Close()
	woken := func() bool {
		select {
		case <-w.C:
			return true
		default:
			return false
		}
	}
	readAll(x)
	assert.False(t, woken(), "no answer was given before")

	x.share = share{}
	for i := range 5 {
		reportAgain(t, f, collector{id: uint32(i), config: ownConfig(100 + i)})
	}
	woken()
	assert.Equal(t, 5, search(t, x, Request{}).Unread)
	assert.Equal(t, 2, x.Read(3))
	assert.False(t, woken())
	assert.Zero(t, x.Read(3))
	assert.True(t, woken())
	assert.True(t, f.Since(x.position).Empty(), "no agent has changed")
}

func TestAConfigThatCannotBeExaminedHoldsNobody(t *testing.T) {
	f := fleetOf(t, crowd(3)...)
	bad, _ := f.Agent(uidOf(1))
	x := New(f)
	x.examine = func(c *fleet.Config) fleetconfig.Facts {
		if c.Hash() == bad.Config.Hash() {
			panic("oh")
		}
		return fleetconfig.Examine(c)
	}
	got := search(t, x, Request{Query: mustParse(t, "component:exporter:otlp")})
	assert.Equal(t, 2, got.Total)
	assert.Zero(t, got.Unread)
	c, ok := x.Config(bad.Config.Hash())
	require.True(t, ok)
	assert.Equal(t, "it can't be read: oh", c.Facts.Problem)
}

// Who reads holds nobody up who does without, and those who need what is being read wait for it.
func TestQuestionsWhileSomebodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleetOf(t, crowd(10)...)
		first, _ := f.Agent(uidOf(0))
		x := New(f)
		x.share = share{all: 8, some: 1}
		goOn := make(chan struct{})
		x.examine = func(c *fleet.Config) fleetconfig.Facts {
			if c.Hash() == first.Config.Hash() {
				<-goOn
			}
			return fleetconfig.Examine(c)
		}
		var all sync.WaitGroup
		all.Go(func() { assert.Equal(t, 9, x.Read(1)) })
		synctest.Wait()

		got := search(t, x, Request{Query: mustParse(t, "component:exporter:otlp")})
		assert.Equal(t, 1, got.Total)
		assert.Equal(t, 9, got.Unread, "more than a question reads: it waits for nobody")

		answered := 0
		all.Go(func() {
			got := search(t, x, Request{Query: mustParse(t, "component:exporter:otlp")})
			assert.Zero(t, got.Unread)
			answered = got.Total
		})
		all.Go(func() {
			_, ok := x.Config(first.Config.Hash())
			assert.True(t, ok)
		})
		synctest.Wait()
		assert.Zero(t, answered)
		assert.Equal(t, 1, x.Unread(), "the rest was read meanwhile")
		close(goOn)
		all.Wait()
		assert.Equal(t, 10, answered)
	})
}

func TestReadingSideBySide(t *testing.T) {
	list := crowd(200)
	f := fleetOf(t, list...)
	x := New(f)
	x.share = share{all: 2, some: 1}
	var all sync.WaitGroup
	all.Go(func() {
		for round := range 5 {
			for i, c := range list {
				c.config = ownConfig(1000*round + i/2)
				reportAgain(t, f, c)
			}
		}
	})
	for range 2 {
		all.Go(func() {
			for range 300 {
				x.Read(5)
			}
		})
		all.Go(func() {
			for i := range 100 {
				search(t, x, Request{Query: mustParse(t, "heard:<1h drift:true"), Facets: []Side{familySide}})
				x.Configs(ConfigsRequest{Now: now})
				if a, ok := f.Agent(uidOf(uint32(i))); ok {
					x.Config(a.Config.Hash())
					x.ReadFacts(a.Config.Hash())
				}
			}
		})
	}
	all.Wait()
	readAll(x)
	assert.Zero(t, x.Unread())
	compare(t, f, x)
}
