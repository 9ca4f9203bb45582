// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	// chaosCallers call at the same time.
	chaosCallers = 8
	// chaosSlots is how many extensions there are at a time.
	chaosSlots = 6
)

// chaosSteps is how many callbacks are called, over all extensions: with -short as many as it takes for each of them to
// be called.
func chaosSteps() int {
	if testing.Short() {
		return 300_000
	}
	return 1_000_000
}

// chaos is a process in which everything calls every extension at any time, and where
// servers come, go and misbehave.
type chaos struct {
	t         *testing.T
	seed      uint64
	servers   []string // endpoints
	telemetry *componenttest.Telemetry
	host      component.Host
	slots     [chaosSlots]atomic.Pointer[opampExtension]
	sources   []*componentstatus.InstanceID

	steps [opCount]atomic.Int64
}

// operation is one callback.
type operation int

const (
	opStatus operation = iota
	opReady
	opNotReady
	opConfig
	opDependencies
	opStart
	opReplace // Shutdown, and another extension in its place, as in a reload
	opShutdown
	opMetrics
	opPages
	opCustom // a component registers, sends and leaves
	opCount
)

var opNames = [opCount]string{
	"ComponentStatusChanged", "Ready", "NotReady", "NotifyConfigSnapshot", "Dependencies",
	"Start", "Shutdown and anew", "Shutdown", "metrics collected", "status pages",
	"custom messages",
}

// opWeights say how often each comes, of a hundred thousand.
var opWeights = [opCount]int{81_000, 6_000, 5_000, 1_000, 5_470, 300, 20, 10, 20, 180, 1_000}

func pick(rng *rand.Rand) operation {
	n := rng.IntN(100_000)
	for op, weight := range opWeights {
		if n -= weight; n < 0 {
			return operation(op)
		}
	}
	panic("the weights do not add up")
}

// Every callback, at any time, on any extension, in any order, by many at once, whatever
// the server does: nothing panics, hangs, races or leaks. OPAMP_CHAOS_SEED repeats a run
// as far as the scheduler lets it.
func TestCallbacksInAnyOrderByManyAtOnce(t *testing.T) {
	c := newChaos(t)
	t.Logf("seed %d", c.seed)
	began := time.Now()
	var callers sync.WaitGroup
	for caller := range uint64(chaosCallers) {
		callers.Go(func() { c.call(rand.New(rand.NewPCG(c.seed, caller)), chaosSteps()/chaosCallers) }) //nolint:gosec // repeatable
	}
	callers.Wait()
	for i := range c.slots {
		require.NoError(t, c.slots[i].Load().Shutdown(context.Background()))
	}
	require.Empty(t, statusPages.pages(), "nothing is left behind")
	total := int64(0)
	for op := range c.steps {
		total += c.steps[op].Load()
		t.Logf("%8d %s", c.steps[op].Load(), opNames[op])
		require.Positive(t, c.steps[op].Load())
	}
	require.EqualValues(t, chaosSteps(), total)
	t.Logf("%d steps in %s", total, time.Since(began).Round(time.Second))
	for _, result := range []string{"ok", "refused", "network", "http_status", "redirect", "throttled"} {
		t.Logf("%8d connects: %s", counted(c.telemetry, "otelcol_opamp_connects", "result", result), result)
	}
	require.Positive(t, counted(c.telemetry, "otelcol_opamp_connects", "result", "ok"))
	require.Positive(t, counted(c.telemetry, "otelcol_opamp_connects", "result", "refused"))
}

func newChaos(t *testing.T) *chaos {
	c := &chaos{t: t, seed: uint64(time.Now().UnixNano()), telemetry: componenttest.NewTelemetry(), host: componenttest.NewNopHost()}
	if s := os.Getenv("OPAMP_CHAOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		c.seed = seed
	}
	rng := rand.New(rand.NewPCG(c.seed, 1<<63)) //nolint:gosec // repeatable
	for _, wild := range []bool{false, true} {
		for _, scheme := range []string{"ws", "http"} {
			c.servers = append(c.servers, newMoodyServer(t, wild).URL(scheme).String())
		}
	}
	hole := blackHole(t)
	c.servers = append(c.servers, "ws://127.0.0.1:1/v1/opamp", "http://127.0.0.1:1", "ws://"+hole, "http://"+hole)
	for range 300 {
		c.sources = append(c.sources, someSource(rng))
	}
	for i := range c.slots {
		c.slots[i].Store(c.extension(rng))
	}
	return c
}

