// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// way is a registry with a client, and a network to the server, in a synctest bubble:
// its time is the test's.
type way struct {
	t        *testing.T
	net      *opamptest.Pipe
	registry *Registry
	client   *opampclient.Client
}

func usual() Settings {
	return Settings{QueueSize: 100, QueueBytes: 1 << 20, MaxMessageSize: 1 << 16, MaxMessageKey: "max_message_size"}
}

func newClient(registry *Registry, set opampclient.Settings) *opampclient.Client {
	set.CustomMessages = registry
	client := opampclient.New(set, opampclient.Report{
		Capabilities: protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus,
		Health:       &protobufs.ComponentHealth{Healthy: true},
	})
	registry.Attach(Link{Nudge: client.Nudge, Announce: func(names []string) {
		client.SetCustomCapabilities(&protobufs.CustomCapabilities{Capabilities: names})
	}})
	return client
}

func inBubble(t *testing.T, scheme string, set Settings, f func(w *way)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &way{t: t, net: opamptest.NewPipe(), registry: New(set)}
		httpClient := w.net.Client()
		w.client = newClient(w.registry, opampclient.Settings{
			Endpoint:   &url.URL{Scheme: scheme, Host: "server", Path: opamptest.Path},
			HTTPClient: httpClient,
		})
		defer httpClient.CloseIdleConnections()
		defer w.net.Close()
		defer w.registry.Close(context.Background())
		defer w.client.Stop(context.Background())
		f(w)
	})
}

var bothTransports = []string{"ws", "http"}

// serve starts a scripted server and the client.
func (w *way) serve(script opamptest.Script) *opamptest.Server {
	w.t.Helper()
	s := opamptest.Serve(w.t, w.net, script)
	w.client.Start()
	return s
}

// register registers a capability.
func register(
	t testing.TB, r opampcustommessages.CustomCapabilityRegistry, capability string,
	opts ...opampcustommessages.CustomCapabilityRegisterOption,
) opampcustommessages.CustomCapabilityHandler {
	t.Helper()
	h, err := r.Register(capability, opts...)
	require.NoError(t, err)
	return h
}

// sendAll sends as components do, waiting for room where there is none, and then until
// the server has the last message.
func sendAll(h opampcustommessages.CustomCapabilityHandler, n int) error {
	var last chan struct{}
	for i := range n {
		for {
			sent, err := h.SendMessage("number", binary.BigEndian.AppendUint64(nil, uint64(i)))
			if err == nil {
				last = sent
				break
			}
			if !errors.Is(err, types.ErrCustomMessagePending) {
				return err
			}
			<-sent
		}
	}
	<-last
	return nil
}

// tally counts numbered messages by capability.
type tally struct {
	mu         sync.Mutex
	next       map[string]uint64 // guarded by mu
	duplicates int               // guarded by mu
	disorder   int               // guarded by mu: skipped, or back to one never seen
	total      int               // guarded by mu: without duplicates
}

func newTally() *tally { return &tally{next: make(map[string]uint64)} }

// note takes a message and returns how many different ones there were so far.
func (l *tally) note(msg *protobufs.CustomMessage) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := binary.BigEndian.Uint64(msg.GetData())
	switch want := l.next[msg.GetCapability()]; {
	case n == want:
		l.next[msg.GetCapability()]++
		l.total++
	case n < want:
		l.duplicates++
	default:
		l.disorder++
	}
	return l.total
}

// TestNothingIsLostAndNothingOutOfOrder has 10,000 messages of four capabilities go
// through five interruptions of each kind.
func TestNothingIsLostAndNothingOutOfOrder(t *testing.T) {
	const (
		capabilities  = 4
		each          = 2500
		interruptions = 5
		every         = capabilities * each / (interruptions + 1)
	)
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(code)
		}
	}
	kinds := []struct {
		name, scheme string
		refuse       func(http.ResponseWriter)       // of a request that is not read
		reply        func() *protobufs.ServerToAgent // in place of an answer
		silent       bool                            // net/http makes up for it, and nobody notices
		hangUp       func(server *opamptest.Server)  // in place of an answer
	}{
		{name: "disconnects", scheme: "ws", hangUp: (*opamptest.Server).HangUp},
		{name: "disconnects", scheme: "http", silent: true, refuse: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		{name: "500", scheme: "http", refuse: status(http.StatusInternalServerError)},
		{name: "401", scheme: "http", refuse: status(http.StatusUnauthorized)},
		{name: "429", scheme: "http", refuse: status(http.StatusTooManyRequests)},
		{name: "503", scheme: "http", refuse: status(http.StatusServiceUnavailable)},
		{name: "unavailable", scheme: "ws", reply: unavailable},
		{name: "unavailable", scheme: "http", reply: unavailable},
	}
	for _, kind := range kinds {
		t.Run(kind.scheme+"/"+kind.name, func(t *testing.T) {
			inBubble(t, kind.scheme, usual(), func(w *way) {
				seen := newTally()
				var left atomic.Int32
				var due atomic.Bool
				left.Store(interruptions)
				interrupt := func() bool { return due.CompareAndSwap(true, false) }
				var server *opamptest.Server
				started := make(chan struct{})
				script := opamptest.Script{
					Refuse: func(rw http.ResponseWriter, _ *http.Request) bool {
						if kind.refuse == nil || !interrupt() {
							return false
						}
						kind.refuse(rw)
						return true
					},
					Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
						<-started
						custom := msg.GetCustomMessage()
						if custom == nil {
							return opamptest.Ack(msg)
						}
						total := seen.note(custom)
						if n := left.Load(); n > 0 && total >= every*(interruptions+1-int(n)) && left.CompareAndSwap(n, n-1) {
							due.Store(true)
						}
						switch {
						case kind.hangUp != nil && interrupt():
							kind.hangUp(server)
							return nil
						case kind.reply != nil && interrupt():
							return kind.reply()
						}
						return opamptest.Ack(msg)
					},
				}
				server = w.serve(script)
				close(started)
				var senders sync.WaitGroup
				for i := range capabilities {
					h := register(t, w.registry, fmt.Sprintf("org.example.%d", i))
					senders.Go(func() { assert.NoError(t, sendAll(h, each)) })
				}
				senders.Wait()

				assert.Zero(t, left.Load(), "interruptions that did not come")
				assert.Equal(t, capabilities*each, seen.total, "messages")
				assert.Zero(t, seen.disorder, "out of order")
				sum := sums(w.registry)
				assert.EqualValues(t, capabilities*each, sum.Acknowledged)
				if !kind.silent {
					assert.GreaterOrEqual(t, sum.Resent, uint64(interruptions))
				}
				assert.GreaterOrEqual(t, sum.Resent, uint64(seen.duplicates))
				assert.Zero(t, sum.Unanswered)
				assert.Zero(t, sum.QueueSize)
				assert.Zero(t, sum.QueueBytes)
				t.Logf("%d messages of %d capabilities through %d interruptions: %d lost, %d out of order, %d duplicates, %d written again",
					seen.total, capabilities, interruptions, capabilities*each-seen.total, seen.disorder, seen.duplicates, sum.Resent)
			})
		})
	}
}

