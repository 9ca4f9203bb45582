// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// benchAgents is how many agents there are. With both ends in one process twice as many
// files would be open; so the ends are processes of their own.
// With -short there are only so many that the benchmarks are run.
func benchAgents() int {
	if testing.Short() {
		return 200
	}
	return 5000
}

// lasting is how long something is watched.
// With -short it is only seen to work.
func lasting(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 10
	}
	return d
}

// offences are the sizes of messages that nobody should send, in MiB.
func offences() []int {
	if testing.Short() {
		return []int{70}
	}
	return []int{70, 200, 500}
}

const (
	upstreamEnv = "GATEWAY_BENCH_UPSTREAM"
	filesEnv    = "GATEWAY_BENCH_FILES"
	recordEnv   = "GATEWAY_BENCH_RECORD" // of the server: it keeps which messages it had
	addrEnv     = "GATEWAY_BENCH_ADDR"   // of the server; empty: a free port. Of huge: where to
)

// child is another process: server, gateway, gateway_tls or huge.
type child struct {
	*measured.Child
	b    *testing.B
	addr string
}

// cost is what a process has used so far, and holds now.
type cost struct {
	rss     int64 // bytes, after a collection
	peak    int64 // bytes, the most there ever were
	cpu     time.Duration
	mallocs int64

	goodbyes int64 // that a server has heard
	agents   int64 // WebSockets that a gateway has
}

// goodbyes are those that a child has heard as a server.
var goodbyes atomic.Int64

// record is which messages of which agents a child has had as a server.
var record struct {
	sync.Mutex
	seqs map[opampwire.InstanceUID][]uint64
}

func note(msg *protobufs.AgentToServer) {
	record.Lock()
	defer record.Unlock()
	if record.seqs == nil {
		record.seqs = make(map[opampwire.InstanceUID][]uint64)
	}
	uid := opampwire.InstanceUID(msg.GetInstanceUid())
	record.seqs[uid] = append(record.seqs[uid], msg.GetSequenceNum())
}

// recorded is the record on one line.
func recorded() string {
	record.Lock()
	defer record.Unlock()
	var out strings.Builder
	for uid, seqs := range record.seqs {
		fmt.Fprintf(&out, "%x", uid[:])
		for _, seq := range seqs {
			fmt.Fprintf(&out, ",%d", seq)
		}
		out.WriteByte(' ')
	}
	return out.String()
}

// deaf is the UID of an agent that reads nothing, at whom a server pushes 20 MiB.
var deaf = opampwire.InstanceUID{0: 0xde, 1: 0xaf, 15: 1}

func pushMuch(c types.Connection) {
	data := make([]byte, 1<<20)
	for range 20 {
		_ = c.Send(context.Background(), &protobufs.ServerToAgent{
			InstanceUid: deaf.Bytes(), CustomMessage: &protobufs.CustomMessage{Capability: "c", Type: "t", Data: data},
		})
	}
}

func startChild(b *testing.B, role string, env ...string) *child {
	b.Helper()
	c := measured.Start(b, role, env...)
	return &child{Child: c, b: b, addr: c.Addr}
}

// measure asks for the cost; collected also frees what can be freed.
func (c *child) measure(collected bool) cost {
	c.b.Helper()
	ask := c.Count
	if collected {
		ask = c.Collect
	}
	m := ask()
	return cost{
		rss: m.RSS, peak: m.Peak, cpu: m.CPU, mallocs: m.Mallocs, goodbyes: m.Counts["goodbyes"], agents: m.Counts["agents"],
	}
}

// tell says a word and returns the answer.
func (c *child) tell(word string) string { return c.Ask(word) }

