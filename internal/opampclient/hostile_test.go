// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// longestStay is how long a server can send an agent away: five minutes and the quarter
// by which a fleet is spread.
const longestStay = 375 * time.Second

// visits notes when a server was asked for a connection, or an exchange.
type visits struct {
	mu sync.Mutex
	at []time.Time // guarded by mu
}

func (v *visits) note() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = append(v.at, time.Now())
}

// gaps are how many visits there were and the longest time between two of them.
func (v *visits) gaps() (n int, longest time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.at[:max(0, len(v.at)-1)] {
		longest = max(longest, v.at[i+1].Sub(v.at[i]))
	}
	return len(v.at), longest
}

// counted counts the requests that reach a script.
func (v *visits) counted(script opamptest.Script) opamptest.Script {
	refuse := script.Refuse
	script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
		v.note()
		return refuse != nil && refuse(w, r)
	}
	return script
}

// What does not keep to the WebSocket protocol ends the connection, and the next one
// comes when its time has come (hostile behaviours 15 and 21).
func TestBrokenFramesEndTheConnection(t *testing.T) {
	frames := map[string][]byte{
		"reserved opcode":         {0x83, 0x00},
		"compressed, not agreed":  {0xc2, 0x01, 0x00},
		"reserved bits":           {0xb2, 0x00},
		"masked":                  {0x82, 0x81, 1, 2, 3, 4, 5},
		"long ping":               {0x89, 0x7e, 0x00, 0x7e},
		"fragmented ping":         {0x09, 0x00},
		"continues nothing":       {0x80, 0x01, 0x00},
		"begins twice":            {0x02, 0x01, 0x00, 0x02, 0x01, 0x00},
		"length below zero":       {0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"length of 2^62":          {0x82, 0x7f, 0x40, 0, 0, 0, 0, 0, 0, 0},
		"close of one byte":       {0x88, 0x01, 0x03},
		"close with code 999":     {0x88, 0x02, 0x03, 0xe7},
		"close with a bad reason": {0x88, 0x04, 0x03, 0xe8, 0xff, 0xfe},
		"close without a code":    {0x88, 0x00},
		"HTTP again":              []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"nothing, and hangs up":   nil,
	}
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "ws", func(b *bubble) {
				var came visits
				b.mute(func(c net.Conn) {
					came.note()
					r := upgrade(b.t, c)
					var reader sync.WaitGroup
					reader.Go(func() { drain(r) }) // it writes and reads at one time
					if len(frame) > 0 {
						_, _ = c.Write(frame)
						reader.Wait()
					}
					_ = c.Close()
					reader.Wait()
				})
				b.client.Start()
				const span = 10 * time.Minute
				time.Sleep(span)
				n, longest := came.gaps()
				assert.LessOrEqual(t, float64(n), span.Seconds())
				assert.Greater(t, n, 5, "it ended each, if only for silence, and does not give up")
				assert.LessOrEqual(t, len(lines(b.logs)), 1, "%q", lines(b.logs))
				t.Logf("%d connects in %s, %s apart at most", n, span, longest)
			})
		})
	}
}

// Whatever interval a server offers, with every answer (hostile behaviour 18).
func TestOfferedHeartbeatsStayWithinBounds(t *testing.T) {
	for _, seconds := range []uint64{0, 1, 86_400, 86_401, 1 << 63, math.MaxUint64, 20211507185753197, 34732913247785872} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
					reply := opamptest.Ack(msg)
					reply.ConnectionSettings = &protobufs.ConnectionSettingsOffers{
						Opamp: &protobufs.OpAMPConnectionSettings{HeartbeatIntervalSeconds: seconds},
					}
					return reply
				}})
				const span = 10 * time.Minute
				time.Sleep(span)
				heard := s.Rest()
				assert.LessOrEqual(t, float64(len(heard)), span.Seconds()+1, "a message a second at most")
				if seconds != 86_400 {
					assert.GreaterOrEqual(t, len(heard), 19, "heartbeats go on")
				}
				total, _, _ := s.Connections()
				assert.LessOrEqual(t, total, 1)
				assert.LessOrEqual(t, len(lines(b.logs)), 1)
				t.Logf("%d messages in %s", len(heard), span)
			})
		})
	}
}

