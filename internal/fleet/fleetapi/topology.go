// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Members of each gateway that a topology lists.
const (
	defaultMembers = 100
	maxMembers     = 1000
)

// topology is the answer to GET /api/v1/topology.
type topology struct {
	Server   topologyServer `json:"server"`
	Gateways []branch       `json:"gateways"`
	Omitted  int            `json:"omitted"`
	Position string         `json:"position"`
}

type topologyServer struct {
	Agents    int `json:"agents"`
	Connected int `json:"connected"`
	Behind    int `json:"behind"`
	Direct    int `json:"direct"`
}

// branch is a gateway and who is behind it.
type branch struct {
	gateway
	InstanceUID string                  `json:"instance_uid"`
	ServiceName string                  `json:"service_name"`
	HostName    string                  `json:"host_name"`
	Condition   fleet.Condition         `json:"condition"`
	Liveness    fleet.Liveness          `json:"liveness"`
	Parent      *gatewayRef             `json:"parent"`
	Depth       int                     `json:"depth"`
	Behind      []gatewayRef            `json:"behind"`
	Known       *int                    `json:"known"`
	Unknown     *int                    `json:"unknown"`
	Direct      *int                    `json:"direct"`
	Conditions  map[fleet.Condition]int `json:"conditions"`
	Members     []member                `json:"members"`
}

// gateway is what an agent tells of one. What was not told is null.
type gateway struct {
	Gateway      string            `json:"gateway"`
	Heard        time.Time         `json:"heard"`
	Updated      *time.Time        `json:"updated"`
	Started      *time.Time        `json:"started"`
	Told         bool              `json:"told"`
	Agents       int               `json:"agents"`
	Connections  int               `json:"connections"`
	Polling      int               `json:"polling"`
	Listed       *int              `json:"listed"`
	NotKept      int               `json:"not_kept"`
	Upstreams    []upstream        `json:"upstreams"`
	QueuedBytes  int               `json:"queued_bytes"`
	MessagesUp   uint64            `json:"messages_up"`
	MessagesDown uint64            `json:"messages_down"`
	BytesUp      uint64            `json:"bytes_up"`
	BytesDown    uint64            `json:"bytes_down"`
	Drops        map[string]uint64 `json:"drops"`
	Refused      map[string]uint64 `json:"refused"`
	Duplicates   uint64            `json:"duplicates"`
	Announced    uint64            `json:"announced"`
	Goodbyes     uint64            `json:"goodbyes"`
}

type upstream struct {
	Name              string  `json:"name"`
	Endpoint          string  `json:"endpoint"`
	Connected         bool    `json:"connected"`
	Idle              bool    `json:"idle"`
	Agents            int     `json:"agents"`
	QueuedBytes       int     `json:"queued_bytes"`
	AnswerTimeSeconds float64 `json:"answer_time_seconds"`
}

type gatewayRef struct {
	Gateway     string `json:"gateway"`
	InstanceUID string `json:"instance_uid"`
	ServiceName string `json:"service_name"`
	HostName    string `json:"host_name"`
}

type member struct {
	InstanceUID string          `json:"instance_uid"`
	ServiceName string          `json:"service_name"`
	HostName    string          `json:"host_name"`
	Condition   fleet.Condition `json:"condition"`
	Liveness    fleet.Liveness  `json:"liveness"`
}

func (a *API) showTopology(w http.ResponseWriter, r *http.Request) {
	values, err := parametersOf(r, "members")
	if err != nil {
		badRequest(w, err)
		return
	}
	members, err := parseNumber(values.Get("members"), defaultMembers, maxMembers)
	if err != nil {
		badRequest(w, fmt.Errorf("members: %w", err))
		return
	}
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	answer(w, http.StatusOK, newTopology(a.fleet.Topology(members)))
}

func newTopology(t fleet.Topology) topology {
	out := topology{
		Server:   topologyServer{Agents: t.Agents, Connected: t.Connected, Behind: t.Behind, Direct: max(t.Connected-t.Behind, 0)},
		Gateways: make([]branch, 0, len(t.Gateways)), Omitted: t.Omitted, Position: t.Position.String(),
	}
	for _, b := range t.Gateways {
		shown := newBranch(b)
		if b.Parent >= 0 {
			shown.Parent = &newGatewayRefs([]fleet.Carrier{t.Gateways[b.Parent].Carrier})[0]
		}
		out.Gateways = append(out.Gateways, shown)
	}
	return out
}

func newBranch(b fleet.Branch) branch {
	out := branch{
		gateway: newGateway(b.Gateway), InstanceUID: b.Agent.UID.String(),
		ServiceName: b.Agent.ServiceName(), HostName: b.Agent.HostName(),
		Condition: b.Agent.Condition(), Liveness: b.Agent.Liveness, Depth: b.Depth,
		Behind: newGatewayRefs(b.Behind), Conditions: map[fleet.Condition]int{}, Members: make([]member, 0, len(b.Members)),
	}
	if b.Counted {
		out.Known, out.Unknown, out.Direct = &b.Known, &b.Unknown, &b.Direct
		maps.Copy(out.Conditions, b.Conditions)
	}
	for _, m := range b.Members {
		out.Members = append(out.Members, member{
			InstanceUID: m.UID.String(), ServiceName: m.ServiceName(), HostName: m.HostName(),
			Condition: m.Condition(), Liveness: m.Liveness,
		})
	}
	return out
}

func newGatewayRefs(list []fleet.Carrier) []gatewayRef {
	out := make([]gatewayRef, 0, len(list))
	for _, c := range list {
		out = append(out, gatewayRef{
			Gateway: c.Gateway.Gateway, InstanceUID: c.Agent.UID.String(),
			ServiceName: c.Agent.ServiceName(), HostName: c.Agent.HostName(),
		})
	}
	return out
}

func newGateways(list []*fleet.Gateway) []gateway {
	out := make([]gateway, 0, len(list))
	for _, g := range list {
		out = append(out, newGateway(g))
	}
	return out
}

func newGateway(g *fleet.Gateway) gateway {
	out := gateway{
		Gateway: g.Gateway, Heard: g.Heard.UTC(), Updated: unixTime(g.Updated), Started: unixTime(g.Started), Told: g.Told,
		Agents: g.Agents, Connections: g.Connections, Polling: g.Polling, NotKept: g.Omitted,
		Upstreams: make([]upstream, 0, len(g.Upstreams)), QueuedBytes: g.QueuedBytes(),
		MessagesUp: g.MessagesUp, MessagesDown: g.MessagesDown, BytesUp: g.BytesUp, BytesDown: g.BytesDown,
		Drops: reasonCounts(g.Drops), Refused: reasonCounts(g.Refused),
		Duplicates: g.Duplicates, Announced: g.Announced, Goodbyes: g.Goodbyes,
	}
	if g.Listed {
		out.Listed = &g.Carried
	}
	for _, u := range g.Upstreams {
		out.Upstreams = append(out.Upstreams, upstream{
			Name: u.Name, Endpoint: u.Endpoint, Connected: u.Connected, Idle: u.Idle, Agents: u.Agents,
			QueuedBytes: u.QueuedBytes, AnswerTimeSeconds: u.AnswerTime,
		})
	}
	return out
}

func reasonCounts(m map[string]uint64) map[string]uint64 {
	if m == nil {
		return map[string]uint64{}
	}
	return m
}
