// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// observed counts what an Observer is told.
type observed struct {
	NopObserver
	mu     sync.Mutex
	counts map[string]int
}

func (o *observed) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = make(map[string]int)
	}
	o.counts[what]++
}

func (o *observed) Dialled(result string)       { o.note("dialled " + result) }
func (o *observed) Lost(reason string)          { o.note("lost " + reason) }
func (o *observed) Authenticated(result string) { o.note(result) }

func (o *observed) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts[what]
}

func TestServerAuthenticatesAgents(t *testing.T) {
	p := newPartner(t)
	var asked atomic.Int64
	p.refuse = func(r *http.Request) int {
		switch r.Header.Get("Authorization") {
		case "Bearer gateway", "Bearer good":
			asked.Add(1)
			return 0
		default:
			return http.StatusUnauthorized
		}
	}
	o := new(observed)
	way := endpoint(t, "ws://"+p.addr+"/v1/opamp")
	r := connected(t, Settings{
		Endpoints: []Endpoint{way}, Header: http.Header{"Authorization": {"Bearer gateway"}}, Observer: o,
		Auth: AuthSettings{Mode: AuthUpstream, Clients: []*http.Client{way.Client}},
	}, p)
	before := asked.Load()
	for range 5 {
		ws, _, err := r.dial(http.Header{"Authorization": {"Bearer good"}})
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	assert.Equal(t, before+1, asked.Load(), "once for all who have the same credentials")
	assert.Equal(t, []int{1, 4}, []int{o.count("accepted"), o.count("cached")})
	for _, header := range []http.Header{nil, {"Authorization": {"Bearer bad"}}, {"Authorization": {"Bearer good", "Bearer bad"}}} {
		_, resp, err := r.dial(header)
		if len(header["Authorization"]) == 2 {
			require.NoError(t, err, "the server sees what the gateway sees")
			continue
		}
		require.Error(t, err)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", header)
	}
	p.kill()
	r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "")
	_, resp, err := r.dial(http.Header{"Authorization": {"Bearer unknown"}})
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "nobody to ask: closed")
}

func TestConnectProtocol(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{Auth: AuthSettings{Mode: AuthConnect}, HandshakeTimeout: 3 * time.Second}, p)
	answers := map[string]connectResult{
		"Bearer good":  {Accept: true},
		"Bearer bad":   {HTTPStatusCode: 403, ResponseHeaders: map[string]string{"WWW-Authenticate": "Bearer"}},
		"Bearer odd":   {HTTPStatusCode: 7},
		"Bearer quiet": {RequestUID: "of somebody else"},
	}
	want := map[string]int{"Bearer good": 101, "Bearer bad": 403, "Bearer odd": 401, "Bearer quiet": 504}
	p.mu.Lock()
	p.nameless = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		var asked connectRequest
		if json.Unmarshal(msg.GetCustomMessage().GetData(), &asked) != nil {
			return nil
		}
		result := answers[asked.Headers.Get("Authorization")]
		if result.RequestUID == "" {
			result.RequestUID = asked.RequestUID
		}
		data, _ := json.Marshal(result)
		return &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{
			Capability: ConnectCapability, Type: connectResultType, Data: data,
		}}
	}
	p.mu.Unlock()
	for credentials, status := range want {
		ws, resp, err := r.dial(http.Header{"Authorization": {credentials}})
		require.Equal(t, status, resp.StatusCode, credentials)
		if err == nil {
			_ = ws.CloseNow()
		}
	}
}