// However a server sends an agent away, it comes back, neither at once nor never
// (hostile behaviour 19).
func TestWhoIsSentAwayComesBackInTime(t *testing.T) {
	unavailable := func(info *protobufs.RetryInfo) hostile {
		return func(*bubble) opamptest.Script {
			return opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				reply.ErrorResponse = &protobufs.ServerErrorResponse{
					Type: protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
				}
				if info != nil {
					reply.ErrorResponse.Details = &protobufs.ServerErrorResponse_RetryInfo{RetryInfo: info}
				}
				return reply
			}}
		}
	}
	later := func(by time.Duration) string {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(by).Format(http.TimeFormat)
	}
	away := map[string]hostile{
		"UNAVAILABLE, no word":  unavailable(nil),
		"UNAVAILABLE, 0":        unavailable(&protobufs.RetryInfo{}),
		"UNAVAILABLE, 1 ns":     unavailable(&protobufs.RetryInfo{RetryAfterNanoseconds: 1}),
		"UNAVAILABLE, 2^64-1":   unavailable(&protobufs.RetryInfo{RetryAfterNanoseconds: math.MaxUint64}),
		"UNAVAILABLE, 2^63":     unavailable(&protobufs.RetryInfo{RetryAfterNanoseconds: 1 << 63}),
		"429, no word":          refusing(429),
		"429, 10 years":         refusing(429, "Retry-After", "315360000"),
		"503, 0":                refusing(503, "Retry-After", "0"),
		"503, -1":               refusing(503, "Retry-After", "-1"),
		"503, 2^64-1":           refusing(503, "Retry-After", "18446744073709551615"),
		"503, more than 2^64":   refusing(503, "Retry-After", "99999999999999999999"),
		"503, NaN":              refusing(503, "Retry-After", "NaN"),
		"503, 1e9":              refusing(503, "Retry-After", "1e9"),
		"503, junk":             refusing(503, "Retry-After", strings.Repeat("soon ", 1000)),
		"503, a date gone by":   refusing(503, "Retry-After", later(-time.Hour)),
		"503, a date far away":  refusing(503, "Retry-After", later(10*365*24*time.Hour)),
		"503, twice":            refusing(503, "Retry-After", "1", "Retry-After", "2"),
		"401":                   refusing(401),
		"403":                   refusing(403),
		"407":                   refusing(407),
		"404":                   refusing(404),
		"413":                   refusing(413),
		"500":                   refusing(500),
		"502, with Retry-After": refusing(502, "Retry-After", "315360000"),
		"200, HTML":             refusing(200, "Content-Type", "text/html"),
		"204":                   refusing(204),
		"304":                   refusing(304),
	}
	for name, server := range away {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				var came visits
				b.serve(came.counted(server(b)))
				const span = time.Hour
				time.Sleep(span)
				n, longest := came.gaps()
				assert.LessOrEqual(t, float64(n), span.Seconds()/10, "every ten seconds on average at most")
				assert.GreaterOrEqual(t, n, 6, "and does not give up")
				assert.LessOrEqual(t, longest, longestStay+time.Second)
				assert.LessOrEqual(t, len(lines(b.logs)), 1+60, "%q", lines(b.logs))
				t.Logf("%d attempts in %s, %s apart at most, %d lines", n, span, longest.Round(time.Second), len(lines(b.logs)))
			})
		})
	}
}

// A server that renames the agent with each answer (hostile behaviour 20).
func TestNewInstanceUIDWithEachAnswer(t *testing.T) {
	onBoth(t, func(b *bubble) {
		var renamed atomic.Int64
		b.client.set.OnInstanceUID = func(opampwire.InstanceUID) { renamed.Add(1) }
		s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
			return reply
		}})
		const span = time.Hour
		time.Sleep(span)
		n := renamed.Load()
		heard := s.Rest()
		assert.LessOrEqual(t, n, int64(4*span.Minutes()))
		assert.Positive(t, n)
		assert.LessOrEqual(t, len(heard), int(7*span.Minutes()), "one full report a name, and heartbeats")
		total, _, _ := s.Connections()
		assert.LessOrEqual(t, total, 1)
		t.Logf("%d names and %d messages in %s, %d lines", n, len(heard), span, len(lines(b.logs)))
	})
}