// serveMeasured is a child's life.
func serveMeasured(role string) {
	var front *httptest.Server
	var g *Gateway
	switch role {
	case "huge":
		measured.Serve(measured.Settings{Addr: os.Getenv(addrEnv), Ask: func(words string) string {
			size, rate := 0, 0
			_, _ = fmt.Sscan(words, &size, &rate)
			return fmt.Sprint(sendHuge(os.Getenv(addrEnv), size<<20, rate<<20))
		}})
		return
	case "server":
		keepsRecord := os.Getenv(recordEnv) != ""
		opamp := server.New(nil)
		handler, connContext, err := opamp.Attach(server.Settings{Callbacks: types.Callbacks{
			OnConnecting: func(*http.Request) types.ConnectionResponse {
				return types.ConnectionResponse{Accept: true, ConnectionCallbacks: types.ConnectionCallbacks{
					OnMessage: func(_ context.Context, c types.Connection, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
						if msg.GetAgentDisconnect() != nil {
							goodbyes.Add(1)
						}
						if opampwire.InstanceUID(msg.GetInstanceUid()) == deaf {
							go pushMuch(c)
						}
						if keepsRecord {
							note(msg)
						}
						return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Capabilities: 1}
					},
				}}
			},
		}})
		if err != nil {
			panic(err)
		}
		front = httptest.NewUnstartedServer(http.HandlerFunc(handler))
		front.Config.ConnContext = connContext
		if addr := os.Getenv(addrEnv); addr != "" {
			_ = front.Listener.Close()
			if front.Listener, err = net.Listen("tcp", addr); err != nil {
				panic(err)
			}
		}
		front.Start()
	default:
		u, err := url.Parse(os.Getenv(upstreamEnv))
		if err != nil {
			panic(err)
		}
		g, err = New(Settings{Endpoints: []Endpoint{{URL: u, Client: &http.Client{}}}, MinConnections: 2, MaxConnections: 2})
		if err != nil {
			panic(err)
		}
		g.Start()
		for g.pool.connected.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		front = httptest.NewUnstartedServer(g)
		if role == "gateway_tls" {
			dir := os.Getenv(filesEnv)
			cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
			if err != nil {
				panic(err)
			}
			front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
			front.StartTLS()
		} else {
			front.Start()
		}
	}
	measured.Serve(measured.Settings{
		Addr: front.Listener.Addr().String(),
		Counts: func() map[string]int64 {
			counts := map[string]int64{"goodbyes": goodbyes.Load()}
			if g != nil {
				counts["agents"] = g.Stats().Connections
			}
			return counts
		},
		Ask: func(word string) string {
			if word == "record" {
				return recorded()
			}
			return drained(g)
		},
	})
}

// drained shuts a gateway down and tells how long that took, in seconds, and what was wrong with it.
func drained(g *Gateway) string {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := g.Shutdown(ctx)
	return fmt.Sprint(time.Since(began).Seconds(), " ", err)
}

// leanAgent is as little of an agent as there can be: a connection, a frame to write, and
// room for the answer.
type leanAgent struct {
	net.Conn
	beat []byte
}