// extension is a new one with a random configuration. Ids recur, as over reloads.
func (c *chaos) extension(rng *rand.Rand) *opampExtension {
	cfg := configFor(c.servers[rng.IntN(len(c.servers))], func(cfg *Config) {
		flip := func() bool { return rng.IntN(4) > 0 }
		cfg.Capabilities.ReportsEffectiveConfig, cfg.Capabilities.ReportsHealth = flip(), flip()
		cfg.Capabilities.ReportsAvailableComponents, cfg.Capabilities.ReportsHeartbeat = flip(), flip()
		cfg.AgentDescription.IncludeResourceAttributes = flip()
	})
	set := newSettings(fmt.Sprint("chaos-", rng.IntN(chaosSlots)))
	set.TelemetrySettings = c.telemetry.NewTelemetrySettings()
	set.Logger = zap.NewNop()
	ext, err := NewFactory().Create(context.Background(), set, cfg)
	if err != nil {
		panic(err)
	}
	return ext.(*opampExtension)
}

func (c *chaos) call(rng *rand.Rand, steps int) {
	for range steps {
		op := pick(rng)
		c.steps[op].Add(1)
		slot := &c.slots[rng.IntN(chaosSlots)]
		if err := c.do(op, slot.Load(), slot, rng); err != nil {
			c.t.Errorf("%s: %v", opNames[op], err)
		}
	}
}

func (c *chaos) do(op operation, e *opampExtension, slot *atomic.Pointer[opampExtension], rng *rand.Rand) error {
	switch op {
	case opStatus:
		e.ComponentStatusChanged(c.sources[rng.IntN(len(c.sources))], someEvent(rng))
	case opReady:
		return e.Ready()
	case opNotReady:
		return e.NotReady()
	case opConfig:
		return e.NotifyConfigSnapshot(context.Background(), snapshotOf(someConfig(rng)))
	case opDependencies:
		if got := e.Dependencies(); len(got) > 0 {
			return fmt.Errorf("depends on %v", got)
		}
	case opStart:
		if err := e.Start(context.Background(), c.host); err != nil && !errors.Is(err, errLifecycleOver) {
			return err
		}
	case opShutdown:
		return e.Shutdown(context.Background())
	case opReplace:
		if err := e.Shutdown(context.Background()); err != nil {
			return err
		}
		slot.CompareAndSwap(e, c.extension(rng))
	case opMetrics:
		var all metricdata.ResourceMetrics
		return c.telemetry.Reader.Collect(context.Background(), &all)
	case opPages:
		statusPages.pages()
	case opCustom:
		return talk(e, rng)
	}
	return nil
}

// talk is what a component does that talks with the server, at the worst time.
func talk(e *opampExtension, rng *rand.Rand) error {
	h, err := e.Register(fmt.Sprint("org.example.", rng.IntN(4)), opampcustommessages.WithMaxQueuedMessages(rng.IntN(4)-1))
	if err != nil {
		return err
	}
	for range rng.IntN(4) {
		if ch, err := h.SendMessage("t", make([]byte, rng.IntN(2000))); err == nil && ch == nil {
			return errors.New("neither a channel nor an error")
		}
	}
	select {
	case <-h.Message():
	default:
	}
	for range 1 + rng.IntN(2) {
		h.Unregister()
	}
	return nil
}

func someSource(rng *rand.Rand) *componentstatus.InstanceID {
	kinds := []component.Kind{
		component.KindReceiver, component.KindProcessor, component.KindExporter, component.KindConnector, component.KindExtension,
	}
	signals := []pipeline.Signal{pipeline.SignalLogs, pipeline.SignalTraces, pipeline.SignalMetrics}
	var pipelines []pipeline.ID
	for range rng.IntN(4) {
		pipelines = append(pipelines, pipeline.NewIDWithName(signals[rng.IntN(3)], fmt.Sprint(rng.IntN(3))))
	}
	return componentstatus.NewInstanceID(
		component.MustNewIDWithName("c"+fmt.Sprint(rng.IntN(40)), ""), kinds[rng.IntN(len(kinds))], pipelines...)
}

// badError is an error whose author did not think of everything.
type badError struct{ text *string }