func TestNewInstanceUIDOfAWrongKindIsNotTaken(t *testing.T) {
	for _, wrong := range [][]byte{nil, {}, {1}, make([]byte, 15), make([]byte, 16), bytes.Repeat([]byte{1}, 17), []byte("01BX5ZZKBKACTAV9WEVGEMMVRZ"), bytes.Repeat([]byte{1}, 1<<20)} {
		t.Run(fmt.Sprintf("%d bytes", len(wrong)), func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				before := b.client.snapshot().uid
				b.client.set.OnInstanceUID = func(opampwire.InstanceUID) { assert.Fail(t, "taken") }
				s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
					reply := opamptest.Ack(msg)
					reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: wrong}
					return reply
				}})
				time.Sleep(time.Minute + time.Second)
				for _, h := range s.Rest() {
					assert.Equal(t, before.Bytes(), h.InstanceUid)
				}
				assert.Equal(t, 3, b.seen.now().drops[drop{"new_instance_uid", ReasonMalformed}])
			})
		})
	}
}

// A server that says what makes no sense is listened to no further than it makes sense
// (hostile behaviour 21).
func TestSenselessMessages(t *testing.T) {
	nested := []byte{}
	for range 3000 {
		nested = protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), nested)
	}
	unknown := &protobufs.ServerToAgent{}
	unknown.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), nested))
	messages := map[string]func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent{
		"for another agent": func(*protobufs.AgentToServer) *protobufs.ServerToAgent {
			return &protobufs.ServerToAgent{InstanceUid: opampwire.NewInstanceUID().Bytes(), Flags: math.MaxUint64, Command: &protobufs.ServerToAgentCommand{}}
		},
		"for nobody, a UID of 3 bytes": func(*protobufs.AgentToServer) *protobufs.ServerToAgent {
			return &protobufs.ServerToAgent{InstanceUid: []byte{1, 2, 3}, Flags: math.MaxUint64}
		},
		"without a UID": func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return &protobufs.ServerToAgent{} },
		"an error with everything else": func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.ErrorResponse = &protobufs.ServerErrorResponse{Type: 77, ErrorMessage: strings.Repeat("e", 1<<16)}
			reply.Flags = math.MaxUint64
			reply.Command = &protobufs.ServerToAgentCommand{Type: 99}
			reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
			return reply
		},
		"unknown enums": func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.Command = &protobufs.ServerToAgentCommand{Type: 4711}
			reply.Capabilities = math.MaxUint64
			return reply
		},
		"unknown fields, nested 3000 deep": func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return unknown },
		"undefined flags": func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			reply.Flags = math.MaxUint64 &^ 3
			return reply
		},
	}
	for name, reply := range messages {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				uid := b.client.snapshot().uid
				s := b.serve(opamptest.Script{Reply: reply})
				const span = 10 * time.Minute
				time.Sleep(span + time.Second)
				heard := s.Rest()
				assert.GreaterOrEqual(t, len(heard), 20, "it goes on")
				assert.LessOrEqual(t, len(heard), 22, "with heartbeats alone")
				for _, h := range heard {
					assert.Equal(t, uid.Bytes(), h.InstanceUid)
				}
				assert.LessOrEqual(t, len(lines(b.logs)), 1+11, "%q", lines(b.logs))
				for _, e := range b.logs.All() {
					assert.Less(t, len(e.Message)+len(fmt.Sprint(e.ContextMap())), 2000, "a line is bounded")
				}
				t.Logf("%d messages in %s, %d lines", len(heard), span, len(lines(b.logs)))
			})
		})
	}
}

// allocated runs f and is how much memory was asked for meanwhile.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zeros is a ServerToAgent with a custom message of n bytes, as a stream: what a
// decoder would have to hold.
func zeros(n int) io.Reader {
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.BytesType), uint64(n))
	outer := protowire.AppendVarint(protowire.AppendTag(nil, 11, protowire.BytesType), uint64(n+len(inner)))
	return io.MultiReader(bytes.NewReader(outer), bytes.NewReader(inner), io.LimitReader(zero{}, int64(n)))
}

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// gzipBomb is zeros(n), compressed: its last mebibyte over and over, without the sum
// that nobody comes to check.
func gzipBomb(t *testing.T, n int) []byte {
	t.Helper()
	const step = 1 << 20
	all := zeros(n)
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	ends := make([]int, 2)
	for i := range ends {
		_, err := io.CopyN(zw, all, step)
		require.NoError(t, err)
		require.NoError(t, zw.Flush())
		ends[i] = b.Len()
	}
	return append(b.Bytes()[:ends[0]:ends[0]], bytes.Repeat(b.Bytes()[ends[0]:ends[1]], n/step-1)...)
}

