// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// workers is how many agents speak at a time, and how many connect at a time.
const workers = 100

// answerWithin bounds how long an agent waits for an answer before it is a failure.
const answerWithin = 30 * time.Second

// fleet are the agents of the driver. Each is owned by the worker that it is the turn of.
type fleet struct {
	b      *testing.B
	addr   string
	parts  [variants]parts
	agents []*agent

	told    atomic.Int64 // full states that were sent because the server asked
	delayed atomic.Int64 // connections that were refused with a time to come back after
}

// agent is as little of an agent as there can be, that does what it is asked.
type agent struct {
	net.Conn
	uid   opampwire.InstanceUID
	n     int
	seq   uint64
	fails string // why a component of it fails; empty while none does
}

// room is what a worker writes and reads with.
type room struct {
	message, frame, answer []byte
	reply                  protobufs.ServerToAgent
}

func newFleet(b *testing.B, addr string, size int) *fleet {
	f := &fleet{b: b, addr: addr, parts: newParts(), agents: make([]*agent, size)}
	for n := range f.agents {
		f.agents[n] = &agent{uid: opampwire.NewInstanceUID(), n: n}
	}
	b.Cleanup(f.hangUp)
	return f
}

// each lets every agent do something, some at a time. A failure ends the benchmark.
func (f *fleet) each(do func(a *agent, r *room) error) {
	f.b.Helper()
	if err := f.try(do); err != nil {
		f.b.Fatal(err)
	}
}

