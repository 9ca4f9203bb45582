// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	thisHost  = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	otherHost = "00000000000000000000000000000001"
	keptUID   = "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90"
)

var errDisk = errors.New("disk full")

// fakePlace is a place in memory that fails and hangs as it is told.
type fakePlace struct {
	mu sync.Mutex
	// Guarded by mu.
	data                       []byte
	openErr, loadErr, saveErr  error
	hangOpen, hangLoad, hangUp chan struct{} // wait for it to be closed
	opens, saves, closes       int
}

func (p *fakePlace) with(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// hang waits for what a field holds, whatever the context says.
func (p *fakePlace) hang(field *chan struct{}) {
	p.mu.Lock()
	c := *field
	p.mu.Unlock()
	if c != nil {
		<-c
	}
}

func (p *fakePlace) kept() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.data)
}

func (*fakePlace) field() zap.Field { return zap.String("place", "fake") }

func (p *fakePlace) open(context.Context) error {
	p.hang(&p.hangOpen)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens++
	return p.openErr
}

func (p *fakePlace) load(context.Context) ([]byte, error) {
	p.hang(&p.hangLoad)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data, p.loadErr
}

func (p *fakePlace) save(_ context.Context, data []byte) error {
	p.hang(&p.hangUp)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saves++
	if p.saveErr == nil {
		p.data = data
	}
	return p.saveErr
}

func (p *fakePlace) close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closes++
	return nil
}

// Each test's extension is one that the process has not seen.
var testIDs atomic.Int64

func newID() component.ID {
	return component.MustNewIDWithName("opamp", fmt.Sprintf("identity%d", testIDs.Add(1)))
}

// uids are those of the process that the tests are.
var uids Registry

// forget makes the process one that knows nothing of an extension: a new process.
func forget(id component.ID) {
	uids.mu.Lock()
	defer uids.mu.Unlock()
	delete(uids.byID, id)
}

func newTestKeeper(id component.ID, place Place) (*keeper, *zapobserver.ObservedLogs) {
	core, logs := zapobserver.New(zapcore.InfoLevel)
	k := newKeeper(&uids, id, place, zap.New(core))
	k.hostID = func() string { return thisHost }
	return k, logs
}

// live runs a keeper from start to stop and returns the UID that it began with.
func live(t *testing.T, id component.ID, place Place, during ...func(*Identity)) (opampwire.InstanceUID, []zapobserver.LoggedEntry) {
	t.Helper()
	k, logs := newTestKeeper(id, place)
	i := &Identity{uids: k.uids, id: id, keeper: k}
	i.Start()
	uid := i.UID(t.Context())
	for _, f := range during {
		f(i)
	}
	i.Stop(t.Context())
	return uid, logs.All()
}

func recordOf(uid, host string) []byte {
	return []byte(fmt.Sprintf(`{"instance_uid":%q,"host_id":%q}`, uid, host) + "\n")
}

// What stands in a place, and what comes of it.
func TestWhatWasKept(t *testing.T) {
	for name, tc := range map[string]struct {
		data string
		keep bool   // the kept UID is used
		want string // kept afterwards, "" for a record of the UID in use on this host
		warn string // in the one line of the log, "" for none
	}{
		"nothing":                {data: ""},
		"a record":               {data: string(recordOf(keptUID, thisHost)), keep: true},
		"no host in it":          {data: `{"instance_uid":"` + keptUID + `"}`, keep: true},
		"a UUID alone":           {data: keptUID, keep: true},
		"as a script writes it":  {data: " 019A9F4E-7C1D-7B62-A8F0-3D5E6C7B8A90\n", keep: true},
		"fields of a later time": {data: `{"instance_uid":"` + keptUID + `","more":{"than":["this"]}}`, keep: true},
		"a ULID":                 {data: "01JCMYSVW2G4ZQ0M7T1W3C8N5K\n", keep: true},
		"of another host":        {data: string(recordOf(keptUID, otherHost)), warn: "a copy"},
		"cut off":                {data: `{"instance_uid":"019a`, warn: "overwritten"},
		"not ours":               {data: "hello", warn: "overwritten"},
		"another type":           {data: `{"instance_uid":7}`, warn: "overwritten"},
		"no UID":                 {data: `{"host_id":"` + thisHost + `"}`, warn: "overwritten"},
		"zeros":                  {data: `{"instance_uid":"00000000-0000-0000-0000-000000000000"}`, warn: "overwritten"},
		"bytes":                  {data: "\x00\xff\x00\xff", warn: "overwritten"},
		"more than a record is":  {data: keptUID + string(make([]byte, maxRecord)), warn: "overwritten"},
		"a record and then more": {data: string(recordOf(keptUID, thisHost)) + "x", warn: "overwritten"},
		"a list":                 {data: `["` + keptUID + `"]`, warn: "overwritten"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				place, id := &fakePlace{data: []byte(tc.data)}, newID()
				uid, logs := live(t, id, place)
				require.Equal(t, tc.keep, isKept(uid, tc.data), uid)
				require.Equal(t, string(recordOf(uid.String(), thisHost)), place.kept())
				require.Equal(t, 1, place.closes)
				if tc.warn == "" {
					require.Empty(t, logs)
				} else {
					require.Len(t, logs, 1)
					require.Contains(t, logs[0].Message, tc.warn)
					require.Equal(t, "fake", logs[0].ContextMap()["place"])
				}

				forget(id)
				again, logs := live(t, id, place)
				require.Equal(t, uid, again, "the next process")
				require.Empty(t, logs)
			})
		})
	}
}

