// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// nobody is an endpoint where nobody listens.
const nobody = "ws://127.0.0.1:1/v1/opamp"

// registered is a handler that the extension gives to whoever knows it by the contract.
func registered(t *testing.T, ext component.Component, capability string) opampcustommessages.CustomCapabilityHandler {
	t.Helper()
	registry, ok := ext.(opampcustommessages.CustomCapabilityRegistry)
	require.True(t, ok)
	h, err := registry.Register(capability)
	require.NoError(t, err)
	return h
}

// withQueue bounds how many messages of a capability wait.
func withQueue(size int) func(*Config) {
	return func(cfg *Config) { cfg.CustomMessages.QueueSize = size }
}

func mustEnd(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		require.FailNow(t, "still waiting: "+what)
	}
}

func TestB8UnregisterTwiceIsHarmless(t *testing.T) {
	e := startExtension(t, configFor(nobody), newSettings("b8"))
	h := registered(t, e, "org.example")
	h.Unregister()
	h.Unregister()
	_, err := h.SendMessage("t", nil)
	require.EqualError(t, err, "capability has already been unregistered")
	require.NoError(t, e.Shutdown(t.Context()))
	h.Unregister()
}

// TestB9NobodyWaitsForEver has components that wait as those of Bindplane do, for the
// channel and nothing else, while their Collector stops and the server is down.
func TestB9NobodyWaitsForEver(t *testing.T) {
	e := startExtension(t, configFor(nobody, withQueue(2)), newSettings("b9"))
	var components sync.WaitGroup
	full := make(chan struct{}, 3)
	for i := range 3 {
		h := registered(t, e, fmt.Sprintf("org.example.%d", i))
		components.Go(func() {
			for {
				sent, err := h.SendMessage("t", nil)
				switch {
				case err == nil:
					continue
				case errors.Is(err, types.ErrCustomMessagePending):
					full <- struct{}{}
					<-sent
				default:
					return // it will never be taken
				}
			}
		})
	}
	for range 3 {
		mustEnd(t, full, "for a full queue")
	}
	h := registered(t, e, "org.example.waits")
	delivered, err := h.SendMessage("t", nil)
	require.NoError(t, err)

	require.NoError(t, e.NotReady()) // comes before any component is shut down
	ended := make(chan struct{})
	go func() { components.Wait(); close(ended) }()
	mustEnd(t, ended, "components that wait for room")
	mustEnd(t, delivered, "a component that waits for delivery")
	require.NoError(t, e.Shutdown(t.Context()))
	_, err = h.SendMessage("t", nil)
	require.Error(t, err)
	require.NotErrorIs(t, err, types.ErrCustomMessagePending)
}

// custom is a predicate for messages that carry a custom message.
func custom(h opamptest.Heard) bool { return h.GetCustomMessage() != nil }

// TestCustomMessagesInAnyOrderOfStarts has one component that is there before the
// extension starts, and one that waits in its own Start for the server's answer: the
// pipelines do not run yet.
func TestCustomMessagesInAnyOrderOfStarts(t *testing.T) {
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				if m := msg.GetCustomMessage(); m != nil {
					reply.CustomMessage = &protobufs.CustomMessage{Capability: m.GetCapability(), Type: "answer", Data: m.GetData()}
				}
				return reply
			}})
			e := newTestExtension(t, configFor(server.URL(transport).String()), newSettings("custom-order-"+transport))
			early := registered(t, e, "org.example.early")
			_, err := early.SendMessage("hello", []byte("before Start"))
			require.NoError(t, err)
			require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
			late := registered(t, e, "org.example.late")
			sent, err := late.SendMessage("hello", []byte("before Ready"))
			require.NoError(t, err)
			require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(map[string]any{"receivers": nil})))
			for h, want := range map[opampcustommessages.CustomCapabilityHandler]string{early: "before Start", late: "before Ready"} {
				select {
				case msg := <-h.Message():
					require.Equal(t, "answer", msg.GetType())
					require.Equal(t, want, string(msg.GetData()))
				case <-time.After(patience):
					require.FailNow(t, "no answer", want)
				}
			}
			mustEnd(t, sent, "for the server's answer")
			first := server.Next(t)
			require.Equal(t, []string{"org.example.early", "org.example.late"}, first.GetCustomCapabilities().GetCapabilities())
			require.Nil(t, first.GetCustomMessage(), "the report comes first")
			require.NotNil(t, first.GetAgentDescription())

			require.NoError(t, e.Ready())
			late.Unregister()
			server.NextWith(t, func(h opamptest.Heard) bool {
				return len(h.GetCustomCapabilities().GetCapabilities()) == 1
			})
			early.Unregister()
			none := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetCustomCapabilities() != nil })
			require.Empty(t, none.GetCustomCapabilities().GetCapabilities())

			last := registered(t, e, "org.example.last")
			_, err = last.SendMessage("last words", nil)
			require.NoError(t, err)
			require.NoError(t, e.Shutdown(t.Context()))
			require.Equal(t, "last words", server.NextWith(t, custom).GetCustomMessage().GetType())
			server.NextWith(t, func(h opamptest.Heard) bool { return h.GetAgentDisconnect() != nil })

			after := registered(t, e, "org.example.after")
			_, err = after.SendMessage("t", nil)
			require.Error(t, err)
			require.Empty(t, after.Message())
			after.Unregister()
		})
	}
}

