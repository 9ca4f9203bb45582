// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// open reports whether nobody has closed c.
func open(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

// next is the type of the next message that r gives out, "" if there is none.
func next(r *Registry) string {
	msg, _ := r.Next(start)
	if msg == nil {
		return ""
	}
	return msg.GetCapability() + "/" + msg.GetType()
}

func send(t *testing.T, h opampcustommessages.CustomCapabilityHandler, messageType string) chan struct{} {
	t.Helper()
	sent, err := h.SendMessage(messageType, []byte("x"))
	require.NoError(t, err)
	require.NotNil(t, sent)
	return sent
}

func TestOnlyAFullQueueIsPending(t *testing.T) {
	set := usual()
	set.QueueSize = 2
	r := New(set)
	a, b := register(t, r, "a"), register(t, r, "b")
	first := send(t, a, "1")
	send(t, a, "2")
	room, err := a.SendMessage("3", nil)
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	again, err := a.SendMessage("3", nil)
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	require.Equal(t, room, again)
	send(t, b, "1")

	require.Equal(t, "a/1", next(r))
	require.True(t, open(room), "it is written and not answered")
	require.True(t, open(first))
	r.Answered()
	require.False(t, open(room))
	require.False(t, open(first))
	send(t, a, "3")
	room, err = a.SendMessage("4", nil)
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	require.True(t, open(room), "another one")
	require.EqualValues(t, 3, r.Stats()[0].Refused[refusedFull])
}

func TestQueuesAreBoundedInBytes(t *testing.T) {
	set := usual()
	set.QueueBytes, set.MaxMessageSize = 100, 60
	r := New(set)
	h := register(t, r, "a")
	_, err := h.SendMessage("t", make([]byte, 59))
	require.NoError(t, err)
	_, err = h.SendMessage("t", make([]byte, 40))
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	_, err = h.SendMessage("t", make([]byte, 39))
	require.NoError(t, err)
	_, err = h.SendMessage("t", make([]byte, 60))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "61 bytes, the limit is 60 bytes (max_message_size)")
	require.NotErrorIs(t, err, types.ErrCustomMessagePending)
	require.Equal(t, 100, r.Stats()[0].QueueBytes)
}

func TestCapabilitiesTakeTurns(t *testing.T) {
	r := New(usual())
	a, b, c := register(t, r, "a"), register(t, r, "b"), register(t, r, "c")
	for i := range 3 {
		send(t, a, fmt.Sprint(i))
	}
	send(t, b, "0")
	var got []string
	for range 3 {
		got = append(got, next(r))
	}
	send(t, c, "0")
	send(t, b, "1")
	for m := next(r); m != ""; m = next(r) {
		got = append(got, m)
	}
	require.Equal(t, []string{"a/0", "b/0", "a/1", "b/1", "c/0", "a/2"}, got)
}

func TestWhatIsNotAnsweredIsGivenOutAgain(t *testing.T) {
	r := New(usual())
	a, b := register(t, r, "a"), register(t, r, "b")
	for i := range 3 {
		send(t, a, fmt.Sprint(i))
	}
	send(t, b, "0")
	for range 4 {
		require.NotEmpty(t, next(r))
	}
	r.Answered() // a/0
	r.Again(start, opampclient.NoFault)
	got := map[string]bool{}
	var order []string
	for m := next(r); m != ""; m = next(r) {
		got[m] = true
		if strings.HasPrefix(m, "a") {
			order = append(order, m)
		}
	}
	require.Equal(t, map[string]bool{"a/1": true, "a/2": true, "b/0": true}, got)
	require.Equal(t, []string{"a/1", "a/2"}, order)
	require.EqualValues(t, 3, sums(r).Resent)
	r.Rejected(opampclient.ReasonRejected)
	r.Unanswered()
	r.Answered()
	r.Answered() // of nothing
	require.Zero(t, sums(r).QueueSize)
}

func TestASenderMayUseItsBufferAgain(t *testing.T) {
	r := New(usual())
	data := []byte("before")
	_, err := register(t, r, "a").SendMessage("t", data)
	require.NoError(t, err)
	copy(data, "after!")
	msg, _ := r.Next(start)
	require.Equal(t, "before", string(msg.GetData()))
}

