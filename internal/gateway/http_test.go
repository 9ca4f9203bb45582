// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// poller is an agent over plain HTTP.
type poller struct {
	r   *rig
	uid opampwire.InstanceUID
	seq uint64
	via http.Header
}

func (a *poller) post(msg *protobufs.AgentToServer) (int, *protobufs.ServerToAgent) {
	a.r.t.Helper()
	a.seq++
	msg.InstanceUid, msg.SequenceNum = a.uid.Bytes(), a.seq
	body, err := proto.Marshal(msg)
	require.NoError(a.r.t, err)
	req, err := http.NewRequest(http.MethodPost, "http://"+a.r.addr+"/v1/opamp", bytes.NewReader(body))
	require.NoError(a.r.t, err)
	for k, v := range a.via {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.r.t, err)
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	require.NoError(a.r.t, err)
	reply := new(protobufs.ServerToAgent)
	if resp.StatusCode == http.StatusOK {
		require.NoError(a.r.t, proto.Unmarshal(got, reply))
		require.Equal(a.r.t, a.uid.Bytes(), reply.GetInstanceUid())
	}
	return resp.StatusCode, reply
}

func (a *poller) poll(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	a.r.t.Helper()
	status, reply := a.post(msg)
	require.Equal(a.r.t, http.StatusOK, status)
	return reply
}

func TestPollingAgentsOverAWebSocket(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{HTTPSilence: 5 * time.Second, Grace: 100 * time.Millisecond, MaxQueuedMessages: 4}, p)
	a := &poller{r: r, uid: opamp(1)}
	first := a.poll(described("poller"))
	assert.Equal(t, []string{"test.custom"}, first.GetCustomCapabilities().GetCapabilities())
	for range 3 {
		assert.Zero(t, a.poll(&protobufs.AgentToServer{}).GetFlags(), "numbers in order, nothing lost")
	}
	for i := range 2 {
		p.push(a.uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Type: string(rune('a' + i))}})
	}
	r.eventually(func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.boxes[a.uid].count() >= 6
	}, "")
	assert.Equal(t, "a", a.poll(&protobufs.AgentToServer{}).GetCustomMessage().GetType(), "the mailbox keeps their order")
	assert.Equal(t, "b", a.poll(&protobufs.AgentToServer{}).GetCustomMessage().GetType())
	assert.Nil(t, a.poll(&protobufs.AgentToServer{}).GetCustomMessage())
	r.waitDropped(ReasonSuperseded, 1)
	for range 10 {
		p.push(a.uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{}})
	}
	r.waitDropped(ReasonMailboxFull, 1)
	assert.Equal(t, 1, p.connections())
	r.eventually(func() bool { return p.agent(a.uid).goodbyes == 1 }, "who polls no more has gone")
}

func TestPollingAgentWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	p.silent = func(msg *protobufs.AgentToServer) bool { return msg.GetAgentDescription() == nil }
	r := connected(t, Settings{HTTPAnswer: 3 * time.Second}, p)
	a := &poller{r: r, uid: opamp(1)}
	a.poll(described("poller"))
	assert.True(t, proto.Equal(&protobufs.ServerToAgent{InstanceUid: a.uid.Bytes()}, a.poll(&protobufs.AgentToServer{})))
	assert.Equal(t, int64(1), r.unanswered.Load())
}

func TestPollingAgentDuringAnOutage(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	a := &poller{r: r, uid: opamp(1)}
	a.poll(described("poller"))
	p.kill()
	r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "")
	status, _ := a.post(&protobufs.AgentToServer{})
	assert.Equal(t, http.StatusServiceUnavailable, status)
	p.revive()
	r.eventually(func() bool { return r.pool.connected.Load() == 1 }, "")
	r.eventually(func() bool { return p.agent(a.uid).full > 0 }, "it is announced")
	assert.NotZero(t, a.poll(described("poller")).GetFlags())
}

// What an agent that polls leaves in its mailbox when it says goodbye is no loss.
func TestPollingAgentSaysGoodbye(t *testing.T) {
	for name, tt := range map[string]struct {
		last *protobufs.AgentToServer
		lost int64
	}{
		"goodbye":        {&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}}, 0},
		"without a word": {&protobufs.AgentToServer{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{}, p)
			a := &poller{r: r, uid: opamp(1)}
			a.poll(described("poller"))
			a.poll(tt.last)
			p.push(a.uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Type: "late"}})
			r.mu.Lock()
			box := r.boxes[a.uid]
			r.mu.Unlock()
			r.eventually(func() bool { return box.count() == 3 }, "it has come")
			assert.Equal(t, tt.lost, box.empty())
		})
	}
}

