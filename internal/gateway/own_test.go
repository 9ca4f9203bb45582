// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// reception tells a fleet what agents say.
type reception struct{ *fleet.Fleet }

func (r reception) OnMessage(_ context.Context, c opampserver.ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return r.Report(fleet.Conn(c), msg, time.Now())
}

func (r reception) OnClose(c opampserver.ConnInfo) { r.Disconnected(fleet.Conn(c), time.Now()) }

// ownServer is our own server, and where it is.
func ownServer(t *testing.T) (f *fleet.Fleet, address string) {
	t.Helper()
	f = fleet.New(fleet.Settings{})
	s := opampserver.New(opampserver.Settings{}, reception{f})
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		web.Close()
	})
	return f, "ws://" + web.Listener.Addr().String() + "/v1/opamp"
}

// reached is a rig that has a connection to whatever is there.
func reached(t *testing.T, set Settings, address string) *rig {
	t.Helper()
	r := newRig(t, set, address)
	r.eventually(func() bool { return r.pool.connected.Load() > 0 }, "no connection to %s", address)
	return r
}

func liveness(f *fleet.Fleet, uid opampwire.InstanceUID) fleet.Liveness {
	a, _ := f.Agent(uid)
	return a.Liveness
}

// An agent that is back over another gateway is not dead because the first one misses it.
func TestAgentThatMovedToAnotherGateway(t *testing.T) {
	t.Parallel()
	f, server := ownServer(t)
	set := Settings{Grace: 3 * time.Second}
	a, b := reached(t, set, server), reached(t, set, server)
	was := a.arrive()
	was.vanish()
	is := b.connect(was.uid)
	is.seq = was.seq
	is.report()
	a.eventually(func() bool { return a.Stats().Goodbyes == 1 }, "the first gateway misses nobody")
	b.eventually(func() bool { return f.Stats().ForeignGoodbyes == 1 }, "its goodbye does not arrive")
	assert.Equal(t, fleet.LivenessConnected, liveness(f, was.uid))
	assert.Zero(t, is.beat().GetFlags())
	assert.Zero(t, f.Stats().Duplicates)

	is.vanish()
	b.eventually(func() bool { return liveness(f, was.uid) == fleet.LivenessGoodbye }, "now it has gone")
}

// The same behind a gateway that both go over: there one connection speaks for an agent at a time.
func TestAgentThatMovedBehindAThirdGateway(t *testing.T) {
	t.Parallel()
	f, server := ownServer(t)
	upper := reached(t, Settings{MaxPerConnection: 100}, server)
	set := Settings{Grace: 3 * time.Second}
	above := "ws://" + upper.addr + "/v1/opamp"
	a, b := reached(t, set, above), reached(t, set, above)
	a.arrive() // each has others
	b.arrive()
	was := a.arrive()
	was.vanish()
	is := b.connect(was.uid)
	is.seq = was.seq
	refused := is.say(described("moved"))
	require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable, refused.GetErrorResponse().GetType(),
		"it is told alone; the first still has it, as far as one can know")
	upper.waitDropped(ReasonDuplicate, 1)
	a.eventually(func() bool { return liveness(f, was.uid) == fleet.LivenessGoodbye }, "the first gateway lets go of it")
	is.report()
	assert.Equal(t, fleet.LivenessConnected, liveness(f, was.uid))

	late := a.connect(was.uid) // and what the first still says of it is nothing
	late.send(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
	upper.waitDropped(ReasonDuplicate, 2)
	is.beat()
	assert.Equal(t, fleet.LivenessConnected, liveness(f, was.uid))
	assert.Equal(t, int32(1), a.pool.connected.Load(), "nobody loses a connection for it")
	assert.Zero(t, f.Stats().ForeignGoodbyes)
}

// Two agents with one instance UID over two gateways meet at the server only, which gives one of them another.
func TestTwoAgentsOverTwoGateways(t *testing.T) {
	f, server := ownServer(t)
	a, b := reached(t, Settings{}, server), reached(t, Settings{}, server)
	first := a.arrive()
	second := b.connect(first.uid)
	second.report()
	var given []byte
	for range 20 {
		first.beat()
		if given = second.beat().GetAgentIdentification().GetNewInstanceUid(); given != nil {
			break
		}
	}
	require.Len(t, given, 16, "the later one is given another")
	second.uid = opampwire.InstanceUID(given)
	second.seq = 0
	second.report()
	first.beat()
	for _, agent := range []*testAgent{first, second} {
		assert.Equal(t, fleet.LivenessConnected, liveness(f, agent.uid))
	}
	assert.Equal(t, uint64(1), f.Stats().Reidentified)
	assert.Zero(t, sum(a.drop.counts())+sum(b.drop.counts()))
	b.eventually(func() bool { return b.Stats().Renamed == 1 }, "the gateway follows it")
}

