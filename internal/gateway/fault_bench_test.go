// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
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
		srv.Kill()
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
		time.Sleep(lasting(6 * time.Second)) // for false ones, which would come after a grace
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

// p99 is what one in a hundred takes longer than, in microseconds.
func p99(took []time.Duration) float64 { return float64(took[len(took)*99/100].Microseconds()) }

// sideBySide reports how long others take before and during what an offender does.
func sideBySide(b *testing.B, agents []*leanAgent, gw *child, offend func()) {
	b.Helper()
	const rate = 1000
	length := lasting(6 * time.Second)
	quiet := paced(b, agents, rate, length)
	before := gw.measure(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		offend()
	}()
	during := paced(b, agents, rate, length)
	<-done
	after := gw.measure(false)
	b.ReportMetric(float64(quiet[len(quiet)/2].Microseconds()), "p50-before-µs")
	b.ReportMetric(float64(during[len(during)/2].Microseconds()), "p50-during-µs")
	b.ReportMetric(p99(quiet), "p99-before-µs")
	b.ReportMetric(p99(during), "p99-during-µs")
	b.ReportMetric(p99(during)/p99(quiet), "p99-ratio")
	b.ReportMetric(float64(after.peak-before.rss)/(1<<20), "peak-rise-MiB")
	b.ReportMetric(0, "ns/op")
}

// Agents at a steady rate, before and while one of them does what it should not: each
// offence by itself, and as a measure of the noise none. Who sends messages of 70, 200 and
// 500 MiB is a process of its own, paced to 50 MiB a second, since it, the gateway, the server and the agents
// share the processors; and in another run as fast as it can.
func BenchmarkOffenders(b *testing.B) {
	fleet := func(b *testing.B) ([]*leanAgent, *child) {
		_, gw := between(b)
		return fleetOf(b, 500, gw.addr, nil), gw
	}
	for b.Loop() {
		b.Run("none", func(b *testing.B) {
			for b.Loop() {
				agents, gw := fleet(b)
				sideBySide(b, agents, gw, func() {})
				hangUp(agents)
			}
		})
		b.Run("reads_nothing", func(b *testing.B) { // and 20 MiB are pushed at it
			for b.Loop() {
				agents, gw := fleet(b)
				var gone time.Duration
				sideBySide(b, agents, gw, func() {
					began := time.Now()
					a, err := dialLean(gw.addr, nil)
					if err == nil {
						_, err = a.Write(maskedBeat(deaf, 1))
					}
					if err != nil {
						b.Error(err)
						return
					}
					for gw.measure(false).agents > 500 && time.Since(began) < time.Minute {
						time.Sleep(5 * time.Millisecond)
					}
					gone = time.Since(began)
					hangUp([]*leanAgent{a})
				})
				b.ReportMetric(gone.Seconds(), "gone-after-s")
				hangUp(agents)
			}
		})
		for _, huge := range []struct {
			name string
			rate int // MiB a second
		}{{"huge_paced", 50}, {"huge_flood", 0}} {
			b.Run(huge.name, func(b *testing.B) {
				for b.Loop() {
					agents, gw := fleet(b)
					sender := startChild(b, "huge", addrEnv+"="+gw.addr)
					sideBySide(b, agents, gw, func() {
						for _, size := range offences() {
							sender.tell(fmt.Sprint(size, " ", huge.rate))
						}
					})
					b.ReportMetric(float64(500-gw.measure(false).agents), "agents-lost")
					hangUp(agents)
				}
			})
		}
	}
}

