// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetapi"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// talkative is an agent's first report, which announces com.example.ping.
func talkative(name string) *protobufs.AgentToServer {
	msg := described(name)
	msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: []string{"com.example.ping"}}
	return msg
}

// post sends a custom message to an agent through the API, with pairs of header names and values.
func (s *server) post(t *testing.T, uid opampwire.InstanceUID, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.webURL()+"/api/v1/agents/"+uid.String()+"/custom-messages", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// requireMessageOnly proves that what was sent holds a custom message, and nothing that offers or orders anything.
func requireMessageOnly(t *testing.T, msg *protobufs.ServerToAgent) *protobufs.CustomMessage {
	t.Helper()
	msg.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		require.Contains(t, []protoreflect.Name{"instance_uid", "capabilities", "custom_message"}, field.Name())
		return true
	})
	require.Equal(t, mayClaim, msg.GetCapabilities())
	return msg.GetCustomMessage()
}

func TestCustomMessageReachesAnAgentOnAWebSocket(t *testing.T) {
	s := start(t, "", nopHost)
	a := connect(t, s)
	a.say(talkative("pinged"))
	resp := s.post(t, a.uid, `{"capability":"com.example.ping","type":"Ping","data":"are you there"}`)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	assert.JSONEq(t, `{"outcome":"delivered","expires":null}`, body(t, resp))

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, payload, err := a.ws.Read(ctx)
	require.NoError(t, err)
	msg := new(protobufs.ServerToAgent)
	require.NoError(t, opampwire.ParseFrame(payload, msg))
	m := requireMessageOnly(t, msg)
	assert.Equal(t, "Ping", m.GetType())
	assert.Equal(t, "are you there", string(m.GetData()))
	assert.Equal(t, a.uid.Bytes(), msg.GetInstanceUid())

	a.say(&protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{
		Capability: "com.example.ping", Type: "Pong", Data: []byte("here"),
	}})
	assert.Contains(t, body(t, get(t, s.webURL()+"/api/v1/agents/"+a.uid.String()+"/custom-messages")), `"text":"here"`)
}

func TestCustomMessageReachesAnAgentThatPolls(t *testing.T) {
	s := start(t, "", nopHost)
	uid := opampwire.NewInstanceUID()
	poll := func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		msg.InstanceUid = uid.Bytes()
		raw, err := proto.Marshal(msg)
		require.NoError(t, err)
		url := "http://" + s.agents.Addr().String() + s.config.Agents.Path
		resp, err := http.Post(url, "application/x-protobuf", bytes.NewReader(raw))
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		reply := new(protobufs.ServerToAgent)
		require.NoError(t, proto.Unmarshal([]byte(body(t, resp)), reply))
		return reply
	}
	requireListensOnly(t, poll(talkative("polls")))
	resp := s.post(t, uid, `{"capability":"com.example.ping","type":"Ping","data":"/w==","encoding":"base64"}`)
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	assert.Contains(t, body(t, resp), `"outcome":"queued"`)
	m := requireMessageOnly(t, poll(&protobufs.AgentToServer{SequenceNum: 1}))
	assert.Equal(t, []byte{0xff}, m.GetData())
	requireListensOnly(t, poll(&protobufs.AgentToServer{SequenceNum: 2}))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestWhoMayNotSendCustomMessages(t *testing.T) {
	s := start(t, "", nopHost)
	a := connect(t, s)
	a.say(talkative("pinged"))
	const ping = `{"capability":"com.example.ping"}`
	for _, tt := range []struct {
		body   string
		header []string
		status int
	}{
		{ping, []string{"Host", "evil.example:4321"}, http.StatusMisdirectedRequest},
		{ping, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{ping, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{ping, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType},
		{strings.Repeat(" ", fleetapi.MaxBodyBytes+1), nil, http.StatusRequestEntityTooLarge},
		{ping, []string{"Origin", s.webURL(), "Sec-Fetch-Site", "same-origin"}, http.StatusOK},
	} {
		assert.Equal(t, tt.status, s.post(t, a.uid, tt.body, tt.header...).StatusCode, fmt.Sprint(tt.header))
	}
	assert.Equal(t, http.StatusNotFound, s.post(t, opampwire.NewInstanceUID(), ping).StatusCode)
}