func isKept(uid opampwire.InstanceUID, data string) bool {
	r, err := decodeRecord([]byte(data))
	return err == nil && r.uid == uid
}

// A host that does not know its id checks nothing and forgets nothing.
func TestWithoutAHostIDNothingIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{data: recordOf(keptUID, otherHost)}, newID()
		k, logs := newTestKeeper(id, place)
		k.hostID = func() string { return "" }
		k.start()
		require.Equal(t, keptUID, k.wait(t.Context()).String())
		k.stop(t.Context())
		require.Empty(t, logs.All())
		require.Equal(t, string(recordOf(keptUID, otherHost)), place.kept())
		require.Zero(t, place.saves)
	})
}

// A place that another collector has is not shared: not by a process that starts, and
// not by one that had it before a reload.
func TestAPlaceInUseElsewhereIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{}, newID()
		first, _ := live(t, id, place)

		place.openErr = fmt.Errorf("lock: %w", errHeld)
		second, logs := live(t, id, place)
		require.NotEqual(t, first, second)
		require.Len(t, logs, 1)
		require.Contains(t, logs[0].Message, "Another collector")
		require.Equal(t, second.String(), logs[0].ContextMap()["instance_uid"])
		third, _ := live(t, id, place, func(i *Identity) { i.Assigned(opampwire.NewInstanceUID()) })
		require.Equal(t, second, third, "that one is this process's own")
		require.Equal(t, string(recordOf(first.String(), thisHost)), place.kept(), "nothing is written")
		require.Equal(t, 1, place.closes, "what was never opened is not closed")

		forget(id)
		place.openErr = nil
		fourth, _ := live(t, id, place)
		require.Equal(t, first, fourth)
	})
}

// Whatever a place does, there is an instance UID, in time, and one line in the log.
func TestAPlaceThatFails(t *testing.T) {
	for name, tc := range map[string]struct {
		fault  func(*fakePlace)
		waited time.Duration
		warn   string
		kept   bool // an assigned UID is kept all the same
	}{
		"cannot be opened":   {func(p *fakePlace) { p.openErr = errDisk }, 0, "cannot be kept", false},
		"cannot be read":     {func(p *fakePlace) { p.loadErr = errDisk }, 0, "cannot be read", true},
		"cannot be written":  {func(p *fakePlace) { p.data, p.saveErr = nil, errDisk }, 0, "could not be kept", false},
		"hangs when opened":  {func(p *fakePlace) { p.hangOpen = make(chan struct{}) }, placeLimit, "does not answer", false},
		"hangs when read":    {func(p *fakePlace) { p.hangLoad = make(chan struct{}) }, placeLimit, "does not answer", false},
		"hangs when written": {func(p *fakePlace) { p.data, p.hangUp = nil, make(chan struct{}) }, 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				place, id := &fakePlace{data: recordOf(keptUID, thisHost)}, newID()
				tc.fault(place)
				before := place.kept()
				k, logs := newTestKeeper(id, place)
				i := &Identity{uids: k.uids, id: id, keeper: k}

				began := time.Now()
				i.Start()
				uid := i.UID(t.Context())
				require.Equal(t, tc.waited, time.Since(began))
				require.NotEqual(t, keptUID, uid.String())
				synctest.Wait()
				if tc.warn == "" {
					require.Empty(t, logs.All())
				} else {
					require.Equal(t, 1, logs.Len())
					require.Contains(t, logs.All()[0].Message, tc.warn)
				}
				require.Equal(t, before, place.kept(), "a good record is not lost to a passing fault")
				require.Equal(t, uid, uids.of(id).uid, "a reload keeps it")

				assigned := opampwire.NewInstanceUID()
				i.Assigned(assigned)
				synctest.Wait()
				if tc.kept {
					require.Equal(t, string(recordOf(assigned.String(), thisHost)), place.kept())
				} else {
					require.Equal(t, before, place.kept())
				}

				began = time.Now()
				i.Stop(t.Context())
				require.LessOrEqual(t, time.Since(began), keeperStopLimit)
				place.release()
				<-k.done
				require.Equal(t, place.opened(), place.closes, "closed if and only if it was opened")
			})
		})
	}
}

// release lets everything go on that hangs.
func (p *fakePlace) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []*chan struct{}{&p.hangOpen, &p.hangLoad, &p.hangUp} {
		if *c != nil {
			close(*c)
			*c = nil
		}
	}
}

// opened is how often it was opened with success.
func (p *fakePlace) opened() int {
	if p.openErr != nil {
		return 0
	}
	return p.opens
}