// newStorage is contrib's file_storage on a directory, as the Collector would start it.
func newStorage(t *testing.T, dir string) component.Component {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory = dir
	ext, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	return ext
}

func TestCustomMessagesOutliveARestart(t *testing.T) {
	storageID := component.MustNewID("file_storage")
	for key, keep := range map[string]func(*Config){
		"storage":                  func(cfg *Config) { cfg.Storage = &storageID },
		"custom_messages::storage": func(cfg *Config) { cfg.CustomMessages.Storage = &storageID },
	} {
		t.Run(key, func(t *testing.T) { testCustomMessagesOutliveARestart(t, key, storageID, keep) })
	}
}

func testCustomMessagesOutliveARestart(t *testing.T, key string, storageID component.ID, kept func(*Config)) {
	dir := t.TempDir()
	server := opamptest.NewServer(t, opamptest.Script{})
	run := func(endpoint string, use func(e *opampExtension)) {
		ext := newStorage(t, dir)
		e := newTestExtension(t, configFor(endpoint, kept), newSettings("custom-storage"))
		require.Contains(t, e.Dependencies(), storageID)
		require.NoError(t, e.Start(t.Context(), hostWith{storageID: ext}))
		require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(nil)))
		use(e)
		require.NoError(t, e.Shutdown(context.Background()))
		require.NoError(t, ext.Shutdown(context.Background()))
	}
	const each = 300
	for i := range 2 {
		run(nobody, func(e *opampExtension) {
			h := registered(t, e, "org.example")
			for j := range each {
				room, err := h.SendMessage("t", []byte(fmt.Sprint(i*each+j)))
				for errors.Is(err, types.ErrCustomMessagePending) { // until what was kept is there
					mustEnd(t, room, "for room")
					room, err = h.SendMessage("t", []byte(fmt.Sprint(i*each+j)))
				}
				require.NoError(t, err)
			}
		})
	}
	run(server.URL("ws").String(), func(*opampExtension) {
		for i := range 2 * each {
			msg := server.NextWith(t, custom).GetCustomMessage()
			require.Equal(t, fmt.Sprint(i), string(msg.GetData()))
		}
	})
	run(server.URL("ws").String(), func(e *opampExtension) {
		h := registered(t, e, "org.example")
		_, err := h.SendMessage("new", nil)
		require.NoError(t, err)
		require.Equal(t, "new", server.NextWith(t, custom).GetCustomMessage().GetType(), "what was answered does not come again")
	})

	missing := newTestExtension(t, configFor(nobody, kept), newSettings("custom-no-storage"))
	require.EqualError(t, missing.Start(t.Context(), hostWith{}), key+`: extension "file_storage" not found`)
	wrong := newTestExtension(t, configFor(nobody, kept), newSettings("custom-wrong-storage"))
	require.EqualError(t, wrong.Start(t.Context(), hostWith{storageID: missing}),
		key+`: extension "file_storage" is not a storage extension`)
}

func TestMetricsOfCustomMessages(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	telemetry := componenttest.NewTelemetry()
	set := newSettings("custom-metrics")
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	e := startExtension(t, configFor(server.URL("ws").String(), func(cfg *Config) {
		cfg.CustomMessages.MaxMessageSize = 2000
	}), set)
	h := registered(t, e, "org.example")
	sent, err := h.SendMessage("t", []byte("data"))
	require.NoError(t, err)
	mustEnd(t, sent, "for the server's answer")
	_, err = h.SendMessage("t", make([]byte, 3000))
	require.ErrorContains(t, err, "custom_messages::max_message_size")
	for range 11 {
		server.Push(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "org.example"}})
	}
	capability := attribute.String("capability", "org.example")
	counts := func(name string, want int64, more ...attribute.KeyValue) {
		t.Helper()
		require.Eventually(t, func() bool { return pointWith(telemetry, name, append(more, capability)...) == want },
			patience, time.Millisecond, name)
	}
	counts("otelcol_opamp_custom_sent", 1)
	counts("otelcol_opamp_custom_acknowledged", 1)
	counts("otelcol_opamp_custom_refused", 1, attribute.String("reason", "too_large"))
	counts("otelcol_opamp_custom_delivered", 10)
	counts("otelcol_opamp_custom_dropped", 1, attribute.String("reason", "queue_full"))
	size, ok := gauged[int64](telemetry, "otelcol_opamp_custom_queue_size", capability)
	assert.True(t, ok)
	assert.Zero(t, size)
}

func TestSupervisorsArePaced(t *testing.T) {
	require.Zero(t, loadTestdata(t, "opamp").customPace())
	require.Equal(t, supervisorPace, loadTestdata(t, "opamp/supervised").customPace())
}
