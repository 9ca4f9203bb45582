// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// benchReport is a report of ordinary size: 5 pipelines of 10 components, 10 KiB of
// config, 250 available components.
func benchReport() Report {
	r := fullReport()
	r.Health = benchHealth("StatusOK")
	r.EffectiveConfig = config(strings.Repeat("processors: {batch: {timeout: 200ms}}\n", 270))
	list := map[string]*protobufs.ComponentDetails{}
	for i := range 250 {
		list[fmt.Sprintf("component_%d", i)] = &protobufs.ComponentDetails{}
	}
	r.Components = &protobufs.AvailableComponents{Hash: make([]byte, 32), Components: list}
	return r
}

func benchHealth(status string) *protobufs.ComponentHealth {
	root := health(status)
	root.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
	for p := range 5 {
		pipeline := health(status)
		pipeline.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
		for c := range 10 {
			pipeline.ComponentHealthMap[fmt.Sprintf("exporter:otlp/%d", c)] = health(status)
		}
		root.ComponentHealthMap[fmt.Sprintf("pipeline:metrics/%d", p)] = pipeline
	}
	return root
}

// benchFrames makes frames from what next says, as the WebSocket writer does.
func benchFrames(b *testing.B, prepare func(s *session, st *state, i int)) {
	st := newState(benchReport())
	s := session{maxSend: math.MaxInt}
	s.next(st, epoch)
	var frame []byte
	size := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		prepare(&s, &st, i)
		out, _ := s.next(st, epoch.Add(time.Duration(i+1)*time.Hour))
		if out.msg == nil {
			b.Fatal("nothing to say")
		}
		var err error
		if frame, err = opampwire.AppendFrame(frame[:0], out.msg); err != nil {
			b.Fatal(err)
		}
		size = len(frame)
	}
	b.ReportMetric(float64(size), "wire_bytes/op")
}

func BenchmarkFullReport(b *testing.B) {
	benchFrames(b, func(s *session, _ *state, _ int) { s.begin() })
}

func BenchmarkFullReportWithComponents(b *testing.B) {
	benchFrames(b, func(s *session, _ *state, _ int) { s.wantFull = true })
}

func BenchmarkDeltaReport(b *testing.B) {
	trees := []*protobufs.ComponentHealth{benchHealth("StatusOK"), benchHealth("StatusRecoverableError")}
	benchFrames(b, func(_ *session, st *state, i int) { setPart(st, partHealth, trees[(i+1)%2]) })
}

func BenchmarkUnchangedReport(b *testing.B) {
	st := newState(benchReport())
	again := benchHealth("StatusOK")
	b.ReportAllocs()
	for b.Loop() {
		if setPart(&st, partHealth, again) {
			b.Fatal("news")
		}
	}
}

// BenchmarkAcceptThenClose measures how often a server that accepts and closes is
// connected, over real sockets for ten seconds.
func BenchmarkAcceptThenClose(b *testing.B) {
	span := 10 * time.Second
	if testing.Short() {
		span = time.Second
	}
	for b.Loop() {
		s := opamptest.NewServer(b, opamptest.Script{Accepted: func(c *websocket.Conn) bool {
			_ = c.CloseNow()
			return false
		}})
		c := New(Settings{Endpoint: s.URL("ws"), HTTPClient: &http.Client{Transport: &http.Transport{}}}, fullReport())
		c.Start()
		time.Sleep(span) // the measured span, not a wait for anything
		c.Stop(b.Context())
		total, _, _ := s.Connections()
		b.ReportMetric(float64(total)/span.Seconds(), "connects/s")
	}
}