// An answer that comes after the wait changes nothing, neither here nor there.
func TestALateAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{data: recordOf(keptUID, thisHost), hangLoad: make(chan struct{})}, newID()
		k, _ := newTestKeeper(id, place)
		k.start()
		uid := k.wait(t.Context())
		place.release()
		<-k.done
		require.Equal(t, knownUID{uid, originMade}, uids.of(id))
		require.Equal(t, string(recordOf(keptUID, thisHost)), place.kept())
		require.Equal(t, 1, place.closes)
		k.stop(t.Context())

		next, _ := live(t, id, place)
		require.Equal(t, keptUID, next.String(), "what was kept comes back with a reload")
	})
}

// Shutdown need not wait for a place that hangs.
func TestAWaitThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{hangOpen: make(chan struct{})}, newID()
		k, logs := newTestKeeper(id, place)
		k.start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		k.wait(ctx)
		k.stop(t.Context())
		require.Equal(t, keeperStopLimit+time.Millisecond, time.Since(began))
		require.Equal(t, 1, logs.Len(), "that it is left behind")
		place.release()
		<-k.done
		require.Zero(t, place.saves)
	})
}

// Each UID that the server assigns is written at once, and the last before the end.
func TestAssignedUIDsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{}, newID()
		var last opampwire.InstanceUID
		live(t, id, place, func(i *Identity) {
			for range 3 {
				last = opampwire.NewInstanceUID()
				i.Assigned(last)
				synctest.Wait()
				require.Equal(t, string(recordOf(last.String(), thisHost)), place.kept())
			}
			last = opampwire.NewInstanceUID()
			i.Assigned(last) // and the end comes
		})
		require.Equal(t, string(recordOf(last.String(), thisHost)), place.kept())

		next, _ := live(t, id, place)
		require.Equal(t, last, next, "after a reload")
		forget(id)
		next, _ = live(t, id, place)
		require.Equal(t, last, next, "after a restart")
	})
}

// The server's word and the end come in the same moment, while the place is busy. That
// may be met in either order, so it is met often.
func TestTheLastAssignedUIDIsNotLost(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			place, id := &fakePlace{hangUp: make(chan struct{})}, newID()
			k, _ := newTestKeeper(id, place)
			i := &Identity{uids: k.uids, id: id, keeper: k}
			i.Start()
			i.UID(t.Context())
			synctest.Wait() // it is saving

			last := opampwire.NewInstanceUID()
			i.Assigned(last)
			stopped := make(chan struct{})
			go func() { defer close(stopped); i.Stop(t.Context()) }()
			synctest.Wait()
			place.release()
			<-stopped
			require.Equal(t, string(recordOf(last.String(), thisHost)), place.kept())
		})
	}
}

// A disk that is full for ten minutes: one line when it begins, one when it ends, a try
// a minute, and nothing is lost.
func TestASaveThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{data: recordOf(keptUID, thisHost)}, newID()
		assigned := opampwire.NewInstanceUID()
		_, logs := live(t, id, place, func(i *Identity) {
			place.with(func() { place.saveErr = errDisk })
			i.Assigned(assigned)
			time.Sleep(10*time.Minute + time.Second)
			place.with(func() { place.saveErr = nil })
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, string(recordOf(assigned.String(), thisHost)), place.kept())
			require.Equal(t, 12, place.saves)
			time.Sleep(time.Hour)
			require.Equal(t, 12, place.saves)
		})
		require.Len(t, logs, 2)
		require.Equal(t, zapcore.WarnLevel, logs[0].Level)
		require.Equal(t, zapcore.InfoLevel, logs[1].Level)
	})
}

// What the server assigned holds over a reload although it could not be written.
func TestAnAssignedUIDThatCouldNotBeKeptSurvivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, id := &fakePlace{data: recordOf(keptUID, thisHost)}, newID()
		assigned := opampwire.NewInstanceUID()
		live(t, id, place, func(i *Identity) {
			place.with(func() { place.saveErr = errDisk })
			i.Assigned(assigned)
		})
		require.Contains(t, place.kept(), keptUID)

		place.saveErr = nil
		uid, _ := live(t, id, place)
		require.Equal(t, assigned, uid)
		require.Equal(t, string(recordOf(assigned.String(), thisHost)), place.kept())
	})
}

// A reload that begins to keep the UID keeps the one in use.
func TestAReloadThatAddsAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := newID()
		before := OfProcess(&uids, id).UID(t.Context())
		place := &fakePlace{}
		after, _ := live(t, id, place)
		require.Equal(t, before, after)
		require.Equal(t, string(recordOf(before.String(), thisHost)), place.kept())
	})
}

// A configured UID is in force at each start, whatever the server assigned.
func TestAConfiguredUIDIsNotReplacedForGood(t *testing.T) {
	id := newID()
	configured := opampwire.NewInstanceUID()
	i := Configured(configured)
	i.Start()
	require.Equal(t, configured, i.UID(t.Context()))
	i.Assigned(opampwire.NewInstanceUID())
	require.Equal(t, configured, i.UID(t.Context()))
	require.NotEqual(t, configured, OfProcess(&uids, id).UID(t.Context()), "and leaves nothing behind")
	i.Stop(t.Context())
}