// maskedBeat is the frame of a heartbeat.
func maskedBeat(uid opampwire.InstanceUID, seq uint64) []byte {
	payload := opampwire.AppendHeartbeat(nil, uid, seq)
	return append([]byte{0x82, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// sendHuge sends a message of size bytes in frames of a MiB, of rate bytes a second (0: as
// fast as they are taken), until it is told to stop. It returns how many it has sent.
func sendHuge(addr string, size, rate int) (sent int) {
	a, err := dialLean(addr, nil)
	if err != nil {
		return 0
	}
	defer func() { _ = a.Close() }()
	payload := make([]byte, 1<<20)
	copy(payload, opampwire.AppendHeartbeat(nil, opampwire.NewInstanceUID(), 1))
	frame := append([]byte{0x02, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0}, payload...)
	for began := time.Now(); sent < size; sent += len(payload) {
		if _, err := a.Write(frame); err != nil {
			return sent
		}
		frame[0] = 0
		if rate > 0 {
			time.Sleep(time.Duration(float64(sent)/float64(rate)*float64(time.Second)) - time.Since(began))
		}
	}
	return sent
}

// caller is an agent that sends one message after the other, each once the one before was
// answered, and goes to the next gateway when it is told to leave.
type caller struct {
	uid   opampwire.InstanceUID
	acked []uint64 // those whose answer it has seen
	sent  uint64
	moved time.Time
}

// call sends and waits until end. The places to connect to are tried in order, the last one again.
func (c *caller) call(places []string, pause time.Duration, end time.Time) error {
	for len(places) > 0 {
		a, err := dialLean(places[0], nil)
		if err != nil {
			return err
		}
		if c.sent > 0 {
			c.moved = time.Now()
		}
		err = c.converse(a, pause, end)
		_ = a.Conn.(*net.TCPConn).SetLinger(0)
		_ = a.Close()
		if err == nil {
			return nil
		}
		places = places[1:]
	}
	return errors.New("told to leave by the last gateway")
}

func (c *caller) converse(a *leanAgent, pause time.Duration, end time.Time) error {
	room := make([]byte, 256)
	for time.Now().Before(end) {
		c.sent++
		a.beat = maskedBeat(c.uid, c.sent)
		if err := a.roundTrip(room); err != nil {
			return err
		}
		if room[0] != 0x82 {
			return io.EOF // a Close frame
		}
		c.acked = append(c.acked, c.sent)
		time.Sleep(pause)
	}
	return nil
}

// A gateway with 5,000 agents is drained and replaced by another, while each agent sends a
// message every two seconds. Acknowledged is what an agent has seen the server's answer to;
// each such message is looked for in the server's record. An agent that is told to leave
// while it pauses finds out by its next message, which is the one that nobody answers.
func BenchmarkRollingRestart(b *testing.B) {
	for b.Loop() {
		srv := startChild(b, "server", recordEnv+"=1")
		first := startChild(b, "gateway", upstreamEnv+"=ws://"+srv.addr+"/v1/opamp")
		second := startChild(b, "gateway", upstreamEnv+"=ws://"+srv.addr+"/v1/opamp")
		n := benchAgents()
		callers := make([]*caller, n)
		arrival, pause, settled, length := 5*time.Second, 2*time.Second, 9*time.Second, 25*time.Second
		if testing.Short() {
			arrival, pause, settled, length = time.Second, 500*time.Millisecond, 2*time.Second, 9*time.Second
		}
		end := time.Now().Add(length)
		var all sync.WaitGroup
		for i := range callers {
			callers[i] = &caller{uid: opampwire.NewInstanceUID()}
			all.Go(func() {
				time.Sleep(time.Duration(i) * arrival / time.Duration(n))
				if err := callers[i].call([]string{first.addr, second.addr}, pause, end); err != nil {
					b.Error(err)
				}
			})
		}
		time.Sleep(settled) // all are there
		before := first.measure(false).agents
		began := time.Now()
		drained := first.tell("drain")
		all.Wait()
		b.ReportMetric(float64(before), "agents-before")
		b.ReportMetric(float64(srv.measure(false).goodbyes), "goodbyes")
		var took float64
		_, err := fmt.Sscan(drained, &took)
		require.NoError(b, err)
		b.ReportMetric(took, "drain-s")
		account(b, callers, began, srv.tell("record"))
		b.ReportMetric(0, "ns/op")
	}
}

// account compares what agents have seen answered with what the server has had.
func account(b *testing.B, callers []*caller, began time.Time, record string) {
	b.Helper()
	had := make(map[string]map[string]bool)
	for entry := range strings.FieldsSeq(record) {
		fields := strings.Split(entry, ",")
		seqs := make(map[string]bool, len(fields))
		for _, seq := range fields[1:] {
			seqs[seq] = true
		}
		had[fields[0]] = seqs
	}
	var acked, lost, unanswered, moved int
	var last time.Duration
	for _, c := range callers {
		seqs := had[fmt.Sprintf("%x", c.uid[:])]
		acked += len(c.acked)
		unanswered += int(c.sent) - len(c.acked)
		for _, seq := range c.acked {
			if !seqs[strconv.FormatUint(seq, 10)] {
				lost++
			}
		}
		if !c.moved.IsZero() {
			moved++
			last = max(last, c.moved.Sub(began))
		}
	}
	b.ReportMetric(float64(acked), "acknowledged")
	b.ReportMetric(float64(lost), "acknowledged-lost")
	b.ReportMetric(float64(unanswered), "unanswered")
	b.ReportMetric(float64(moved), "moved")
	b.ReportMetric(last.Seconds(), "all-moved-s")
}
