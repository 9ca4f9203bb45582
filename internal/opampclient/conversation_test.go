// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// counts is an Observer that adds up.
type counts struct {
	NopObserver

	mu       sync.Mutex
	attempts map[string]int
	ends     map[Reason]int
	drops    map[drop]int
	refused  map[string]int
	up       bool
	sent     int
	received int
}

func newCounts() *counts {
	return &counts{
		attempts: map[string]int{}, ends: map[Reason]int{}, drops: map[drop]int{}, refused: map[string]int{},
	}
}

func (c *counts) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
func (c *counts) Connected(up bool)            { c.with(func() { c.up = up }) }
func (c *counts) ConnectAttempt(result string) { c.with(func() { c.attempts[result]++ }) }
func (c *counts) Disconnected(r Reason)        { c.with(func() { c.ends[r]++ }) }
func (c *counts) Sent(int)                     { c.with(func() { c.sent++ }) }
func (c *counts) Received(int)                 { c.with(func() { c.received++ }) }
func (c *counts) Dropped(what string, r Reason) {
	c.with(func() { c.drops[drop{what, r}]++ })
}

// now is a copy that stays as it is.
func (c *counts) now() *counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &counts{
		attempts: maps.Clone(c.attempts), ends: maps.Clone(c.ends), drops: maps.Clone(c.drops),
		refused: maps.Clone(c.refused), up: c.up, sent: c.sent, received: c.received,
	}
}
func (c *counts) Refused(offer string) { c.with(func() { c.refused[offer]++ }) }

// bubble is a client and a network in a synctest bubble: its time is the test's.
type bubble struct {
	t      *testing.T
	net    *opamptest.Pipe
	seen   *counts
	logs   *observer.ObservedLogs
	client *Client
}

func inBubble(t *testing.T, scheme string, f func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		b := &bubble{t: t, net: opamptest.NewPipe(), seen: newCounts(), logs: logs}
		httpClient := b.net.Client()
		b.client = New(Settings{
			Endpoint:   &url.URL{Scheme: scheme, Host: "server", Path: opamptest.Path},
			HTTPClient: httpClient,
			Header:     http.Header{"X-Key": {"secret"}},
			Logger:     zap.New(core),
			Observer:   b.seen,
		}, fullReport())
		defer httpClient.CloseIdleConnections()
		defer b.net.Close()
		defer b.client.Stop(context.Background())
		f(b)
	})
}

// serve starts a scripted server and the client.
func (b *bubble) serve(script opamptest.Script) *opamptest.Server {
	b.t.Helper()
	s := opamptest.Serve(b.t, b.net, script)
	b.client.Start()
	return s
}

// tellings is what each message told.
func tellings(h []opamptest.Heard) []string {
	var all []string
	for _, m := range h {
		all = append(all, told(m.AgentToServer))
	}
	return all
}

var bothTransports = []string{"ws", "http"}

func onBoth(t *testing.T, f func(b *bubble)) {
	t.Helper()
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) { inBubble(t, scheme, f) })
	}
}

func TestConversationTellsOnlyWhatChanged(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		heard := s.Rest()
		require.Equal(t, []string{everything}, tellings(heard))
		assert.Equal(t, "secret", heard[0].Header.Get("X-Key"))
		assert.Equal(t, opampwire.InstanceUID(heard[0].InstanceUid).String(), heard[0].Header.Get("OpAMP-Instance-UID"))
		assert.True(t, b.seen.now().up)

		b.client.SetHealth(health("StatusOK"))
		b.client.SetEffectiveConfig(config("receivers: {}"))
		synctest.Wait()
		assert.Empty(t, s.Rest(), "nothing changed, so nothing is said")

		b.client.SetHealth(health("StatusPermanentError"))
		synctest.Wait()
		assert.Equal(t, []string{"health=StatusPermanentError"}, tellings(s.Rest()), "without waiting")
	})
}

