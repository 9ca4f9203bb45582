// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// detail is the answer to GET /api/v1/agents/{uid}. A part that the agent never reported is null, and so may be one
// that is in dropped.
type detail struct {
	summary
	SequenceNum         uint64         `json:"sequence_num"`
	Capabilities        []string       `json:"capabilities"`
	CustomCapabilities  []string       `json:"custom_capabilities"`
	Description         *description   `json:"description"`
	Health              *health        `json:"health"`
	Problems            []problem      `json:"problems"`
	EffectiveConfig     *config        `json:"effective_config"`
	AvailableComponents *componentList `json:"available_components"`
	CustomMessages      messageList    `json:"custom_messages"`
	Ingests             []ingest       `json:"ingests"`
	Gateways            []gateway      `json:"gateways"`
	Behind              []gatewayRef   `json:"behind"`
	Dropped             []string       `json:"dropped"`
}

type description struct {
	Identifying    attributes `json:"identifying"`
	NonIdentifying attributes `json:"non_identifying"`
	Omitted        int        `json:"omitted"`
}

// attributes keep the types of their values as far as JSON has them.
type attributes map[string]any

type health struct {
	Name       string     `json:"name"`
	Healthy    bool       `json:"healthy"`
	Status     string     `json:"status"`
	LastError  string     `json:"last_error"`
	Since      time.Time  `json:"since"`
	StartedAt  *time.Time `json:"started_at"`
	Attributes attributes `json:"attributes"`
	Components []health   `json:"components"`
	Omitted    int        `json:"omitted"`
}

type config struct {
	Hash    string                `json:"hash"`
	Files   map[string]configFile `json:"files"`
	Omitted int                   `json:"omitted"`
	Masked  int                   `json:"masked"`
}

type configFile struct {
	ContentType string `json:"content_type"`
	Role        string `json:"role"`
	Body        string `json:"body"`
	Size        int    `json:"size"`
	Truncated   bool   `json:"truncated"`
}

type componentList struct {
	Hash       string      `json:"hash"`
	Listed     bool        `json:"listed"`
	Components []component `json:"components"`
	Omitted    int         `json:"omitted"`
}

type component struct {
	Name       string      `json:"name"`
	Metadata   attributes  `json:"metadata"`
	Components []component `json:"components"`
}

func (a *API) showAgent(w http.ResponseWriter, r *http.Request) {
	if agent, ok := a.find(w, r); ok {
		d := newDetail(agent, a.now())
		d.Behind = newGatewayRefs(a.fleet.Behind(agent.UID))
		answer(w, http.StatusOK, d)
	}
}

// find is the agent that the path names. Where there is none, the request has been answered.
func (a *API) find(w http.ResponseWriter, r *http.Request) (*fleet.Agent, bool) {
	uid, err := opampwire.ParseInstanceUID(r.PathValue("uid"))
	if err != nil {
		badRequest(w, fmt.Errorf("instance_uid: %w", err))
		return nil, false
	}
	agent, ok := a.fleet.Agent(uid)
	if !ok {
		fail(w, http.StatusNotFound, "not_found", "no agent with instance_uid "+uid.String()+" is known")
	}
	return agent, ok
}

func newDetail(a *fleet.Agent, now time.Time) detail {
	d := detail{
		summary:             summarize(a, now),
		SequenceNum:         a.Seq,
		Capabilities:        append([]string{}, a.Capabilities.Names()...),
		CustomCapabilities:  append([]string{}, a.CustomCapabilities...),
		Description:         newDescription(a.Description),
		Problems:            make([]problem, 0, len(a.Problems)),
		EffectiveConfig:     newConfig(a.Config),
		AvailableComponents: newComponentList(a.Components),
		CustomMessages:      newMessageList(a),
		Ingests:             newIngests(a.Ingests),
		Gateways:            newGateways(a.Gateways),
		Dropped:             append([]string{}, a.Dropped.Names()...),
	}
	if a.Health != nil {
		h := newHealth(a.Health)
		d.Health = &h
	}
	for _, p := range a.Problems {
		d.Problems = append(d.Problems, newProblem(p))
	}
	return d
}

func newDescription(d *fleet.Description) *description {
	if d == nil {
		return nil
	}
	return &description{
		Identifying:    newAttributes(d.Identifying),
		NonIdentifying: newAttributes(d.NonIdentifying),
		Omitted:        d.Omitted,
	}
}

func newAttributes(list []fleet.Attribute) attributes {
	out := make(attributes, len(list))
	for _, a := range list {
		out[a.Key] = newValue(a.Value)
	}
	return out
}

// newValue gives JSON what it can't say itself: bytes are base64 under "bytes", and numbers that are none are words.
func newValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return map[string]string{"bytes": base64.StdEncoding.EncodeToString(v)}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case []fleet.Attribute:
		return newAttributes(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, newValue(e))
		}
		return out
	default:
		return v
	}
}

func newHealth(h *fleet.Health) health {
	out := health{
		Name:       h.Name,
		Healthy:    h.Healthy,
		Status:     h.Status,
		LastError:  h.LastError,
		Since:      h.Since.UTC(),
		StartedAt:  knownTime(h.StartedAt),
		Attributes: newAttributes(h.Attributes),
		Components: make([]health, 0, len(h.Children)),
		Omitted:    h.Omitted,
	}
	for _, c := range h.Children {
		out.Components = append(out.Components, newHealth(c))
	}
	return out
}

func newConfig(c *fleet.Config) *config {
	if c == nil {
		return nil
	}
	out := &config{Hash: c.Hash(), Files: make(map[string]configFile, len(c.Files)), Omitted: c.Omitted, Masked: c.Masked}
	for _, f := range c.Files {
		out.Files[f.Name] = configFile{
			ContentType: f.ContentType, Role: f.Role, Body: f.Body, Size: f.Size, Truncated: f.Truncated,
		}
	}
	return out
}

func newComponentList(c *fleet.Components) *componentList {
	if c == nil {
		return nil
	}
	return &componentList{
		Hash: c.HashText(), Listed: c.Listed, Components: newComponents(c.List), Omitted: c.Omitted,
	}
}

func newComponents(list []*fleet.Component) []component {
	out := make([]component, 0, len(list))
	for _, c := range list {
		out = append(out, component{
			Name: c.Name, Metadata: newAttributes(c.Metadata), Components: newComponents(c.Children),
		})
	}
	return out
}