func TestCapabilitiesAreAnnouncedWhileTheyMatter(t *testing.T) {
	r := New(usual())
	var told [][]string
	first := register(t, r, "b")
	r.Attach(Link{Nudge: func() {}, Announce: func(names []string) { told = append(told, names) }})
	second := register(t, r, "a")
	third := register(t, r, "a")
	require.Equal(t, [][]string{{"b"}, {"a", "b"}}, told, "once each")
	second.Unregister()
	require.Len(t, told, 2, "one of two")
	send(t, third, "last")
	third.Unregister()
	require.Len(t, told, 2, "there is something to send")
	require.Equal(t, "a/last", next(r))
	r.Answered()
	first.Unregister()
	require.Equal(t, [][]string{{"b"}, {"a", "b"}, {"b"}, {}}, told, "none is told, too")
	require.NotNil(t, told[3])
}

func TestUnregisterTwiceAndSendAfterIt(t *testing.T) {
	r := New(usual())
	h := register(t, r, "a")
	other := register(t, r, "a")
	h.Unregister()
	h.Unregister()
	_, err := h.SendMessage("t", nil)
	require.ErrorIs(t, err, ErrUnregistered)
	require.EqualError(t, err, "capability has already been unregistered")
	require.True(t, r.Dispatch(&protobufs.CustomMessage{Capability: "a"}))
	require.Empty(t, h.Message())
	require.Len(t, other.Message(), 1)
	other.Unregister()
	h.Unregister()
	other.Unregister()
	require.False(t, r.Dispatch(&protobufs.CustomMessage{Capability: "a"}))
	require.Len(t, other.Message(), 1, "and the channel stays open")
}

func TestEachHandlerHasItsOwnMessage(t *testing.T) {
	r := New(usual())
	a, b := register(t, r, "a"), register(t, r, "a")
	require.True(t, r.Dispatch(&protobufs.CustomMessage{Capability: "a", Type: "t", Data: []byte("data")}))
	one, other := <-a.Message(), <-b.Message()
	one.Type, one.Data[0] = "changed", 'X'
	require.Equal(t, "t", other.GetType())
	require.Equal(t, "data", string(other.GetData()))
}

func TestAHandlerThatDoesNotReadLosesMessages(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	for _, test := range []struct{ asked, want int }{{2, 2}, {0, 1}, {-5, 1}, {1 << 40, maxInbound}} {
		set := usual()
		set.Logger = zap.New(core)
		r := New(set)
		slow := register(t, r, "a", opampcustommessages.WithMaxQueuedMessages(test.asked))
		quick := register(t, r, "a", opampcustommessages.WithMaxQueuedMessages(maxInbound))
		for range test.want + 3 {
			require.True(t, r.Dispatch(&protobufs.CustomMessage{Capability: "a"}))
			if len(quick.Message()) > 0 {
				<-quick.Message()
			}
		}
		require.Len(t, slow.Message(), test.want, "%d", test.asked)
		require.EqualValues(t, 3, r.Stats()[0].Dropped[string(droppedFull)])
		require.EqualValues(t, 2*test.want+3, r.Stats()[0].Delivered)
		require.Equal(t, 1, logs.Len(), "one line: %v", logs.TakeAll())
		logs.TakeAll()
	}
}

func TestAMessageForNobodyIsNotCopied(t *testing.T) {
	const size, times = 1 << 20, 100
	r := New(usual())
	for range 3 {
		register(t, r, "a", opampcustommessages.WithMaxQueuedMessages(1))
	}
	msg := &protobufs.CustomMessage{Capability: "a", Data: make([]byte, size)}
	require.True(t, r.Dispatch(msg)) // and nobody reads it
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		require.True(t, r.Dispatch(msg))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(times*size))
	require.EqualValues(t, 3*times, r.Stats()[0].Dropped[string(droppedFull)])
}

func TestInboundQueuesAreBoundedInBytes(t *testing.T) {
	set := usual()
	set.QueueBytes = 100
	r := New(set)
	h := register(t, r, "a")
	big := &protobufs.CustomMessage{Capability: "a", Data: make([]byte, 90)}
	for range 3 {
		r.Dispatch(big)
	}
	require.Len(t, h.Message(), 1)
	<-h.Message()
	r.Dispatch(&protobufs.CustomMessage{Capability: "a", Data: make([]byte, 500)})
	require.Len(t, h.Message(), 1, "the only one may be of any size")
	<-h.Message()
	r.Dispatch(big)
	require.Len(t, h.Message(), 1)
}