func TestIdleAgentSendsAHeartbeatAnIntervalAndNothingElse(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		s.Rest()
		time.Sleep(10*time.Minute + time.Second)
		heard := s.Rest()
		assert.Len(t, heard, 20)
		for i, h := range heard {
			assert.Empty(t, told(h.AgentToServer))
			assert.EqualValues(t, i+1, h.SequenceNum)
			assert.LessOrEqual(t, h.Bytes+6, 64)
		}
		t.Logf("idle: %d heartbeats in 10 min, %d bytes each on the wire", len(heard), heard[0].Bytes+6)
	})
}

func TestAgentWithoutHeartbeatIsSilentAndKeptAlive(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		b.client.state.capabilities &^= protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat
		s := b.serve(opamptest.Script{})
		time.Sleep(time.Hour)
		assert.Equal(t, []string{everything}, tellings(s.Rest()))
		total, open, _ := s.Connections()
		assert.Equal(t, []int{1, 1}, []int{total, open}, "pings found it alive")
	})
}

func TestOfferedHeartbeatIntervalMovesThePace(t *testing.T) {
	onBoth(t, func(b *bubble) {
		var offers atomic.Int32
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			if offers.Add(1) == 1 {
				reply.ConnectionSettings = &protobufs.ConnectionSettingsOffers{
					Opamp: &protobufs.OpAMPConnectionSettings{HeartbeatIntervalSeconds: 5},
				}
			}
			return reply
		}})
		synctest.Wait()
		s.Rest()
		time.Sleep(61 * time.Second)
		assert.Len(t, s.Rest(), 12)
		assert.Empty(t, b.seen.now().refused)
	})
}

func TestEachConnectionStartsFromNothingTold(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		for i := range 5 {
			heard := s.Rest()
			require.Equal(t, []string{everything}, tellings(heard), "connection %d", i+1)
			assert.EqualValues(t, i, heard[0].SequenceNum, "no gap over a reconnect")
			time.Sleep(15 * time.Second) // it proves good
			s.HangUp()
			time.Sleep(backoffBase)
			synctest.Wait()
		}
		total, open, most := s.Connections()
		assert.Equal(t, []int{6, 1, 1}, []int{total, open, most}, "never two connections at once")
		assert.Equal(t, map[Reason]int{ReasonNetwork: 5}, b.seen.now().ends)
	})
}

func TestFailedExchangeLosesNothing(t *testing.T) {
	inBubble(t, "http", func(b *bubble) {
		var failing atomic.Bool
		s := b.serve(opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			if failing.Load() {
				http.Error(w, "no", http.StatusInternalServerError)
			}
			return failing.Load()
		}})
		synctest.Wait()
		s.Rest()
		failing.Store(true)
		b.client.SetHealth(health("StatusPermanentError"))
		synctest.Wait()
		failing.Store(false)
		time.Sleep(backoffBase)
		synctest.Wait()
		assert.Equal(t, []string{"description health=StatusPermanentError config components custom"}, tellings(s.Rest()))
		assert.Equal(t, map[Reason]int{ReasonStatus: 1}, b.seen.now().ends)
	})
}

// hostile is a server that ends each conversation in its own way.
type hostile func(b *bubble) opamptest.Script

func closing(f func(c *websocket.Conn)) hostile {
	return func(*bubble) opamptest.Script {
		return opamptest.Script{Accepted: func(c *websocket.Conn) bool {
			f(c)
			return false
		}}
	}
}

func refusing(code int, header ...string) hostile {
	return func(*bubble) opamptest.Script {
		return opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}}
	}
}

func failing(kind protobufs.ServerErrorResponseType) hostile {
	return func(*bubble) opamptest.Script {
		return opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.ErrorResponse = &protobufs.ServerErrorResponse{Type: kind}
			return reply
		}}
	}
}

