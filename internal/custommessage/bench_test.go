// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// BenchmarkThroughput sends over a real connection on loopback, four capabilities at a
// time and each with as much as its queue takes. A message counts when the server has
// answered it. The server is in the same process and has its share of the time.
func BenchmarkThroughput(b *testing.B) {
	for _, transport := range bothTransports {
		for _, size := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/%dB", transport, size), func(b *testing.B) { throughput(b, transport, size) })
		}
	}
}

func throughput(b *testing.B, transport string, size int) {
	const capabilities = 4
	server := opamptest.NewServer(b, opamptest.Script{})
	set := usual()
	set.QueueSize, set.QueueBytes = 1000, 32<<20
	registry := New(set)
	client := newClient(registry, opampclient.Settings{
		Endpoint: server.URL(transport), HTTPClient: &http.Client{Transport: &http.Transport{}},
	})
	defer registry.Close(context.Background())
	defer client.Stop(context.Background())
	client.Start()
	server.Next(b) // connected
	defer drain(server)()
	data := make([]byte, size)
	b.ReportAllocs()
	b.ResetTimer()
	var senders sync.WaitGroup
	for i := range capabilities {
		h := register(b, registry, fmt.Sprintf("org.example.%d", i))
		n := b.N / capabilities
		if i == 0 {
			n += b.N % capabilities
		}
		senders.Go(func() {
			var last chan struct{}
			for n > 0 {
				sent, err := h.SendMessage("data", data)
				switch {
				case err == nil:
					n--
					last = sent
				case errors.Is(err, types.ErrCustomMessagePending):
					<-sent
				default:
					b.Error(err)
					return
				}
			}
			if last != nil {
				<-last
			}
		})
	}
	senders.Wait()
	b.StopTimer()
	sum := sums(registry)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(sum.Resent), "resent")
	if sum.Acknowledged != uint64(b.N) {
		b.Fatalf("%d of %d messages were answered", sum.Acknowledged, b.N)
	}
}

// drain takes what the server hears until stop: the server does not wait for anybody to look.
func drain(server *opamptest.Server) (stop func()) {
	quit := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for server.Take(quit) {
			continue
		}
	})
	return func() {
		close(quit)
		work.Wait()
	}
}

// BenchmarkSendMessage is what sending costs a component while there is room. What is
// queued goes at once, off the clock of nobody but this goroutine.
func BenchmarkSendMessage(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			r := New(usual())
			h := register(b, r, "org.example")
			data := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.SendMessage("data", data); err != nil {
					b.Fatal(err)
				}
				r.Next(time.Time{})
				r.Answered()
			}
		})
	}
	b.Run("full", func(b *testing.B) {
		set := usual()
		set.QueueSize = 1
		r := New(set)
		h := register(b, r, "org.example")
		_, _ = h.SendMessage("data", nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.SendMessage("data", nil); !errors.Is(err, types.ErrCustomMessagePending) {
				b.Fatal(err)
			}
		}
	})
}