// try is each with the first failure as its result. Agents of a worker that failed have no turn any more.
func (f *fleet) try(do func(a *agent, r *room) error) error {
	var all sync.WaitGroup
	failed := make([]error, workers)
	for w := range workers {
		all.Go(func() {
			r := &room{}
			for i := w; i < len(f.agents) && failed[w] == nil; i += workers {
				failed[w] = do(f.agents[i], r)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// hangUp resets all connections: the ports would run out otherwise.
func (f *fleet) hangUp() {
	for _, a := range f.agents {
		if t, ok := a.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
			_ = t.Close()
		}
		a.Conn = nil
	}
}

// part waits for the server to say that it goes, and answers as a WebSocket does.
func (f *fleet) part(a *agent, r *room) error {
	if err := a.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	if _, err := a.read(r); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("agent %d: the server goes: %w", a.n, err)
	}
	_, _ = a.Write([]byte{0x88, 0x80, 0, 0, 0, 0}) // it may be gone by now
	return nil
}

// connect opens a WebSocket, when the server lets it.
func (f *fleet) connect(a *agent, _ *room) error {
	for {
		again, err := f.dial(a)
		if err != nil || again == 0 {
			return err
		}
		f.delayed.Add(1)
		time.Sleep(again)
	}
}

// dial opens a WebSocket, or says after which time to come again.
func (f *fleet) dial(a *agent) (again time.Duration, err error) {
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		return 0, err
	}
	_, err = io.WriteString(nc, "GET /v1/opamp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReaderSize(nc, 512), nil)
	}
	switch {
	case err != nil:
		return 0, errors.Join(err, nc.Close())
	case resp.StatusCode == http.StatusSwitchingProtocols:
		a.Conn = nc
		return 0, nil
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		err = errors.New(resp.Status)
	}
	return time.Duration(seconds) * time.Second, errors.Join(err, nc.Close())
}

// beat sends a heartbeat, and whatever the answer asks for.
func (f *fleet) beat(a *agent, r *room) error {
	a.seq++
	r.message = opampwire.AppendHeartbeat(r.message[:0], a.uid, a.seq)
	return f.exchange(a, r)
}

// report tells everything.
func (f *fleet) report(a *agent, r *room) error {
	f.compose(a, r, false)
	return f.exchange(a, r)
}

// fail tells that a component fails.
func (f *fleet) fail(a *agent, r *room, text string) error {
	a.seq++
	a.fails = text
	r.message = append(r.message[:0], 0)
	r.message = append(r.message, encode(&protobufs.AgentToServer{InstanceUid: a.uid.Bytes(), SequenceNum: a.seq, Health: health(text)})...)
	return f.exchange(a, r)
}

// compose writes a message with everything.
func (f *fleet) compose(a *agent, r *room, list bool) {
	a.seq++
	p := f.parts[a.n%variants]
	r.message = append(append(r.message[:0], 0), p.state...)
	if a.fails == "" {
		r.message = append(r.message, p.healthy...)
	} else {
		r.message = append(r.message, encode(&protobufs.AgentToServer{Health: health(a.fails)})...)
	}
	if list {
		r.message = append(r.message, p.components...)
	}
	r.message = append(r.message, encode(&protobufs.AgentToServer{
		InstanceUid: a.uid.Bytes(), SequenceNum: a.seq, AgentDescription: described(a.n, a.uid),
	})...)
}

// exchange sends the message and does what its answer asks for.
func (f *fleet) exchange(a *agent, r *room) error {
	for {
		if err := a.roundTrip(r); err != nil {
			return fmt.Errorf("agent %d: %w", a.n, err)
		}
		if e := r.reply.GetErrorResponse(); e != nil {
			return fmt.Errorf("agent %d: %s", a.n, e)
		}
		flags := protobufs.ServerToAgentFlags(r.reply.GetFlags()) //nolint:gosec // bits
		list := flags&protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents != 0
		switch {
		case flags&protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState != 0:
			f.told.Add(1)
			f.compose(a, r, list)
		case list:
			a.seq++
			r.message = append(append(r.message[:0], 0), f.parts[a.n%variants].components...)
			r.message = append(r.message, encode(&protobufs.AgentToServer{InstanceUid: a.uid.Bytes(), SequenceNum: a.seq})...)
		default:
			return nil
		}
	}
}

// roundTrip writes the message as a frame and reads the answer.
func (a *agent) roundTrip(r *room) error {
	if a.Conn == nil {
		return net.ErrClosed
	}
	r.frame = appendFrame(r.frame[:0], r.message)
	if err := a.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	if _, err := a.Write(r.frame); err != nil {
		return err
	}
	payload, err := a.read(r)
	if err != nil {
		return err
	}
	r.reply.Reset()
	return opampwire.ParseFrame(payload, &r.reply)
}

// appendFrame appends a masked frame, whose mask changes nothing.
func appendFrame(b, payload []byte) []byte {
	const final, binaryFrame, masked = 0x80, 0x02, 0x80
	b = append(b, final|binaryFrame)
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n)) //nolint:gosec // reports have some KiB
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// read reads a frame of a short message.
func (a *agent) read(r *room) ([]byte, error) {
	if r.answer == nil {
		r.answer = make([]byte, 4<<10)
	}
	for have := 0; ; {
		n, err := a.Read(r.answer[have:])
		if err != nil {
			return nil, err
		}
		have += n
		if have < 2 {
			continue
		}
		const binaryFrame, closeFrame = 0x82, 0x88
		switch size := int(r.answer[1]); {
		case r.answer[0] == closeFrame:
			return nil, io.EOF
		case r.answer[0] != binaryFrame || size >= 126:
			return nil, fmt.Errorf("frame of %x", r.answer[:2])
		case have >= 2+size:
			return r.answer[2 : 2+size], nil
		}
	}
}

// steady lets all agents make so many heartbeats a second until the returned function is called, which tells the
// times from sending to the answer, in order.
func (f *fleet) steady(agents []*agent, rate int) (stop func() []time.Duration) {
	done := make(chan struct{})
	var all sync.WaitGroup
	took := make([][]time.Duration, workers)
	for w := range min(workers, len(agents)) {
		all.Go(func() {
			pause := workers * time.Second / time.Duration(rate)
			next := time.NewTimer(pause * time.Duration(w) / workers) // or all write at once
			defer next.Stop()
			r := &room{}
			for i := w; ; i += workers {
				if i >= len(agents) {
					i = w
				}
				select {
				case <-done:
					return
				case <-next.C:
				}
				next.Reset(pause)
				began := time.Now()
				if err := f.beat(agents[i], r); err != nil {
					f.b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(began))
			}
		})
	}
	return func() []time.Duration {
		close(done)
		all.Wait()
		return sorted(took...)
	}
}

func sorted(lists ...[]time.Duration) []time.Duration {
	out := slices.Concat(lists...)
	slices.Sort(out)
	return out
}

// quantile of what is sorted; 0 of nothing.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// A report is what the benchmark says that it is: the driver's frames are read as what they mean.
func TestReportIsWhatItSays(t *testing.T) {
	f := &fleet{parts: newParts()}
	a, r := &agent{uid: opampwire.NewInstanceUID(), n: 3}, &room{}
	f.compose(a, r, true)
	var msg protobufs.AgentToServer
	require.NoError(t, opampwire.ParseFrame(r.message, &msg))
	d := msg.GetAgentDescription()
	require.Len(t, slices.Concat(d.GetIdentifyingAttributes(), d.GetNonIdentifyingAttributes()), 16)
	leaves := 0
	for _, p := range msg.GetHealth().GetComponentHealthMap() {
		leaves += len(p.GetComponentHealthMap())
	}
	require.Equal(t, 20, leaves)
	size := len(msg.GetEffectiveConfig().GetConfigMap().GetConfigMap()[""].GetBody())
	require.InDelta(t, 4<<10, size, 1<<10)
	require.Len(t, msg.GetAvailableComponents().GetComponents(), 5)
	require.Less(t, len(r.message), 1<<16, "the header of a frame has room for no more")
}