func TestHostileServerIsConnectedOnceASecondAtMost(t *testing.T) {
	answerOnce := func(b *bubble) opamptest.Script {
		return opamptest.Script{Accepted: func(c *websocket.Conn) bool {
			if _, _, err := c.Read(b.t.Context()); err == nil {
				_ = c.Write(b.t.Context(), websocket.MessageBinary, []byte{0})
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
			return false
		}}
	}
	answerEveryOther := func(*bubble) opamptest.Script {
		var requests atomic.Int32
		return opamptest.Script{
			Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
				if requests.Add(1)%2 == 1 {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				return true
			},
			Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				reply.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
				return reply
			},
		}
	}
	tests := map[string]struct {
		schemes []string
		server  hostile
	}{
		"every other 500": {[]string{"http"}, answerEveryOther},
		"TCP close":       {[]string{"ws"}, closing(func(c *websocket.Conn) { _ = c.CloseNow() })},
		"Close 1000":      {[]string{"ws"}, closing(func(c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") })},
		"Close 1008":      {[]string{"ws"}, closing(func(c *websocket.Conn) { _ = c.Close(websocket.StatusPolicyViolation, "") })},
		"Close 1012":      {[]string{"ws"}, closing(func(c *websocket.Conn) { _ = c.Close(websocket.StatusServiceRestart, "") })},
		"answers once":    {[]string{"ws"}, answerOnce},
		"unavailable":     {bothTransports, failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable)},
		"301 to itself":   {bothTransports, refusing(301, "Location", "/v1/opamp")},
		"307 elsewhere":   {bothTransports, refusing(307, "Location", "http://elsewhere/")},
		"401":             {bothTransports, refusing(401)},
		"404":             {bothTransports, refusing(404)},
		"413":             {bothTransports, refusing(413)},
		"500":             {bothTransports, refusing(500)},
		"429, at once":    {bothTransports, refusing(429, "Retry-After", "0")},
		"503, -1":         {bothTransports, refusing(503, "Retry-After", "-1")},
		"200, HTML":       {bothTransports, refusing(200, "Content-Type", "text/html")},
		"200, no message": {[]string{"http"}, closingBody},
	}
	for name, tt := range tests {
		for _, scheme := range tt.schemes {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				inBubble(t, scheme, func(b *bubble) {
					var mu sync.Mutex
					connects := 0
					script := tt.server(b)
					refuse := script.Refuse
					script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
						mu.Lock()
						connects++
						mu.Unlock()
						assert.Equal(t, "server", r.Host, "nothing is sent elsewhere")
						return refuse != nil && refuse(w, r)
					}
					b.serve(script)
					const span = 10 * time.Minute
					time.Sleep(span)
					mu.Lock()
					defer mu.Unlock()
					assert.LessOrEqual(t, float64(connects), span.Seconds())
					assert.Greater(t, connects, 10, "it does not give up either")
					assert.LessOrEqual(t, len(lines(b.logs)), 2*10+1, "%q", lines(b.logs))
					t.Logf("%d connects in %s, %d lines", connects, span, len(lines(b.logs)))
				})
			})
		}
	}
}

// closingBody answers 200 with what is no ServerToAgent.
func closingBody(*bubble) opamptest.Script {
	return opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte{0xff, 0xff})
		return true
	}}
}

func TestServerThatAlwaysAsksIsAnsweredOnceASecond(t *testing.T) {
	flags := map[string]protobufs.ServerToAgentFlags{
		"full state": protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState,
		"components": protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents,
	}
	for name, flag := range flags {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
					reply := opamptest.Ack(msg)
					reply.Flags = uint64(flag)
					return reply
				}})
				time.Sleep(60*time.Second + time.Millisecond)
				heard := s.Rest()
				assert.LessOrEqual(t, len(heard), 62)
				assert.Greater(t, len(heard), 30, "and it does get them")
				t.Logf("%d reports in 60 s", len(heard))
			})
		})
	}
}

