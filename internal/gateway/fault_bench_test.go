// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// between starts a server and a gateway before it.
func between(b *testing.B) (srv, gw *child) {
	b.Helper()
	srv = startChild(b, "server")
	return srv, startChild(b, "gateway", upstreamEnv+"=ws://"+srv.addr+"/v1/opamp")
}

// awaitFrames reads one frame of each agent and returns when each came, counted from
// began, in order. Those whose connection ends are counted as lost.
func awaitFrames(b *testing.B, agents []*leanAgent, began time.Time) (came []time.Duration, lost int64) {
	b.Helper()
	var mu sync.Mutex
	var gone atomic.Int64
	var all sync.WaitGroup
	for _, a := range agents {
		all.Go(func() {
			if a.SetReadDeadline(time.Now().Add(time.Minute)) != nil {
				gone.Add(1)
				return
			}
			room := make([]byte, 256)
			n, err := a.Read(room)
			if err != nil || n < 2 || room[0] != 0x82 {
				gone.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			came = append(came, time.Since(began))
		})
	}
	all.Wait()
	slices.Sort(came)
	return came, gone.Load()
}

// The server is killed and is back after 2.4 s, with 5,000 agents. An agent is usable
// again when the server's answer to its announcement has reached it.
func BenchmarkServerKilledAndBack(b *testing.B) {
	for b.Loop() {
		srv, gw := between(b)
		agents := fleetOf(b, benchAgents(), gw.addr, nil)
		time.Sleep(1200 * time.Millisecond) // agents at rest
		require.NoError(b, srv.cmd.Process.Kill())
		_ = srv.cmd.Wait()
		time.Sleep(2400 * time.Millisecond)
		_ = startChild(b, "server", addrEnv+"="+srv.addr)
		came, lost := awaitFrames(b, agents, time.Now())
		require.NotEmpty(b, came)
		b.ReportMetric(float64(lost), "agents-lost")
		b.ReportMetric(came[len(came)/2].Seconds(), "p50-usable-s")
		b.ReportMetric(came[len(came)-1].Seconds(), "all-usable-s")
		b.ReportMetric(0, "ns/op")
		hangUp(agents)
	}
}

// A thousand agents die at once (their connections are reset), and a thousand others are
// back at once.
func BenchmarkThousandAgentsKilled(b *testing.B) {
	for b.Loop() {
		srv, gw := between(b)
		dead, quick := fleetOf(b, 1000, gw.addr, nil), fleetOf(b, 1000, gw.addr, nil)
		before := srv.measure(false).goodbyes
		began := time.Now()
		hangUp(dead)
		hangUp(quick)
		room := make([]byte, 256)
		for i, a := range quick {
			again, err := dialLean(gw.addr, nil)
			require.NoError(b, err)
			again.beat = a.beat
			require.NoError(b, again.roundTrip(room))
			quick[i] = again
		}
		back := time.Since(began)
		told := func() int64 { return srv.measure(false).goodbyes - before }
		for told() < 1000 && time.Since(began) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		took := time.Since(began)
		time.Sleep(6 * time.Second) // for false ones, which would come after a grace
		b.ReportMetric(float64(told()), "goodbyes")
		b.ReportMetric(took.Seconds(), "all-told-s")
		b.ReportMetric(back.Seconds(), "all-back-s")
		b.ReportMetric(0, "ns/op")
		hangUp(quick)
	}
}

// Ten thousand agents (2 × benchAgents) are reset and come back as fast as they can.
func BenchmarkReconnectStorm(b *testing.B) {
	n := 2 * benchAgents()
	for b.Loop() {
		_, gw := between(b)
		warm := fleetOf(b, 50, gw.addr, nil)
		before := gw.measure(true)
		agents := fleetOf(b, n, gw.addr, nil)
		began := time.Now()
		var all sync.WaitGroup
		for w := range 100 {
			all.Go(func() {
				room := make([]byte, 256)
				for i := w; i < n; i += 100 {
					old := agents[i]
					_ = old.Conn.(*net.TCPConn).SetLinger(0)
					_ = old.Close()
					a, err := dialLean(gw.addr, nil)
					if err == nil {
						a.beat = old.beat
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
		b.ReportMetric(time.Since(began).Seconds(), "all-back-s")
		after := gw.measure(true)
		b.ReportMetric(float64(after.peak-before.rss)/float64(n), "peak-B/agent")
		b.ReportMetric(float64(after.rss-before.rss)/float64(n), "rss-B/agent")
		b.ReportMetric(0, "ns/op")
		hangUp(agents)
		hangUp(warm)
	}
}

// Agents at a steady rate, before and while one of them takes 20 MiB and reads nothing,
// and while messages of 70, 200 and 500 MiB are sent.
func BenchmarkOffenders(b *testing.B) {
	for b.Loop() {
		_, gw := between(b)
		agents := fleetOf(b, 500, gw.addr, nil)
		quiet := paced(b, agents, 1000, 3*time.Second)
		before := gw.measure(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, size := range offences() {
				sendHuge(gw.addr, size<<20)
			}
		}()
		during := paced(b, agents, 1000, 3*time.Second)
		<-done
		after := gw.measure(false)
		b.ReportMetric(float64(quiet[len(quiet)*99/100].Microseconds()), "p99-before-µs")
		b.ReportMetric(float64(during[len(during)*99/100].Microseconds()), "p99-during-µs")
		b.ReportMetric(float64(after.peak-before.rss)/(1<<20), "peak-rise-MiB")
		b.ReportMetric(0, "ns/op")
		hangUp(agents)
	}
}

// sendHuge sends a message of size bytes in frames of a MiB until it is told to stop.
func sendHuge(addr string, size int) {
	a, err := dialLean(addr, nil)
	if err != nil {
		return
	}
	defer func() { _ = a.Close() }()
	payload := make([]byte, 1<<20)
	copy(payload, opampwire.AppendHeartbeat(nil, opampwire.NewInstanceUID(), 1))
	head := []byte{0x02, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0}
	for sent := 0; sent < size; sent += len(payload) {
		if _, err := a.Write(append(head, payload...)); err != nil {
			return
		}
		head[0] = 0
	}
}