// What all queues have together is bounded; who needs little does not wait for who needs much.
func TestAllQueuesTogetherAreBounded(t *testing.T) {
	set := usual()
	set.QueueBytes, set.MaxMessageSize, set.TotalBytes = 100<<10, 100<<10, 250<<10
	r := New(set)
	big := make([]byte, 50<<10)
	var waiting []chan struct{}
	taken := 0
	for i := range 20 {
		h := register(t, r, fmt.Sprint("c", i))
		for range 2 {
			room, err := h.SendMessage("", big)
			if err == nil {
				taken++
				continue
			}
			require.ErrorIs(t, err, types.ErrCustomMessagePending)
			waiting = append(waiting, room)
		}
		send(t, register(t, r, fmt.Sprint("small", i)), "one that finds its queue empty")
	}
	require.Equal(t, 4, taken, "the fifth has no room beside the small ones")
	require.LessOrEqual(t, sums(r).QueueBytes, set.TotalBytes+20*spared)
	require.EqualValues(t, 40-taken, sums(r).Refused[refusedTotal])
	require.Zero(t, sums(r).Refused[refusedFull])

	h := register(t, r, "small0")
	_, err := h.SendMessage("", make([]byte, 40<<10))
	require.NoError(t, err, "there is room for that")
	_, err = h.SendMessage("", make([]byte, 40<<10))
	require.ErrorIs(t, err, types.ErrCustomMessagePending)

	for left := 0; left < len(big); r.Answered() { // a big one leaves
		msg, _ := r.Next(start)
		left = len(msg.GetData())
	}
	for _, room := range waiting {
		require.False(t, open(room), "whoever waits may try again")
	}
	_, err = h.SendMessage("", make([]byte, 40<<10))
	require.NoError(t, err)
}

// The default leaves one capability, and a few, what they had without a bound over all.
func TestFewCapabilitiesDoNotNoticeTheBoundOverAll(t *testing.T) {
	set := usual()
	set.QueueBytes, set.MaxMessageSize = 100<<10, 100<<10
	r := New(set)
	for i := range totalShare {
		h := register(t, r, fmt.Sprint(i))
		for range 2 {
			_, err := h.SendMessage("", make([]byte, 50<<10))
			require.NoError(t, err)
		}
		_, err := h.SendMessage("", make([]byte, 50<<10))
		require.ErrorIs(t, err, types.ErrCustomMessagePending)
	}
	require.EqualValues(t, totalShare, sums(r).Refused[refusedFull])
	require.Zero(t, sums(r).Refused[refusedTotal])
}

func TestInboundQueuesTogetherAreBounded(t *testing.T) {
	set := usual()
	set.QueueBytes, set.TotalBytes = 100<<10, 250<<10
	r := New(set)
	var handlers []opampcustommessages.CustomCapabilityHandler
	for i := range 10 {
		handlers = append(handlers, register(t, r, fmt.Sprint("c", i)))
		r.Dispatch(&protobufs.CustomMessage{Capability: fmt.Sprint("c", i), Data: make([]byte, 60<<10)})
	}
	require.EqualValues(t, 4, sums(r).Delivered)
	require.EqualValues(t, 6, sums(r).Dropped[string(droppedTotal)])
	require.Zero(t, sums(r).Dropped[string(droppedFull)])

	r.Dispatch(&protobufs.CustomMessage{Capability: "c9", Data: []byte("small")})
	require.Equal(t, []byte("small"), (<-handlers[9].Message()).GetData(), "who reads is told")

	<-handlers[0].Message()
	r.Dispatch(&protobufs.CustomMessage{Capability: "c5", Data: make([]byte, 60<<10)})
	require.Len(t, handlers[5].Message(), 1, "what was read makes room")
	handlers[1].Unregister()
	r.Dispatch(&protobufs.CustomMessage{Capability: "c6", Data: make([]byte, 60<<10)})
	require.Len(t, handlers[6].Message(), 1, "what is nobody's does, too")
	require.Equal(t, 4*60<<10, r.inBytes)
}