func TestUnavailableServerIsLeftForAsLongAsItAsks(t *testing.T) {
	onBoth(t, func(b *bubble) {
		start := time.Now()
		came := make(chan time.Duration, 100)
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			came <- time.Since(start)
			reply := opamptest.Ack(msg)
			if time.Since(start) < time.Second {
				reply.ErrorResponse = &protobufs.ServerErrorResponse{
					Type: protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
					Details: &protobufs.ServerErrorResponse_RetryInfo{
						RetryInfo: &protobufs.RetryInfo{RetryAfterNanoseconds: uint64(time.Minute)},
					},
				}
			}
			return reply
		}})
		time.Sleep(30 * time.Second)
		_, open, _ := s.Connections()
		assert.Zero(t, open, "disconnected while it waits")
		time.Sleep(60 * time.Second)
		require.GreaterOrEqual(t, len(came), 2)
		<-came
		second := <-came
		assert.GreaterOrEqual(t, second, time.Minute)
		assert.LessOrEqual(t, second, 75*time.Second)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	onBoth(t, func(b *bubble) {
		refuse := refusing(503, "Retry-After", "60")(b).Refuse
		var requests atomic.Int32
		s := b.serve(opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
			return requests.Add(1) == 1 && refuse(w, r)
		}})
		time.Sleep(59 * time.Second)
		assert.EqualValues(t, 1, requests.Load())
		time.Sleep(17 * time.Second)
		assert.Equal(t, []string{everything}, tellings(s.Rest()))
		assert.Equal(t, map[string]int{"throttled": 1, "ok": 1}, b.seen.now().attempts)
	})
}

func TestRejectedReportIsNotRepeated(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		s := b.serve(failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest)(b))
		time.Sleep(time.Minute + time.Second)
		assert.Equal(t, []string{everything, "", ""}, tellings(s.Rest()), "heartbeats go on")
		total, _, _ := s.Connections()
		assert.Equal(t, 1, total)
	})
}

func TestNewInstanceUIDIsUsedAtOnce(t *testing.T) {
	onBoth(t, func(b *bubble) {
		assigned := opampwire.InstanceUID{4, 5, 6}
		var told []opampwire.InstanceUID
		b.client.set.OnInstanceUID = func(uid opampwire.InstanceUID) { told = append(told, uid) }
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: assigned.Bytes()}
			return reply
		}})
		synctest.Wait()
		heard := s.Rest()
		require.Equal(t, []string{everything, everything}, tellings(heard), "the new name comes with everything")
		assert.Equal(t, assigned.Bytes(), heard[1].InstanceUid)
		assert.Equal(t, []opampwire.InstanceUID{assigned}, told)
	})
}

func TestGoodbyeIsTheLastMessage(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		s.Rest()
		b.client.Stop(b.t.Context())
		synctest.Wait()
		heard := s.Rest()
		require.Equal(t, []string{"disconnect"}, tellings(heard))
		assert.EqualValues(t, 1, heard[0].SequenceNum)
		b.client.Stop(b.t.Context())
		b.client.Start()
		time.Sleep(time.Minute)
		assert.Empty(t, s.Rest(), "nothing after the goodbye")
		assert.False(t, b.seen.now().up)
	})
}

func TestGoodbyeTakesAlongWhatWasNotTold(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		s.Rest()
		b.client.SetHealth(health("StatusStopping"))
		b.client.Stop(b.t.Context())
		synctest.Wait()
		heard := s.Rest()
		require.NotEmpty(t, heard)
		last := heard[len(heard)-1]
		assert.NotNil(t, last.AgentDisconnect)
		said := false
		for _, h := range heard {
			said = said || h.Health.GetStatus() == "StatusStopping"
		}
		assert.True(t, said, "the last state has arrived: %q", tellings(heard))
	})
}

func TestGoodbyeRepeatsWhatWasCalledOff(t *testing.T) {
	inBubble(t, "http", func(b *bubble) {
		hang := make(chan struct{})
		var posts atomic.Int32
		s := b.serve(opamptest.Script{Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
			if posts.Add(1) != 2 {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body)
			<-hang
			return true
		}})
		synctest.Wait()
		s.Rest()
		b.client.SetHealth(health("StatusFatalError"))
		synctest.Wait()
		b.client.Stop(b.t.Context())
		close(hang)
		synctest.Wait()
		assert.Equal(t, []string{"description health=StatusFatalError config components custom disconnect"}, tellings(s.Rest()))
	})
}

