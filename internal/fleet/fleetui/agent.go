// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// agentPage is the body of the page of one collector.
type agentPage struct {
	UID, Name, Version, Host string
	JSON                     string
	State                    badge
	Since                    moment
	Gone                     bool
	Dropped                  droppedParts
	Notice                   string // what to know before reading on; empty if nothing
	Facts                    []fact
	Problems                 []problem
	Before                   *beforePart
	Health                   *healthPart
	Graph                    *graphPart
	Timeline                 []eventRow
	Config                   *configPart
	Family                   *familyNote
	Components               *componentsPart
	Attributes               []attributeTable
	Capabilities             []string
	Ingests                  *ingestsPart
	Gateways                 []gatewayPart
	Behind                   []gatewayLink
	Messages                 *messagesPart
	Asked                    string // why a question could not be asked; empty for none
}

// fact is a line about the collector as a whole.
type fact struct {
	Name  string
	Word  string
	Look  string // of the word; "" is plain
	Help  string
	When  moment
	After string // plain text behind the time
}

type problem struct {
	Kind, ID, Name string
	Pipeline       string
	State          badge
	Error          string
	Since          moment
}

type attributeTable struct {
	Title      string
	Attributes []attribute
	Omitted    int
}

type attribute struct{ Key, Value string }

func (u *UI) agent(w http.ResponseWriter, r *http.Request) {
	a, ok := u.find(r)
	if !ok {
		u.unknownAgent(w, r)
		return
	}
	body := u.newAgentPage(r.Context(), a)
	body.Before = u.newBeforePart(r, a)
	if body.Ingests != nil && u.settings.MaySend(r) != nil {
		body.Ingests.Ask = nil // the button would lead nowhere
	}
	body.Graph = u.newGraphPart(a, r.URL.Query().Get("pipelines") == "table")
	body.Timeline = u.timeline(r.Context(), a)
	body.Behind = gatewayLinks(u.fleet.Behind(a.UID))
	body.Asked = answerText(r.URL.Query().Get("asked"))
	unread := 0
	if body.Family != nil {
		unread = body.Family.Unread
	}
	u.render(w, r, http.StatusOK, "agent.html", page{
		Title: agentName(a), Here: "/agents",
		// The stream starts at the version that this page shows. A change in between comes at once.
		Events: events(fleet.Position{Epoch: u.fleet.Position().Epoch, Version: a.Version}, a.UID, unread), Unread: unread,
		Body: body,
	})
}

func (u *UI) find(r *http.Request) (*fleet.Agent, bool) {
	uid, err := opampwire.ParseInstanceUID(r.PathValue("uid"))
	if err != nil {
		return nil, false
	}
	return u.fleet.Agent(uid)
}

func (u *UI) unknownAgent(w http.ResponseWriter, r *http.Request) {
	u.render(w, r, http.StatusNotFound, "missing.html", page{
		Title: "Not found",
		Body: missing{
			Heading: "No collector has this instance UID",
			Text: "It may have been forgotten to make room for others, or it has not reported since the server was " +
				"started. A collector that is restarted may come back with another instance UID.",
		},
	})
}

// config serves one file of the effective config as text.
func (u *UI) config(w http.ResponseWriter, r *http.Request) {
	a, ok := u.find(r)
	if !ok || a.Config == nil {
		u.unknownAgent(w, r)
		return
	}
	name := r.URL.Query().Get("name")
	u.writeFile(w, r, a.Config, name)
}