// A message past the limit costs the limit and not its own size, however it comes: plain,
// in fragments, or packed into a few kilobytes (fault B16, hostile behaviours 16 and 21).
func TestMessagesPastTheLimitCostTheLimit(t *testing.T) {
	const size = 128 << 20
	bomb := gzipBomb(t, size)

	post := func(header string, body io.Reader) func(c net.Conn) {
		return func(c net.Conn) {
			r := bufio.NewReader(c)
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"+header+"Connection: close\r\n\r\n")
			_, _ = io.Copy(c, body)
		}
	}
	frames := func(head func(n int) []byte, chunk int) func(c net.Conn) {
		return func(c net.Conn) {
			r := upgrade(t, c)
			var reader sync.WaitGroup
			reader.Go(func() { drain(r) })
			for left := size; left > 0; left -= chunk {
				if _, err := c.Write(head(left)); err != nil {
					break
				}
				if _, err := io.CopyN(c, zero{}, int64(chunk)); err != nil {
					break
				}
			}
			reader.Wait()
		}
	}
	peers := map[string]struct {
		scheme string
		peer   func() func(c net.Conn)
	}{
		"ws, one frame": {"ws", func() func(net.Conn) {
			return frames(func(int) []byte { return binary.BigEndian.AppendUint64([]byte{0x82, 0x7f}, size) }, size)
		}},
		"ws, fragments of 64 KiB": {"ws", func() func(net.Conn) {
			return frames(func(left int) []byte {
				first := byte(0x00)
				if left == size {
					first = 0x02
				}
				return binary.BigEndian.AppendUint64([]byte{first, 0x7f}, 64<<10)
			}, 64<<10)
		}},
		"http, by length":    {"http", func() func(net.Conn) { return post(fmt.Sprintf("Content-Length: %d\r\n", size), zeros(size)) }},
		"http, until closed": {"http", func() func(net.Conn) { return post("", zeros(size)) }},
		"http, gzip bomb": {"http", func() func(net.Conn) {
			return post("Content-Encoding: gzip\r\n", bytes.NewReader(bomb))
		}},
	}
	for name, tt := range peers {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tt.scheme, func(b *bubble) {
				b.mute(tt.peer())
				got := allocated(func() {
					b.client.Start()
					for b.seen.now().ends[ReasonTooLarge]+b.seen.now().attempts[string(ReasonTooLarge)] == 0 {
						time.Sleep(100 * time.Millisecond)
					}
				})
				assert.Less(t, got, uint64(size*3/4))
				assert.False(t, b.seen.now().up)
				t.Logf("%d MiB sent, limit %d MiB, %.1f MiB allocated", size>>20, DefaultMaxReceive>>20, float64(got)/(1<<20))
			})
		})
	}
}

