// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// scriptedAgent is an OpAMP agent that says what a test has it say, over WebSocket.
type scriptedAgent struct {
	uid      opampwire.InstanceUID
	seq      atomic.Uint64
	ws       *websocket.Conn
	answered chan struct{}                 // closed when the server has said something
	asked    chan *protobufs.CustomMessage // what the server sends
}

func (f *fleet) scriptAgent(t *testing.T, name string, capabilities ...string) *scriptedAgent {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+f.agents+"/v1/opamp", nil) //nolint:bodyclose // it has none
	require.NoError(t, err)
	a := &scriptedAgent{
		uid: opampwire.NewInstanceUID(), ws: ws,
		answered: make(chan struct{}), asked: make(chan *protobufs.CustomMessage, 100),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.listen()
	}()
	t.Cleanup(func() {
		_ = ws.CloseNow()
		<-ended
	})
	a.say(t, scriptedReport(name, capabilities...))
	return a
}

func scriptedReport(name string, capabilities ...string) *protobufs.AgentToServer {
	text := func(k, v string) *protobufs.KeyValue {
		return &protobufs.KeyValue{Key: k, Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: v}}}
	}
	return &protobufs.AgentToServer{
		Capabilities: 1 | 0x800, // ReportsStatus, ReportsHealth
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes:    []*protobufs.KeyValue{text("service.name", name), text("service.version", "0.155.0")},
			NonIdentifyingAttributes: []*protobufs.KeyValue{text("host.name", "replay-1.example.com")},
		},
		Health:             &protobufs.ComponentHealth{Healthy: true, Status: "StatusOK"},
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: capabilities},
	}
}

// listen takes what the server sends, until the connection ends.
func (a *scriptedAgent) listen() {
	var first sync.Once
	for {
		_, payload, err := a.ws.Read(context.Background())
		if err != nil {
			return
		}
		msg := new(protobufs.ServerToAgent)
		if opampwire.ParseFrame(payload, msg) != nil {
			continue
		}
		first.Do(func() { close(a.answered) })
		if msg.GetCustomMessage() != nil {
			a.asked <- msg.GetCustomMessage()
		}
	}
}

func (a *scriptedAgent) say(t *testing.T, msg *protobufs.AgentToServer) {
	t.Helper()
	msg.InstanceUid, msg.SequenceNum = a.uid.Bytes(), a.seq.Add(1)
	frame, err := opampwire.AppendFrame(nil, msg)
	require.NoError(t, err)
	require.NoError(t, a.ws.Write(t.Context(), websocket.MessageBinary, frame))
}

func (a *scriptedAgent) message(t *testing.T, capability, kind string, data []byte) {
	t.Helper()
	a.say(t, &protobufs.AgentToServer{
		CustomMessage: &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data},
	})
}

func (a *scriptedAgent) progress(t *testing.T, p ingestprogress.Progress) {
	t.Helper()
	p.Updated = time.Now().UnixNano()
	data, err := json.Marshal(p)
	require.NoError(t, err)
	a.message(t, ingestprogress.Capability, ingestprogress.TypeProgress, data)
}

// waitAnswer waits until the server has said something.
func (a *scriptedAgent) waitAnswer(t *testing.T) {
	t.Helper()
	select {
	case <-a.answered:
	case <-time.After(patience):
		require.Fail(t, "the server answers nothing")
	}
}

// waitAsked waits for what the server sends next.
func (a *scriptedAgent) waitAsked(t *testing.T) *protobufs.CustomMessage {
	t.Helper()
	select {
	case m := <-a.asked:
		return m
	case <-time.After(patience):
		require.Fail(t, "the server sends nothing")
		return nil
	}
}

// poll is an exchange of plain HTTP.
func (f *fleet) poll(t *testing.T, uid opampwire.InstanceUID, seq uint64, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	t.Helper()
	msg.InstanceUid, msg.SequenceNum = uid.Bytes(), seq
	raw, err := proto.Marshal(msg)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.agents+"/v1/opamp", bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	reply := new(protobufs.ServerToAgent)
	require.NoError(t, proto.Unmarshal(body, reply))
	return reply
}