func (u *UI) writeFile(w http.ResponseWriter, r *http.Request, c *fleet.Config, name string) {
	i := slices.IndexFunc(c.Files, func(f fleet.ConfigFile) bool { return f.Name == name })
	if i < 0 {
		u.nothing(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(c.Files[i].Body)) // the client is gone if this fails
}

func (u *UI) newAgentPage(ctx context.Context, a *fleet.Agent) agentPage {
	now := u.now()
	out := agentPage{
		UID:          a.UID.String(),
		Name:         agentName(a),
		Version:      clean(short(a.ServiceVersion(), 60)),
		Host:         clean(short(a.HostName(), 120)),
		JSON:         "/api/v1/agents/" + a.UID.String(),
		State:        agentBadge(a),
		Since:        since(a, now),
		Gone:         !a.Present(),
		Dropped:      newDroppedParts(a.Dropped),
		Notice:       notice(a),
		Facts:        u.facts(a),
		Health:       newHealthPart(a.Health, now),
		Config:       newConfigPart(a.Config, agentURL(a)+"/config"),
		Family:       u.newFamilyNote(ctx, a),
		Attributes:   attributeTables(a.Description),
		Capabilities: a.Capabilities.Names(),
		Ingests:      u.newIngestsPart(a),
		Gateways:     newGatewaysPart(a, now),
		Messages:     newMessagesPart(a, now),
	}
	out.Components = newComponentsPart(a.Components, usedBy(a, out.Family))
	for _, p := range a.Problems {
		out.Problems = append(out.Problems, newProblem(p, out.Gone, now))
	}
	return out
}

func newProblem(p fleet.Problem, past bool, now time.Time) problem {
	out := problem{
		Kind: p.Kind, ID: clean(p.ID), Name: componentName(p), Pipeline: clean(p.Pipeline),
		State: statusBadge(false, p.Status), Error: clean(p.Error), Since: lasts(p.Since, now),
	}
	if past { // nobody knows how long it lasted
		out.Since = ago(p.Since, now)
	}
	return out
}

func notice(a *fleet.Agent) string {
	switch {
	case a.Present():
		return ""
	case a.Liveness == fleet.LivenessGoodbye:
		return "This collector said goodbye. What follows is what it last reported."
	default:
		return livenessBadges[a.Liveness].Help + " What follows is what it last reported."
	}
}

// droppedParts tells what a part that is not there was not kept for.
type droppedParts struct {
	Config, Components bool
	Notice             string // names all that was dropped; empty if nothing was
}

var partWords = []struct {
	part fleet.Parts
	word string
}{
	{fleet.PartHealth, "health"},
	{fleet.PartConfig, "effective config"},
	{fleet.PartComponents, "components"},
	{fleet.PartDescription, "attributes"},
	{fleet.PartCustomCapabilities, "custom capabilities"},
	{fleet.PartMessages, "custom messages, replays and gateways"},
}

func newDroppedParts(p fleet.Parts) droppedParts {
	out := droppedParts{Config: p&fleet.PartConfig != 0, Components: p&fleet.PartComponents != 0}
	var words []string
	for _, w := range partWords {
		if p&w.part != 0 {
			words = append(words, w.word)
		}
	}
	if len(words) > 0 {
		out.Notice = "All collectors together report more than this server may keep (limits.max_memory). " +
			"Of this one it keeps only the gist of: " + strings.Join(words, ", ") + "."
	}
	return out
}

// facts are about the collector as a whole. When it was heard last matters only for one that is gone: the heartbeats
// of one that is there are no news, so the page would not keep up with them.
func (u *UI) facts(a *fleet.Agent) (out []fact) {
	now := u.now()
	live := livenessBadges[a.Liveness]
	presence := fact{Name: "Presence", Word: live.Word, Look: live.Look, Help: live.Help}
	if a.Present() {
		presence.When = lasts(a.LivenessSince, now)
		out = append(out, presence)
	} else {
		presence.When = ago(a.LivenessSince, now)
		out = append(out, presence, fact{Name: "Last heard", When: ago(a.LastSeen, now)})
	}
	if h := a.Health; h != nil {
		b := statusBadge(h.Healthy, h.Status)
		out = append(out,
			fact{Name: "Reported status", Word: b.Word, Look: b.Look, When: ago(h.Since, now)},
			fact{Name: "Started", When: ago(h.StartedAt, now)})
	}
	out = append(out,
		fact{Name: "First seen", When: ago(a.FirstSeen, now)},
		fact{Name: "Transport", Word: transportWord(a.Transport), After: clean(a.RemoteAddr)})
	return slices.DeleteFunc(out, func(f fact) bool { return f.Word == "" && f.When.Machine == "" })
}

func attributeTables(d *fleet.Description) (out []attributeTable) {
	if d == nil {
		return nil
	}
	for _, t := range []struct {
		title string
		list  []fleet.Attribute
	}{
		{"Identifying", d.Identifying},
		{"Describing", d.NonIdentifying},
	} {
		if len(t.list) > 0 {
			out = append(out, attributeTable{Title: t.title, Attributes: attributeRows(t.list)})
		}
	}
	if len(out) > 0 {
		out[len(out)-1].Omitted = d.Omitted
	}
	return out
}

func attributeRows(list []fleet.Attribute) (out []attribute) {
	for _, a := range list {
		out = append(out, attribute{Key: clean(a.Key), Value: clean(attributeText(a.Value))})
	}
	return out
}

// configPart shows the effective config.
type configPart struct {
	Files   []configFile
	Omitted int
	Hash    string
}

type configFile struct {
	ID, Title string
	Key       string // changes with the content: what is shown already need not be looked at again
	URL       string
	Lines     []line
	More      int // lines left out of the page
	Truncated bool
	Empty     bool
}

// newConfigPart shows the files of c, whose texts are at an address.
func newConfigPart(c *fleet.Config, texts string) *configPart {
	if c == nil {
		return nil
	}
	out := &configPart{Omitted: c.Omitted, Hash: c.Hash()[:12]}
	for i, f := range c.Files {
		v := configFile{
			ID:        "config-" + strconv.Itoa(i),
			Title:     clean(short(f.Name, 120)),
			Key:       c.Hash(),
			URL:       texts + "?" + url.Values{"name": {f.Name}}.Encode(),
			Truncated: f.Truncated,
			Empty:     strings.TrimSpace(f.Body) == "",
		}
		v.Lines, v.More = highlight(f.Body)
		out.Files = append(out.Files, v)
	}
	return out
}