// Members of gzip that hold nothing never reach a limit on what they unpack to
// (hostile behaviour 21).
func TestGzipWithoutEndOrContent(t *testing.T) {
	var empty bytes.Buffer
	zw := gzip.NewWriter(&empty)
	require.NoError(t, zw.Close())
	flood := bytes.Repeat(empty.Bytes(), 4096)
	inBubble(t, "http", func(b *bubble) {
		var sent atomic.Int64
		b.mute(func(c net.Conn) {
			r := bufio.NewReader(c)
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
			for sent.Load() < 256<<20 {
				n, err := c.Write(flood)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		b.client.Start()
		synctest.Wait()
		assert.LessOrEqual(t, sent.Load(), int64(2*DefaultMaxReceive), "and the connection is closed on it")
		assert.False(t, b.seen.now().up)
		t.Logf("%.1f MiB of empty members were read", float64(sent.Load())/(1<<20))
	})
}

// A server that agrees to a compression which nobody offered (hostile behaviour 21).
func TestCompressionThatWasNotOfferedIsNoWebSocket(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		var came visits
		b.mute(func(c net.Conn) {
			came.note()
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			assert.Empty(t, req.Header.Get("Sec-WebSocket-Extensions"), "none is offered")
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: "+opamptest.AcceptKey(req.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
		})
		b.client.Start()
		time.Sleep(time.Minute)
		n, _ := came.gaps()
		assert.Zero(t, b.seen.now().attempts["ok"])
		assert.LessOrEqual(t, n, 10)
		assert.Greater(t, n, 2)
	})
}

// Custom messages that nobody takes, huge ones and very many (hostile behaviour 23).
func TestCustomMessagesThatNobodyTakes(t *testing.T) {
	inBubble(t, "ws", func(b *bubble) {
		const flood = 5_000
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		for i := range flood {
			s.Push(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{
				Capability: fmt.Sprintf("org.example.%d", i), Type: "x", Data: make([]byte, 64),
			}})
		}
		s.Push(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "huge", Data: make([]byte, DefaultMaxReceive-1000)}})
		s.Push(t, &protobufs.ServerToAgent{CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: make([]string, 100_000)}})
		synctest.Wait()
		assert.Equal(t, flood+1, b.seen.now().drops[drop{"custom_message", ReasonUnknownCapability}])
		s.Rest()
		b.client.SetHealth(health("StatusPermanentError"))
		synctest.Wait()
		assert.Equal(t, []string{"health=StatusPermanentError"}, tellings(s.Rest()), "it answers as before")
		assert.LessOrEqual(t, len(lines(b.logs)), 2, "%q", lines(b.logs))
		total, _, _ := s.Connections()
		assert.Equal(t, 1, total)
	})
}

// Capabilities of the server that come and go (hostile behaviour 24).
func TestServerCapabilitiesThatChangeWithEachAnswer(t *testing.T) {
	for name, next := range map[string]func(n int) uint64{
		"none":      func(int) uint64 { return 0 },
		"every bit": func(int) uint64 { return math.MaxUint64 },
		"to and fro": func(n int) uint64 {
			return uint64(n%2) * uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus|protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)
		},
		"random": func(int) uint64 { return rand.Uint64() }, //nolint:gosec // any bits
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				var n atomic.Int64
				s := b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
					return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Capabilities: next(int(n.Add(1)))}
				}})
				const span = 10 * time.Minute
				time.Sleep(span + time.Second)
				heard := s.Rest()
				assert.GreaterOrEqual(t, len(heard), 21, "heartbeats go on")
				assert.LessOrEqual(t, len(heard), 2*22, "a change of mind is a message at most")
				total, _, _ := s.Connections()
				assert.LessOrEqual(t, total, 1)
				assert.LessOrEqual(t, len(lines(b.logs)), 1+11)
				t.Logf("%d messages in %s, %d lines", len(heard), span, len(lines(b.logs)))
			})
		})
	}
}

// Stop while the client is out of a conversation, or inside a callback (hostile behaviour 25).
func TestStopIsBoundedBetweenConversations(t *testing.T) {
	tests := map[string]struct {
		server hostile
		after  time.Duration
	}{
		"in the back-off":          {refusing(500), 10 * time.Minute},
		"waiting as it was told":   {refusing(503, "Retry-After", "300"), 20 * time.Second},
		"in the outage's moment":   {refusing(500), 100 * time.Millisecond},
		"waiting after going away": {failing(protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable), time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(b *bubble) {
				b.serve(tt.server(b))
				time.Sleep(tt.after)
				start := time.Now()
				b.client.Stop(b.t.Context())
				assert.Zero(t, time.Since(start), "nothing holds it")
			})
		})
	}
}

func TestStopWhileTheClientCallsBack(t *testing.T) {
	onBoth(t, func(b *bubble) {
		within := make(chan struct{})
		b.client.set.OnInstanceUID = func(opampwire.InstanceUID) {
			close(within)
			time.Sleep(time.Second) // the callback is at work meanwhile
		}
		var once sync.Once
		b.serve(opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
			reply := opamptest.Ack(msg)
			once.Do(func() {
				reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
			})
			return reply
		}})
		<-within
		start := time.Now()
		b.client.Stop(b.t.Context())
		assert.LessOrEqual(t, time.Since(start), stopLimit+time.Second)
	})
}

