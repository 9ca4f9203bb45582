// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
)

// acknowledge is the least a Handler can do.
type acknowledge struct{}

func (acknowledge) OnMessage(_ context.Context, _ ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return acknowledgement(msg)
}
func (acknowledge) OnClose(ConnInfo) {}

func benchServer(b *testing.B) (addr string) {
	s := New(Settings{}, acknowledge{})
	front := httptest.NewServer(s)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(b, s.Shutdown(ctx))
		front.Close()
	})
	return front.Listener.Addr().String()
}

// handshake opens a WebSocket with as little of a client as possible.
func handshake(addr string) (net.Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(nc, handshakeRequest+"\r\n"); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(nc, 256), nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// roundTrip sends a frame and reads the answer of known size.
func roundTrip(nc net.Conn, frame, answer []byte) error {
	if _, err := nc.Write(frame); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, answer)
	return err
}

func answerSize(b *testing.B) int {
	return len(framedReply(b, acknowledgement(message(1)))) + 2
}

func framedReply(b *testing.B, msg *protobufs.ServerToAgent) []byte {
	b.Helper()
	c := &conn{server: New(Settings{}, acknowledge{})}
	client, server := net.Pipe()
	c.net = server
	go func() { _ = c.send(msg); _ = server.Close() }()
	all, err := io.ReadAll(client)
	require.NoError(b, err)
	return all[2:]
}

// One connection, one heartbeat at a time. The client is a write and a read without
// an allocation, so allocations are the server's.
func BenchmarkHeartbeatRoundTrip(b *testing.B) {
	nc, err := handshake(benchServer(b))
	require.NoError(b, err)
	defer func() { _ = nc.Close() }()
	beat, answer := frame(true, opBinary, framed(b, message(1))), make([]byte, answerSize(b))
	b.ReportAllocs()
	cpu := measured.ProcessCPU()
	for b.Loop() {
		if err := roundTrip(nc, beat, answer); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(measured.ProcessCPU()-cpu)/float64(b.N), "cpu-ns/op(both-ends)")
}

// Many connections at a time, as a fleet has them.
func BenchmarkHeartbeatRoundTripOf500Connections(b *testing.B) {
	addr := benchServer(b)
	const n = 500
	conns := make([]net.Conn, n)
	for i := range conns {
		nc, err := handshake(addr)
		require.NoError(b, err)
		b.Cleanup(func() { _ = nc.Close() })
		conns[i] = nc
	}
	beat, size := frame(true, opBinary, framed(b, message(1))), answerSize(b)
	b.ReportAllocs()
	cpu := measured.ProcessCPU()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, nc := range conns {
		all.Go(func() {
			answer := make([]byte, size)
			for k := i; k < b.N; k += n {
				if err := roundTrip(nc, beat, answer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(measured.ProcessCPU()-cpu)/float64(b.N), "cpu-ns/op(both-ends)")
}

// What a message that nobody asked for costs: alone, so that each finds the connection idle, and
// as many as the queue takes. The client allocates nothing.
func BenchmarkSend(b *testing.B) {
	for _, burst := range []int{1, 100} {
		b.Run(fmt.Sprintf("burst_of_%d", burst), func(b *testing.B) { benchmarkSend(b, burst) })
	}
}

func benchmarkSend(b *testing.B, burst int) {
	h := newEcho()
	s := New(Settings{}, h)
	front := httptest.NewServer(s)
	defer front.Close()
	defer func() { require.NoError(b, s.Shutdown(context.Background())) }()
	nc, err := handshake(front.Listener.Addr().String())
	require.NoError(b, err)
	defer func() { _ = nc.Close() }()
	require.NoError(b, roundTrip(nc, frame(true, opBinary, framed(b, message(1))), make([]byte, answerSize(b))))
	id := only(h)
	message := framedReply(b, custom("x"))[1:]
	frames := make([]byte, burst*(2+1+len(message)))
	b.ReportAllocs()
	cpu := measured.ProcessCPU()
	for b.Loop() {
		for range burst {
			if err := s.SendEncoded(id, message); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := io.ReadFull(nc, frames); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(measured.ProcessCPU()-cpu)/float64(b.N*burst), "cpu-ns/message(both-ends)")
}

func BenchmarkReportOf50KBRoundTrip(b *testing.B) {
	nc, err := handshake(benchServer(b))
	require.NoError(b, err)
	defer func() { _ = nc.Close() }()
	msg := message(1)
	msg.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
		ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: make([]byte, 50_000)}},
	}}
	report, answer := frame(true, opBinary, framed(b, msg)), make([]byte, answerSize(b))
	b.SetBytes(int64(len(report)))
	b.ReportAllocs()
	for b.Loop() {
		if err := roundTrip(nc, report, answer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnectAndClose(b *testing.B) {
	addr := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		nc, err := handshake(addr)
		if err != nil {
			b.Fatal(err)
		}
		_ = nc.(*net.TCPConn).SetLinger(0) // or the ports run out
		_ = nc.Close()
	}
}

// What a connection costs the server that has said its first words and is now idle:
// resident memory of a process that holds nothing but the server, before and after.
func BenchmarkIdleConnection(b *testing.B) {
	for _, phase := range []string{"silent", "after_heartbeat", "after_50KB_report", "after_a_message"} {
		b.Run(phase, func(b *testing.B) {
			for b.Loop() {
				measureIdle(b, phase)
			}
		})
	}
}

func measureIdle(b *testing.B, phase string) {
	const n = 2000
	child := measured.Start(b, "server")
	addr := child.Addr
	measure := func() (rss, heapAndStack int64) {
		m := child.Collect()
		return m.RSS, m.Heap + m.Stacks
	}
	first := map[string][]byte{"after_heartbeat": frame(true, opBinary, framed(b, message(1)))}
	big := message(1)
	big.Health = &protobufs.ComponentHealth{LastError: strings.Repeat("e", 50_000)}
	first["after_50KB_report"] = frame(true, opBinary, framed(b, big))
	first["after_a_message"] = first["after_heartbeat"]

	warm, err := handshake(addr)
	require.NoError(b, err)
	defer func() { _ = warm.Close() }()
	rss0, own0 := measure()
	answer := make([]byte, answerSize(b))
	var conns []net.Conn
	defer func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
	}()
	for range n {
		nc, err := handshake(addr)
		require.NoError(b, err)
		conns = append(conns, nc)
		if words := first[phase]; words != nil {
			require.NoError(b, roundTrip(nc, words, answer))
		}
	}
	if phase == "after_a_message" {
		require.Empty(b, child.Ask("send"))
		unasked := make([]byte, 2+len(framedReply(b, custom("x"))))
		for _, nc := range conns {
			_, err := io.ReadFull(nc, unasked)
			require.NoError(b, err)
		}
	}
	rss, own := measure()
	b.ReportMetric(float64(rss-rss0)/n, "rss-B/conn")
	b.ReportMetric(float64(own-own0)/n, "heap+stack-B/conn")
	b.ReportMetric(0, "ns/op")
}

// serveMeasured runs a server that sends to everybody on request.
func serveMeasured() {
	s := New(Settings{}, acknowledge{})
	front := httptest.NewServer(s)
	measured.Serve(measured.Settings{Addr: front.Listener.Addr().String(), Ask: func(string) string {
		for _, c := range s.open() {
			if err := s.Send(c.info.ID, custom("x")); err != nil {
				return err.Error()
			}
		}
		return ""
	}})
}