// dialLean opens a WebSocket.
func dialLean(addr string, trust *tls.Config) (*leanAgent, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if trust != nil {
		nc = tls.Client(nc, trust)
	}
	_, err = io.WriteString(nc, "GET /v1/opamp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err == nil {
		var resp *http.Response
		resp, err = http.ReadResponse(bufio.NewReaderSize(nc, 512), nil)
		if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(resp.Status)
		}
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	payload := opampwire.AppendHeartbeat(nil, opampwire.NewInstanceUID(), 1)
	beat := append([]byte{0x82, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	return &leanAgent{Conn: nc, beat: beat}, nil
}

// roundTrip sends a heartbeat and reads its answer.
func (a *leanAgent) roundTrip(room []byte) error {
	if _, err := a.Write(a.beat); err != nil {
		return err
	}
	for have := 0; ; {
		n, err := a.Read(room[have:])
		if err != nil {
			return err
		}
		if have += n; have >= 2 && have >= 2+int(room[1]&0x7f) {
			return nil
		}
	}
}

// fleetOf opens n agents, and lets each report once.
func fleetOf(b *testing.B, n int, addr string, trust *tls.Config) []*leanAgent {
	b.Helper()
	agents := make([]*leanAgent, n)
	var all sync.WaitGroup
	for w := range 50 {
		all.Go(func() {
			room := make([]byte, 256)
			for i := w; i < n; i += 50 {
				a, err := dialLean(addr, trust)
				if err == nil {
					err = a.roundTrip(room)
				}
				if err != nil {
					b.Error(err)
					return
				}
				agents[i] = a
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() { hangUp(agents) })
	return agents
}

func hangUp(agents []*leanAgent) {
	for _, a := range agents {
		if t, ok := a.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // or the ports run out
		}
		_ = a.Close()
	}
}

// burst lets every agent make rounds round trips, 50 at a time.
func burst(b *testing.B, agents []*leanAgent, rounds int) {
	b.Helper()
	var all sync.WaitGroup
	for w := range 50 {
		all.Go(func() {
			room := make([]byte, 256)
			for range rounds {
				for i := w; i < len(agents); i += 50 {
					if err := agents[i].roundTrip(room); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// paced makes rate round trips a second for a while, evenly spread as those of agents that
// know nothing of each other are, and returns how long they took, in order.
func paced(b *testing.B, agents []*leanAgent, rate int, length time.Duration) []time.Duration {
	b.Helper()
	const workers = 50
	var all sync.WaitGroup
	took := make([][]time.Duration, workers)
	for w := range workers {
		all.Go(func() {
			time.Sleep(time.Duration(w) * time.Second / time.Duration(rate)) // or all write at once
			ticker := time.NewTicker(workers * time.Second / time.Duration(rate))
			defer ticker.Stop()
			room, end := make([]byte, 256), time.Now().Add(length)
			for i := w; time.Now().Before(end); i = (i + workers) % len(agents) {
				<-ticker.C
				began := time.Now()
				if err := agents[i].roundTrip(room); err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(began))
			}
		})
	}
	all.Wait()
	sorted := slices.Concat(took...)
	slices.Sort(sorted)
	return sorted
}

// Agents on an unmodified opamp-go server, directly and through the gateway, in one run.
// CPU, allocations and memory are those of the process that is named; what the server
// behind the gateway uses is reported beside it.
func BenchmarkCarry(b *testing.B) {
	run := func(b *testing.B, target, behind *child, trust *tls.Config) {
		warm := fleetOf(b, 50, target.addr, trust)
		burst(b, warm, 20)
		before := target.measure(true)
		n := benchAgents()
		agents := fleetOf(b, n, target.addr, trust)
		idle := target.measure(true)
		b.ReportMetric(float64(idle.rss-before.rss)/float64(n), "rss-B/agent")
		b.ReportMetric(float64(idle.peak-before.rss)/float64(n), "peak-B/agent")
		const rounds = 8
		burst(b, agents, 1)
		m0, s0 := target.measure(false), cost{}
		if behind != nil {
			s0 = behind.measure(false)
		}
		began := time.Now()
		burst(b, agents, rounds)
		elapsed := time.Since(began)
		m1 := target.measure(false)
		trips := float64(n * rounds)
		b.ReportMetric(float64(m1.cpu-m0.cpu)/trips/1000, "cpu-µs/rt")
		b.ReportMetric(float64(m1.mallocs-m0.mallocs)/trips, "allocs/rt")
		b.ReportMetric(trips/elapsed.Seconds(), "rt/s")
		if behind != nil {
			b.ReportMetric(float64(behind.measure(false).cpu-s0.cpu)/trips/1000, "server-cpu-µs/rt")
		}
		took := paced(b, agents, 2000, lasting(5*time.Second))
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		b.ReportMetric(float64(target.measure(true).rss-before.rss)/float64(n), "rss-after-load-B/agent")
		b.ReportMetric(0, "ns/op")
		hangUp(agents)
	}
	for b.Loop() {
		b.Run("direct", func(b *testing.B) {
			for b.Loop() {
				run(b, startChild(b, "server"), nil, nil)
			}
		})
		b.Run("gateway", func(b *testing.B) {
			for b.Loop() {
				behind := startChild(b, "server")
				run(b, startChild(b, "gateway", upstreamEnv+"=ws://"+behind.addr+"/v1/opamp"), behind, nil)
			}
		})
		b.Run("gateway_tls", func(b *testing.B) {
			for b.Loop() {
				dir := b.TempDir()
				authority := opamptest.NewAuthority(b)
				identity := authority.Issue(b, 2, "x")
				require.NoError(b, os.WriteFile(filepath.Join(dir, "cert"), identity.CertPEM, 0o600))
				require.NoError(b, os.WriteFile(filepath.Join(dir, "key"), identity.KeyPEM, 0o600))
				pool := x509.NewCertPool()
				block, _ := pem.Decode(authority.PEM())
				ca, err := x509.ParseCertificate(block.Bytes)
				require.NoError(b, err)
				pool.AddCert(ca)
				behind := startChild(b, "server")
				gw := startChild(b, "gateway_tls", upstreamEnv+"=ws://"+behind.addr+"/v1/opamp", filesEnv+"="+dir)
				run(b, gw, behind, &tls.Config{RootCAs: pool, ServerName: "x", MinVersion: tls.VersionTLS13, ClientSessionCache: nil})
			}
		})
	}
}