// Redirects are not followed: not to another host, not from TLS to plain, not in a loop,
// not with a body, and no credential leaves (fault B17, hostile behaviour 22).
func TestRedirectsCarryNothingElsewhere(t *testing.T) {
	for _, scheme := range bothTransports {
		for _, code := range []int{301, 302, 303, 307, 308} {
			for _, where := range []string{"elsewhere", "itself", "nowhere"} {
				t.Run(fmt.Sprintf("%s %d %s", scheme, code, where), func(t *testing.T) {
					var strangers, visitors atomic.Int64
					other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
					t.Cleanup(other.Close)
					s := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
						visitors.Add(1)
						w.Header().Set("Location", map[string]string{
							"elsewhere": other.URL + "/v1/opamp?" + r.URL.RawQuery, "itself": "/v1/opamp", "nowhere": "http://[" + r.URL.RawQuery,
						}[where])
						w.WriteHeader(code)
						return true
					}})
					endpoint := s.URL(scheme)
					endpoint.RawQuery = "key=canary"
					results, logs := startOn(t, endpoint, &http.Transport{})
					assert.Equal(t, string(ReasonRedirect), first(t, results), "%v", logs.All())
					assert.EqualValues(t, 1, visitors.Load(), "one request for one attempt")
					assert.Zero(t, strangers.Load())
					assert.NotContains(t, fmt.Sprint(logs.All()), "canary")
				})
			}
		}
	}
}

// A proxy that wants credentials, refuses, or hangs (hostile behaviour 22).
func TestProxyThatDoesNotLetThrough(t *testing.T) {
	answers := map[string]struct {
		answer string
		want   []Reason
	}{
		"407":     {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"canary\"\r\nContent-Length: 0\r\n\r\n", []Reason{ReasonUnauthorized, ReasonNetwork}},
		"502":     {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", []Reason{ReasonStatus, ReasonNetwork}},
		"garbage": {"what?\r\n\r\n", []Reason{ReasonNetwork}},
		"hangs":   {"", []Reason{ReasonTimeout}},
	}
	for name, tt := range answers {
		for _, scheme := range []string{"wss", "https"} {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				inBubble(t, scheme, func(b *bubble) {
					transport := b.client.set.HTTPClient.Transport.(*http.Transport)
					transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy", User: url.UserPassword("me", "canary")})
					var came visits
					b.mute(func(c net.Conn) {
						came.note()
						r := bufio.NewReader(c)
						if req, err := http.ReadRequest(r); err == nil {
							assert.Equal(t, http.MethodConnect, req.Method)
							assert.Empty(t, req.Header.Get("X-Key"), "the server's credential is not the proxy's")
						}
						_, _ = io.WriteString(c, tt.answer)
						drain(r)
					})
					b.client.Start()
					const span = 10 * time.Minute
					time.Sleep(span)
					n, _ := came.gaps()
					assert.LessOrEqual(t, float64(n), span.Seconds()/10)
					assert.Greater(t, n, 8)
					total := 0
					for _, reason := range tt.want {
						total += b.seen.now().attempts[string(reason)]
					}
					assert.Greater(t, total, 8, "%v", b.seen.now().attempts)
					assert.Len(t, lines(b.logs), 1)
					assert.NotContains(t, fmt.Sprint(b.logs.All()[0].ContextMap()), "canary")
					start := time.Now()
					b.client.Stop(context.Background())
					assert.LessOrEqual(t, time.Since(start), stopLimit)
					t.Logf("%d attempts in %s: %v", n, span, b.seen.now().attempts)
				})
			})
		}
	}
}

// A certificate that is no longer valid, as a clock far ahead sees it (hostile behaviour 22).
func TestExpiredCertificate(t *testing.T) {
	for _, scheme := range bothTransports {
		t.Run(scheme, func(t *testing.T) {
			backend := opamptest.NewServer(t, opamptest.Script{})
			front := httptest.NewUnstartedServer(backend)
			front.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes
			front.StartTLS()
			t.Cleanup(front.Close)
			pool := x509.NewCertPool()
			pool.AddCert(front.Certificate())
			later := front.Certificate().NotAfter.Add(time.Hour)
			results, logs := startOn(t, &url.URL{Scheme: secure(scheme), Host: front.Listener.Addr().String(), Path: opamptest.Path},
				&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Time: func() time.Time { return later }, MinVersion: tls.VersionTLS12}})
			assert.Equal(t, string(ReasonTLS), first(t, results), "%v", logs.All())
			assert.Empty(t, backend.Rest())
		})
	}
}