// An agent that polls takes another instance UID with its next poll, and with it another mailbox.
func TestServerRenamesAnAgentThatPolls(t *testing.T) {
	p := newPartner(t)
	old, next := opamp(1), opamp(2)
	p.reply = func(msg *protobufs.AgentToServer, reply *protobufs.ServerToAgent) {
		if opampwire.InstanceUID(msg.GetInstanceUid()) == old {
			reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: next.Bytes()}
		}
	}
	r := connected(t, Settings{}, p)
	a := &poller{r: r, uid: old}
	require.Equal(t, next.Bytes(), a.poll(described("poller")).GetAgentIdentification().GetNewInstanceUid())
	a.uid = next
	a.poll(described("poller"))
	p.push(next, &protobufs.ServerToAgent{Flags: 4})
	r.eventually(func() bool { return a.poll(&protobufs.AgentToServer{}).GetFlags() == 4 }, "")
	assert.Equal(t, uint64(1), r.Stats().Renamed)
	n, _, _ := r.router.snapshot()
	assert.Equal(t, 1, n, "the old name is gone")
	assert.Zero(t, r.duplicates(DuplicatesReplace))
	assert.Zero(t, r.drop.counts()[ReasonDuplicate])
}

func TestPollingAgentAndItsDoubleOnAWebSocket(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Duplicates: DuplicatesRefuse}, p)
	a := r.arrive()
	status, _ := (&poller{r: r, uid: a.uid}).post(described("thief"))
	assert.Equal(t, http.StatusConflict, status)
	a.beat()
}

// After an outage a server over plain HTTP is told of whom it has missed, as one over a WebSocket is. Whom it has refused
// it is not told of, for the gateway has other credentials.
func TestServerOverPlainHTTPIsBack(t *testing.T) {
	p := newPartner(t)
	r := newRig(t, Settings{}, "http://"+p.addr+"/v1/opamp")
	known, stranger := r.arrive(), r.connect(opampwire.NewInstanceUID())
	p.kill()
	known.send(&protobufs.AgentToServer{})
	stranger.send(described("stranger"))
	r.waitDropped(ReasonUpstreamFailed, 2)
	p.revive()
	for _, a := range []*testAgent{known, stranger} {
		a.awaitFlags(uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState))
	}

	refused := r.connect(opampwire.NewInstanceUID())
	p.mu.Lock()
	p.refuse = func(*http.Request) int { return http.StatusUnauthorized }
	p.mu.Unlock()
	before := r.Stats()
	refused.send(described("refused"))
	r.waitDropped(ReasonUpstreamFailed, before.Drops[ReasonUpstreamFailed]+1)
	after := r.Stats()
	assert.Zero(t, after.Unannounced)
	assert.Equal(t, before.Announced, after.Announced)
}

// An endpoint over plain HTTP that answers for a server which is not there is none.
func TestFailoverOverPlainHTTP(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	p := newPartner(t)
	r := newRig(t, Settings{Endpoints: []Endpoint{
		endpoint(t, "http://"+proxy.Listener.Addr().String()+"/v1/opamp"), endpoint(t, "http://"+p.addr+"/v1/opamp"),
	}}, "")
	a := r.connect(opampwire.NewInstanceUID())
	a.send(described("agent"))
	a.awaitFlags(uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState))
	assert.Zero(t, a.report().GetFlags())
}

func TestServerOverPlainHTTP(t *testing.T) {
	p := newPartner(t)
	r := newRig(t, Settings{Grace: 100 * time.Millisecond, ForwardHeaders: []string{"Authorization"}}, "http://"+p.addr+"/v1/opamp")
	ws := r.arrive()
	assert.Zero(t, ws.beat().GetFlags())
	poll := &poller{r: r, uid: opamp(1), via: http.Header{"Authorization": {"Bearer a"}}}
	poll.poll(described("poller"))
	assert.Zero(t, poll.poll(&protobufs.AgentToServer{}).GetFlags())
	p.mu.Lock()
	assert.Equal(t, "Bearer a", p.headers[len(p.headers)-1].Get("Authorization"))
	p.mu.Unlock()
	ws.vanish()
	r.eventually(func() bool { return p.agent(ws.uid).goodbyes == 1 }, "")

	p.kill()
	status, _ := poll.post(&protobufs.AgentToServer{})
	assert.Equal(t, http.StatusServiceUnavailable, status)
	r.waitDropped(ReasonUpstreamFailed, 1)
	p.revive()
	var reply *protobufs.ServerToAgent
	r.eventually(func() bool { // on which of its idle connections that were broken the gateway tries is chance
		status, reply = poll.post(&protobufs.AgentToServer{})
		return status == http.StatusOK
	}, "the server is back")
	assert.NotZero(t, reply.GetFlags(), "a message is missing")
}