func TestClosesWithACloseFrame(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		var end error
		b.serve(opamptest.Script{Accepted: func(c *websocket.Conn) bool {
			for end == nil {
				_, _, end = c.Read(context.Background())
			}
			return false
		}})
		synctest.Wait()
		b.client.Stop(b.t.Context())
		synctest.Wait()
		assert.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(end))
	})
}

// mute accepts connections and does with them what f does.
func (b *bubble) mute(f func(c net.Conn)) {
	b.t.Helper()
	opamptest.EachConn(b.t, b.net, func(c net.Conn, _ *sync.WaitGroup) { f(c) })
}

// upgrade answers the request on c with 101, and returns what reads on.
func upgrade(t *testing.T, c net.Conn) *bufio.Reader {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return r // the client has left already
	}
	sum := opamptest.AcceptKey(req.Header.Get("Sec-WebSocket-Key"))
	_, err = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + sum + "\r\n\r\n"))
	assert.NoError(t, err)
	return r
}

func drain(r *bufio.Reader) {
	for {
		if _, err := r.ReadByte(); err != nil {
			return
		}
	}
}

func TestStopIsBoundedWhateverThePeerDoes(t *testing.T) {
	peers := map[string]struct {
		scheme string
		peer   func(b *bubble) func(c net.Conn)
	}{
		"never answers the upgrade": {"ws", func(*bubble) func(net.Conn) {
			return func(c net.Conn) { drain(bufio.NewReader(c)) }
		}},
		"reads nothing at all": {"ws", func(b *bubble) func(net.Conn) {
			return func(net.Conn) { <-b.client.done }
		}},
		"upgrades and never reads": {"ws", func(b *bubble) func(net.Conn) {
			return func(c net.Conn) {
				upgrade(b.t, c)
				<-b.client.done
			}
		}},
		"upgrades and never answers": {"ws", func(b *bubble) func(net.Conn) {
			return func(c net.Conn) { drain(upgrade(b.t, c)) }
		}},
		"sends half a frame": {"ws", func(b *bubble) func(net.Conn) {
			return func(c net.Conn) {
				r := upgrade(b.t, c)
				_, _ = c.Write([]byte{0x82, 0x7e, 0x10})
				drain(r)
			}
		}},
		"never answers the post": {"http", func(*bubble) func(net.Conn) {
			return func(c net.Conn) { drain(bufio.NewReader(c)) }
		}},
		"half a response": {"http", func(*bubble) func(net.Conn) {
			return func(c net.Conn) {
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"))
				}
				drain(r)
			}
		}},
	}
	for name, tt := range peers {
		for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Second, 90 * time.Second} {
			t.Run(name+"/after "+after.String(), func(t *testing.T) {
				inBubble(t, tt.scheme, func(b *bubble) {
					b.mute(tt.peer(b))
					b.client.Start()
					time.Sleep(after)
					synctest.Wait()
					start := time.Now()
					b.client.Stop(b.t.Context())
					assert.LessOrEqual(t, time.Since(start), stopLimit)
				})
			})
		}
	}
}

func TestStopEndsWithItsContext(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		b.mute(func(c net.Conn) {
			upgrade(t, c)
			<-b.client.done
		})
		b.client.Start()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(b.t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		b.client.Stop(ctx)
		assert.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
	})
}

func TestServerThatFallsSilentIsGivenUp(t *testing.T) {
	tests := map[string]struct {
		after func(c net.Conn, r *bufio.Reader, done <-chan struct{})
		want  Reason
	}{
		"reads and never answers, not even a ping": {func(_ net.Conn, r *bufio.Reader, _ <-chan struct{}) { drain(r) }, ReasonSilent},
		"does not read": {func(_ net.Conn, _ *bufio.Reader, done <-chan struct{}) { <-done }, ReasonStuck},
		"trickles a frame": {func(c net.Conn, r *bufio.Reader, _ <-chan struct{}) {
			var work sync.WaitGroup
			work.Go(func() { drain(r) })
			_, _ = c.Write([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 0x10, 0, 0})
			for {
				if _, err := c.Write([]byte{0}); err != nil {
					break
				}
				time.Sleep(time.Second)
			}
			work.Wait()
		}, ReasonSilent},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "ws", func(b *bubble) {
				b.mute(func(c net.Conn) { tt.after(c, upgrade(t, c), b.client.done) })
				b.client.Start()
				time.Sleep(silenceLimit + pingLimit + time.Second)
				seen := b.seen.now()
				assert.GreaterOrEqual(t, seen.ends[tt.want], 1, "ended: %v", seen.ends)
				assert.Len(t, lines(b.logs), 1)
			})
		})
	}
}