// TestAMessageThatIsTooLargeForTheServerIsAloneInThat has a server that takes everything else,
// and does so at once.
func TestAMessageThatIsTooLargeForTheServerIsAloneInThat(t *testing.T) {
	inBubble(t, "http", usual(), func(w *way) {
		const limit = 1000
		server := w.serve(opamptest.Script{Refuse: func(rw http.ResponseWriter, r *http.Request) bool {
			if r.ContentLength <= limit {
				return false
			}
			rw.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}})
		server.Next(t) // connected
		h := register(t, w.registry, "org.example")
		large := make([]byte, 2*limit)
		for i := range large { // not one that gets smaller
			large[i] = byte(rand.Uint32())
		}
		began := time.Now()
		for i := range 100 {
			sent, err := h.SendMessage("large", large)
			require.NoError(t, err)
			<-sent
			<-send(t, h, strconv.Itoa(i))
			require.Equal(t, strconv.Itoa(i), server.NextWith(t, func(h opamptest.Heard) bool {
				return h.GetCustomMessage() != nil
			}).GetCustomMessage().GetType())
		}
		require.Zero(t, time.Since(began), "nothing waits")
		require.EqualValues(t, 100, w.registry.Stats()[0].Dropped[string(droppedServerLimit)])
		require.EqualValues(t, 100, w.registry.Stats()[0].Acknowledged)
	})
}

// TestAServerThatNeverAnswers gets each message once, and nobody waits for ever.
func TestAServerThatNeverAnswers(t *testing.T) {
	inBubble(t, "ws", usual(), func(w *way) {
		server := w.serve(opamptest.Script{Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return nil }})
		h := register(t, w.registry, "org.example")
		began := time.Now()
		assert.NoError(t, sendAll(h, 250), "more than the queue holds")
		assert.Less(t, time.Since(began), time.Minute)
		sum := sums(w.registry)
		assert.EqualValues(t, 250, sum.Unanswered)
		assert.EqualValues(t, 250, sum.Sent)
		seen := newTally()
		for _, heard := range server.Rest() {
			if m := heard.GetCustomMessage(); m != nil {
				seen.note(m)
			}
		}
		assert.Equal(t, 250, seen.total)
		assert.Zero(t, seen.disorder+seen.duplicates)
	})
}

// TestAServerThatIsGoneHasNothing has a server that takes messages and is not there any
// more, which nothing but the missing pong shows.
func TestAServerThatIsGoneHasNothing(t *testing.T) {
	inBubble(t, "ws", usual(), func(w *way) {
		var gone atomic.Bool
		server := w.serve(opamptest.Script{Accepted: func(c *websocket.Conn) bool {
			if gone.Swap(true) {
				return true
			}
			for { // reads, and has nobody who answers: not even a ping, which Read would
				_, r, err := c.Reader(context.Background())
				if err != nil {
					return false
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					return false
				}
				if gone.Load() {
					time.Sleep(time.Hour)
				}
			}
		}})
		h := register(t, w.registry, "org.example")
		assert.NoError(t, sendAll(h, 3))
		sum := sums(w.registry)
		assert.Zero(t, sum.Unanswered)
		assert.EqualValues(t, 3, sum.Acknowledged)
		server.NextWith(t, func(heard opamptest.Heard) bool { return heard.GetCustomMessage() != nil })
	})
}

func unavailable() *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{ErrorResponse: &protobufs.ServerErrorResponse{
		Type: protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
	}}
}

// sums adds up what all capabilities have.
func sums(r *Registry) Stats {
	sum := Stats{Dropped: map[string]uint64{}, Refused: map[string]uint64{}}
	for _, s := range r.Stats() {
		sum.QueueSize += s.QueueSize
		sum.QueueBytes += s.QueueBytes
		sum.Sent += s.Sent
		sum.Resent += s.Resent
		sum.Acknowledged += s.Acknowledged
		sum.Unanswered += s.Unanswered
		sum.Delivered += s.Delivered
		for reason, n := range s.Dropped {
			sum.Dropped[reason] += n
		}
		for reason, n := range s.Refused {
			sum.Refused[reason] += n
		}
	}
	return sum
}