// What the gateway does not look into is the server's to refuse. It costs its sender, and nobody who shares the connection.
func TestMessagesThatOnlyTheServerRefuses(t *testing.T) {
	t.Parallel()
	deep := &protobufs.ComponentHealth{}
	for range 3000 {
		deep = &protobufs.ComponentHealth{ComponentHealthMap: map[string]*protobufs.ComponentHealth{"c": deep}}
	}
	for name, tail := range map[string][]byte{
		"a string that is not UTF-8": {0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff},
		"garbage in a description":   {0x1a, 3, 0xff, 0xff, 0xff},
		"20,000 levels":              nested(20_000),
		"200,000 elements":           append([]byte{0x62, 0x80, 0xb5, 0x18}, bytes.Repeat([]byte{0x0a, 0}, 200_000)...),
	} {
		t.Run(name, func(t *testing.T) {
			f, server := ownServer(t)
			o := new(observed)
			r := reached(t, Settings{Observer: o}, server)
			good, bad := r.arrive(), r.connect(opampwire.NewInstanceUID())
			message := append(opampwire.AppendHeartbeat(nil, bad.uid, 1), tail...)
			for range 10 {
				bad.sendRaw(message)
				reply := bad.receive()
				require.Equal(t, bad.uid.Bytes(), reply.GetInstanceUid(), "it is told to whom it concerns")
				require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, reply.GetErrorResponse().GetType())
			}
			good.beat()
			assert.Equal(t, int64(10), r.Stats().ServerErrors)
			assert.Equal(t, fleet.LivenessConnected, liveness(f, good.uid))
			for _, lost := range []string{"closed_by_server", "network", "protocol"} {
				assert.Zero(t, o.count("lost "+lost))
			}
			bad.send(&protobufs.AgentToServer{Health: deep}) // deep, and yet within what a decoder takes
			assert.Nil(t, bad.receive().GetErrorResponse())
		})
	}
}

// nested is a health (field 5) with as many levels.
func nested(levels int) []byte {
	size := make([]int, levels+1) // of the value at each level
	for i := levels - 1; i >= 0; i-- {
		entry := 1 + protowire.SizeBytes(size[i+1])
		size[i] = 1 + protowire.SizeBytes(entry)
	}
	b := protowire.AppendVarint([]byte{5<<3 | 2}, uint64(size[0]))
	for i := range levels {
		b = protowire.AppendVarint(append(b, 6<<3|2), uint64(1+protowire.SizeBytes(size[i+1]))) // component_health_map
		b = protowire.AppendVarint(append(b, 2<<3|2), uint64(size[i+1]))                        // value
	}
	return b
}

// Our own agent, over both transports, through the gateway to our own server.
func TestOwnAgentAndServer(t *testing.T) {
	f, server := ownServer(t)
	r := newRig(t, Settings{MinConnections: 2, Grace: 100 * time.Millisecond}, server)
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(*testing.T) {
			uid := opampwire.NewInstanceUID()
			c := opampclient.New(opampclient.Settings{
				Endpoint:        &url.URL{Scheme: scheme, Host: r.addr, Path: "/v1/opamp"},
				PollingInterval: 50 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond,
			}, opampclient.Report{
				InstanceUID: uid,
				Capabilities: protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
					protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat | protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth,
				Description: described("ours").GetAgentDescription(),
				Health:      &protobufs.ComponentHealth{Healthy: true},
			})
			c.Start()
			r.eventually(func() bool {
				a, known := f.Agent(uid)
				return known && a.Liveness == fleet.LivenessConnected
			}, "the server does not know it")
			before := r.up.messages.Load()
			r.eventually(func() bool { return r.up.messages.Load() > before+5 }, "it does not beat")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c.Stop(ctx)
			r.eventually(func() bool { a, _ := f.Agent(uid); return a.Liveness == fleet.LivenessGoodbye }, "it is still there")
		})
	}
	assert.Zero(t, f.Stats().FullStateRequests, "nothing is lost on the way")
	assert.Zero(t, f.Stats().Duplicates)
}