func TestServerThatAnswersNothingIsNamedAndKept(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		s := b.serve(opamptest.Script{Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return nil }})
		time.Sleep(10 * time.Minute)
		assert.Equal(t, []string{
			"warn The OpAMP server is connected but does not answer reports; the collector is not affected",
		}, lines(b.logs))
		total, open, _ := s.Connections()
		assert.Equal(t, []int{1, 1}, []int{total, open}, "it may well show what it gets")
		assert.False(t, b.seen.now().up)
	})
}

func TestUnreadableMessagesAreLeftOut(t *testing.T) {
	frames := map[string]struct {
		kind websocket.MessageType
		data []byte
	}{
		"text":       {websocket.MessageText, []byte("hello")},
		"header 1":   {websocket.MessageBinary, []byte{1, 2, 3}},
		"garbage":    {websocket.MessageBinary, []byte{0, 0xff, 0xff, 0xff}},
		"empty":      {websocket.MessageBinary, nil},
		"deep nests": {websocket.MessageBinary, []byte("\x00" + strings.Repeat("\x0b", 20_000))},
	}
	for name, tt := range frames {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "ws", func(b *bubble) {
				var flood sync.WaitGroup
				s := b.serve(opamptest.Script{
					Accepted: func(c *websocket.Conn) bool {
						flood.Go(func() {
							for range 1000 {
								assert.NoError(t, c.Write(context.Background(), tt.kind, tt.data))
							}
						})
						return true
					},
					Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
						flood.Wait() // so that what can be read comes last
						return opamptest.Ack(msg)
					},
				})
				synctest.Wait()
				assert.Equal(t, []string{everything}, tellings(s.Rest()))
				assert.Equal(t, map[drop]int{{"message", ReasonMalformed}: 1000}, b.seen.now().drops)
				assert.True(t, b.seen.now().up, "and what can be read counts")
				assert.Equal(t, []string{
					"warn The OpAMP server is connected but does not answer reports; the collector is not affected",
					"info The OpAMP server answers again",
				}, lines(b.logs), "a server that says only that is named, once")
			})
		})
	}
}

func TestOversizeMessageEndsTheConnection(t *testing.T) {
	onBoth(t, func(b *bubble) {
		b.client.set.MaxReceive = 1000
		huge := opamptest.Ack(&protobufs.AgentToServer{})
		huge.CustomMessage = &protobufs.CustomMessage{Data: make([]byte, 5000)}
		b.serve(opamptest.Script{Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return huge }})
		time.Sleep(5*time.Second + backoffBase) // the library shakes hands on the close first
		seen := b.seen.now()
		assert.GreaterOrEqual(t, seen.ends[ReasonTooLarge]+seen.attempts[string(ReasonTooLarge)], 1)
		assert.False(t, seen.up)
	})
}

func TestEveryOfferIsRefusedAndNamedOnce(t *testing.T) {
	onBoth(t, func(b *bubble) {
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.RemoteConfig = &protobufs.AgentRemoteConfig{}
			reply.Command = &protobufs.ServerToAgentCommand{}
			return reply
		}})
		for range 10 {
			b.client.SetHealth(health("StatusOK"))
			synctest.Wait()
			b.client.SetHealth(health("StatusStopping"))
			synctest.Wait()
		}
		assert.Len(t, s.Rest(), 20)
		assert.Equal(t, map[string]int{"remote_config": 20, "command": 20}, b.seen.now().refused)
		assert.Len(t, lines(b.logs), 3, "connected, and one line an offer: %q", lines(b.logs))
	})
}