func TestNobodyWaitsWhenPipelinesStop(t *testing.T) {
	set := usual()
	set.QueueSize = 1
	r := New(set)
	h := register(t, r, "a")
	sent := send(t, h, "1")
	room, err := h.SendMessage("2", nil)
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	r.Stopping()
	require.False(t, open(sent))
	require.False(t, open(room))
	_, err = h.SendMessage("2", nil)
	require.ErrorIs(t, err, ErrStopping)
	require.NotErrorIs(t, err, types.ErrCustomMessagePending, "who tries again would do so for ever")
	require.Equal(t, "a/1", next(r), "it is still sent")
	r.Answered()
	require.False(t, open(send(t, h, "last words")))
	r.Running()
	_, err = h.SendMessage("3", nil)
	require.ErrorIs(t, err, types.ErrCustomMessagePending)
	r.Close(context.Background())
	r.Close(context.Background())
	_, err = h.SendMessage("3", nil)
	require.ErrorIs(t, err, ErrStopped)
	late := register(t, r, "late")
	_, err = late.SendMessage("t", nil)
	require.ErrorIs(t, err, ErrStopped)
	late.Unregister()
	h.Unregister()
	require.EqualValues(t, 1, r.Stats()[0].Dropped[string(droppedStop)])
}

func TestWhatTheProtocolCannotCarryIsRefused(t *testing.T) {
	r := New(usual())
	for _, name := range []string{"", "\xff", strings.Repeat("x", maxName+1)} {
		_, err := r.Register(name)
		require.ErrorIs(t, err, ErrMalformed, "%q", name)
	}
	h := register(t, r, "a")
	for _, messageType := range []string{"\xff", strings.Repeat("x", maxName+1)} {
		_, err := h.SendMessage(messageType, nil)
		require.ErrorIs(t, err, ErrMalformed, "%q", messageType)
	}
	require.Empty(t, next(r))
}

func TestCapabilitiesAreBounded(t *testing.T) {
	r := New(usual())
	for i := range maxCapabilities {
		send(t, register(t, r, fmt.Sprint(i)), "t")
	}
	_, err := r.Register("one more")
	require.ErrorIs(t, err, ErrTooMany)
	for range maxHandlers - 1 {
		register(t, r, "0")
	}
	_, err = r.Register("0")
	require.ErrorIs(t, err, ErrTooMany)
	stats := r.Stats()
	require.Len(t, stats, maxLabels+1)
	waiting := 0
	for _, s := range stats {
		waiting += s.QueueSize
	}
	require.Equal(t, maxCapabilities, waiting)
}

// TestAMessageThatCostsTheConnectionWaits has a server that fails on one message of one
// capability, each time.
func TestAMessageThatCostsTheConnectionWaits(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	set := usual()
	set.Logger = zap.New(core)
	r := New(set)
	good, bad := register(t, r, "good"), register(t, r, "bad")
	for i := range 50 {
		send(t, good, fmt.Sprint(i))
	}
	send(t, bad, "fine")
	send(t, bad, "poison")
	send(t, bad, "after")

	var arrived []string
	now, connections := start, 0
	connect := func() { // writes all it may, then has answers, until the poison is reached
		connections++
		for {
			var written []string
			for {
				msg, _ := r.Next(now)
				if msg == nil {
					break
				}
				written = append(written, msg.GetCapability()+"/"+msg.GetType())
			}
			if len(written) == 0 {
				return
			}
			for _, m := range written {
				if m == "bad/poison" {
					r.Again(now, opampclient.MaybeFault)
					return
				}
			}
			for range written {
				r.Answered()
			}
			arrived = append(arrived, written...)
		}
	}
	for range 20 {
		connect()
		now = now.Add(time.Second)
	}
	require.Len(t, arrived, 51, "all of the others")
	require.Contains(t, arrived, "bad/fine")
	require.Equal(t, 2, sums(r).QueueSize)
	require.Equal(t, 1, logs.Len())
	before := connections
	_, wait := r.Next(now)
	require.Greater(t, wait, 30*time.Second)
	require.LessOrEqual(t, wait, leastPenance)
	now = now.Add(leastPenance)
	connect()
	_, wait = r.Next(now)
	require.Equal(t, 2*leastPenance, wait, "twice as long")
	require.Equal(t, before+1, connections)

	// The server says that it is too large for it, and the rest goes on.
	now = now.Add(mostPenance)
	require.Equal(t, "poison", typeOf(r.Next(now)))
	r.Again(now, opampclient.FaultTooLarge)
	require.Equal(t, "after", typeOf(r.Next(now)))
	r.Answered()
	require.Zero(t, sums(r).QueueSize)
}

func typeOf(msg *protobufs.CustomMessage, _ time.Duration) string { return msg.GetType() }