func (e badError) Error() string { return *e.text }

func someEvent(rng *rand.Rand) *componentstatus.Event {
	if rng.IntN(2000) == 0 {
		return nil
	}
	status := componentstatus.Status(rng.IntN(int(componentstatus.StatusStopped) + 1))
	var opts []componentstatus.EventBuilderOption
	switch rng.IntN(8) {
	case 0:
		opts = append(opts, componentstatus.WithError(errors.New("error "+fmt.Sprint(rng.IntN(5)))))
	case 1:
		if rng.IntN(20) == 0 {
			opts = append(opts, componentstatus.WithError(badError{}))
		}
	case 2:
		if rng.IntN(50) == 0 {
			opts = append(opts, componentstatus.WithError(errors.New(strings.Repeat("\xff<x>\n", 3000))))
		}
	case 3:
		attrs := pcommon.NewMap()
		attrs.PutInt("n", rng.Int64N(3))
		attrs.PutEmptySlice("s").AppendEmpty().SetStr("x")
		opts = append(opts, componentstatus.WithAttributes(attrs))
	}
	return componentstatus.NewEvent(status, opts...)
}

func someConfig(rng *rand.Rand) map[string]any {
	if rng.IntN(20) == 0 {
		return nil
	}
	return map[string]any{"receivers": map[string]any{"nop": rng.IntN(3)}, "service": map[string]any{"pipelines": rng.IntN(2)}}
}

// newMoodyServer is a server that works, or one that does whatever comes to its mind.
func newMoodyServer(t *testing.T, wild bool) *opamptest.Server {
	end := make(chan struct{})
	var work sync.WaitGroup
	script := opamptest.Script{}
	if wild {
		script = opamptest.Script{Accepted: wildAcceptance, Reply: wildReply}
		script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
			return wildRefusal(w, r, end)
		}
	}
	s := opamptest.NewServer(t, script)
	work.Go(func() { // hears, and hangs up now and then
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			s.Rest()
			if n%100 == 99 {
				s.HangUp()
			}
		}
	})
	t.Cleanup(func() {
		close(end)
		s.Close() // nobody comes any more
		work.Wait()
	})
	return s
}

func wildRefusal(w http.ResponseWriter, r *http.Request, end <-chan struct{}) bool {
	switch rand.IntN(8) { //nolint:gosec // any mood will do
	case 0:
		w.WriteHeader(http.StatusInternalServerError)
	case 1:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	case 2:
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
	case 3:
		select { // it hangs
		case <-r.Context().Done():
		case <-end:
		}
		return true
	default:
		return false
	}
	return true
}

func wildAcceptance(c *websocket.Conn) bool {
	switch rand.IntN(6) { //nolint:gosec // any mood will do
	case 0:
		_ = c.CloseNow()
		return false
	case 1:
		_ = c.Write(context.Background(), websocket.MessageText, []byte("hello"))
	case 2:
		_ = c.Write(context.Background(), websocket.MessageBinary, []byte{0, 0xff, 0xff})
	case 3:
		<-c.CloseRead(context.Background()).Done() // reads nothing of it
		return false
	}
	return true
}

func wildReply(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	reply := opamptest.Ack(msg)
	switch rand.IntN(8) { //nolint:gosec // any mood will do
	case 0:
		reply.Flags = rand.Uint64() //nolint:gosec // any bits
	case 1:
		reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
	case 2:
		reply.RemoteConfig, reply.Command = &protobufs.AgentRemoteConfig{}, &protobufs.ServerToAgentCommand{}
	case 3:
		reply.ErrorResponse = &protobufs.ServerErrorResponse{Type: protobufs.ServerErrorResponseType(rand.Int32N(3))} //nolint:gosec // any kind
	case 4:
		reply.InstanceUid = opampwire.NewInstanceUID().Bytes()
	case 5:
		reply.CustomMessage = &protobufs.CustomMessage{Capability: "none", Data: make([]byte, 1000)}
	case 6:
		reply.Capabilities = rand.Uint64() //nolint:gosec // any bits
	}
	return reply
}

// blackHole takes connections and whatever is sent on them, and says nothing.
func blackHole(t *testing.T) (address string) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	opamptest.EachConn(t, ln, func(c net.Conn, _ *sync.WaitGroup) { _, _ = io.Copy(io.Discard, c) })
	return ln.Addr().String()
}