// FuzzRegistry has operations of any order against a model: what was taken is given out
// in order for each capability, and again until it is answered; the bounds hold.
func FuzzRegistry(f *testing.F) {
	f.Add([]byte("sssnnansqgnnaaasss"))
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz0123456789"))
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, seed))
		ops := make([]byte, 400)
		for i := range ops {
			ops[i] = byte(random.IntN(256))
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		set := usual()
		set.QueueSize, set.QueueBytes, set.MaxMessageSize, set.TotalBytes = 5, 40, 16, 60
		r := New(set)
		handlers := make([]opampcustommessages.CustomCapabilityHandler, 3)
		waiting := make([][]string, 3) // by capability
		out := make([]int, 3)          // how many of them are given out
		var flight []int               // whose they are
		sent := 0
		for _, op := range ops {
			c := int(op) % 3
			name := string(rune('a' + c))
			switch op / 3 % 8 {
			case 0, 1, 2: // send
				if handlers[c] == nil {
					handlers[c] = register(t, r, name)
				}
				sent++
				id := fmt.Sprint(sent)
				_, err := handlers[c].SendMessage(id, make([]byte, op%12))
				if err == nil {
					waiting[c] = append(waiting[c], id)
				} else {
					require.ErrorIs(t, err, types.ErrCustomMessagePending)
				}
				require.LessOrEqual(t, len(waiting[c]), 5)
			case 3, 4: // give out
				msg, _ := r.Next(start)
				if msg == nil {
					for i := range waiting {
						require.True(t, len(waiting[i]) == out[i] || len(flight) > 0, "something waits")
					}
					continue
				}
				from := int(msg.GetCapability()[0] - 'a')
				require.Equal(t, waiting[from][out[from]], msg.GetType())
				out[from]++
				flight = append(flight, from)
			case 5: // an answer
				r.Answered()
				if len(flight) > 0 {
					from := flight[0]
					flight, waiting[from] = flight[1:], waiting[from][1:]
					out[from]--
				}
			case 6: // the connection ends
				r.Again(start, opampclient.Fault(op%2))
				flight, out = nil, make([]int, 3)
				r.mu.Lock()
				for _, q := range r.queues {
					q.until = time.Time{} // whoever had to wait has
				}
				r.mu.Unlock()
			case 7:
				if handlers[c] != nil {
					handlers[c].Unregister()
					handlers[c] = nil
				}
			}
			size := 0
			for _, w := range waiting {
				size += len(w)
			}
			require.Equal(t, size, sums(r).QueueSize)
			require.LessOrEqual(t, sums(r).QueueBytes, 60+3*16) // an empty queue takes a small message
			require.Equal(t, sums(r).QueueBytes, r.bytes)
		}
	})
}

// TestAnyOrderAtOnce has everybody call everything at the same time.
func TestAnyOrderAtOnce(t *testing.T) {
	set := usual()
	set.QueueSize = 10
	r := New(set)
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				h, err := r.Register(fmt.Sprint(random.IntN(4)), opampcustommessages.WithMaxQueuedMessages(random.IntN(3)-1))
				if !assert.NoError(t, err) {
					return
				}
				for range random.IntN(4) {
					_, err := h.SendMessage("t", []byte("data"))
					if err != nil && !errors.Is(err, types.ErrCustomMessagePending) && !errors.Is(err, ErrStopping) && !errors.Is(err, ErrStopped) {
						assert.NoError(t, err)
					}
				}
				select {
				case msg := <-h.Message():
					assert.NotNil(t, msg)
				default:
				}
				h.Unregister()
				if random.IntN(2) == 0 {
					h.Unregister()
				}
			}
		})
	}
	work.Go(func() { // as the client does, in one goroutine
		random := rand.New(rand.NewPCG(2, 2))
		for range 20_000 {
			switch random.IntN(8) {
			case 0:
				r.Again(start, opampclient.NoFault)
			case 1, 2, 3:
				r.Answered()
			case 4:
				r.Dispatch(&protobufs.CustomMessage{Capability: fmt.Sprint(random.IntN(5))})
			default:
				r.Next(start)
			}
		}
	})
	work.Go(func() {
		for i := range 300 {
			r.Stats()
			switch i {
			case 50:
				r.Attach(Link{Nudge: func() {}, Announce: func([]string) {}})
			case 200:
				r.Stopping()
			case 250:
				r.Running()
			case 299:
				r.Close(context.Background())
			}
		}
	})
	work.Wait()
}
