// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// configsPage is the body of the page of configs.
type configsPage struct {
	Bar                       queryBar
	Known                     int
	Families                  []familyPart
	Distinct, Configs, Agents int
	None                      int
	NoneURL                   string
	JSON                      string
}

// familyPart is the configs that do the same.
type familyPart struct {
	ID, Label string
	Agents    int
	Variants  []variantPart
	Omitted   int
	Drifted   int
	DriftURL  string
	URL       string
	Split     bool // no variant is that of most
}

type variantPart struct {
	ID       string
	Agents   int
	Width    int
	Most     bool // most of the family run it
	Drifted  bool
	URL      string // who runs it
	Config   string // the page of a config of it
	Diff     string // to the one of most, or, where there is none, to the first
	Rollout  string // how it came
	Distinct int
	Versions []rank
	Findings []findingPart
	Sample   []agentLine
}

// findingPart is a risky setting.
type findingPart struct {
	Rule, Help string
	Places     []findingPlace
	URL        string // who has it
}

func (u *UI) configs(w http.ResponseWriter, r *http.Request) {
	v := newView("/configs", r.URL.Query(), "q")
	q, err := fleetquery.Parse(v.values.Get("q"))
	if err != nil {
		u.misunderstood(w, r, "configs.html", "Configs", v, err, func(bar queryBar) any { return configsPage{Bar: bar} })
		return
	}
	found := u.index.Configs(fleetsearch.ConfigsRequest{Query: q, Now: u.now()})
	body := configsPage{
		Bar: queryBar{Action: v.path, Text: clean(v.values.Get("q"))}, Known: found.Known,
		Distinct: found.Distinct, Configs: found.Configs, Agents: found.Agents, None: found.None,
		JSON: address("/api/v1/configs", v.values),
	}
	for _, f := range found.Families {
		body.Families = append(body.Families, u.newFamilyPart(f))
	}
	u.render(w, r, http.StatusOK, "configs.html", page{
		Title: "Configs", Here: "/configs", Events: events(found.Position, opampwire.InstanceUID{}, found.Unread), Unread: found.Unread, Body: body,
	})
}

func (u *UI) newFamilyPart(f fleetsearch.Family) familyPart {
	out := familyPart{
		ID: "f-" + f.ID, Label: clean(short(f.Label, 200)), Agents: f.Agents, Omitted: f.Omitted, Drifted: f.Drifted,
		URL: agentsWhere(is(fleetquery.FacetConfig, f.ID)), Split: f.Majority == "" && len(f.Variants) > 1,
	}
	if f.Drifted > 0 {
		out.DriftURL = driftURL(f.ID)
	}
	base := ""
	for i, v := range f.Variants {
		if v.ID == f.Majority || (f.Majority == "" && i == 0) {
			base = v.Hash
		}
	}
	for _, v := range f.Variants {
		out.Variants = append(out.Variants, u.newVariantPart(f, v, base))
	}
	return out
}

func (u *UI) newVariantPart(f fleetsearch.Family, v fleetsearch.Variant, base string) variantPart {
	out := variantPart{
		ID: "v-" + v.ID, Agents: v.Agents, Width: meter(v.Agents, f.Agents), Most: v.ID == f.Majority,
		Drifted: f.Majority != "" && v.ID != f.Majority, URL: agentsWhere(is(fleetsearch.FacetVariant, v.ID)),
		Config: configURL(v.Hash), Rollout: rolloutURL(fleethistory.OfConfig, v.ID), Distinct: v.Distinct, Versions: countsOf(fleetquery.FacetVersion, v.Versions),
		Findings: newFindings(v.Findings),
	}
	if v.Hash != base && base != "" {
		out.Diff = diffURL(base, v.Hash)
	}
	for _, a := range v.Sample[:min(len(v.Sample), overviewShort)] {
		out.Sample = append(out.Sample, newAgentLine(out.ID, a, u.now()))
	}
	return out
}

func configURL(hash string) string { return "/configs/" + hash }

func diffURL(from, to string) string {
	return address(configURL(from)+"/diff", url.Values{"to": {to}})
}

type findingPlace struct{ Path, Note string }

// newFindings gathers the places of each rule.
func newFindings(list []fleetconfig.Finding) (out []findingPart) {
	for _, f := range list {
		i := slices.IndexFunc(out, func(p findingPart) bool { return p.Rule == f.Rule })
		if i < 0 {
			i = len(out)
			out = append(out, findingPart{
				Rule: f.Rule, Help: ruleHelp(fleetquery.FacetFinding, f.Rule), URL: agentsWhere(is(fleetquery.FacetFinding, f.Rule)),
			})
		}
		out[i].Places = append(out[i].Places, findingPlace{clean(short(f.Place, 200)), f.Note})
	}
	return out
}

// ruleHelp says what a risky setting is; it is empty for the values of other facets.
func ruleHelp(f fleetquery.Facet, id string) string {
	if f != fleetquery.FacetFinding {
		return ""
	}
	for _, rule := range fleetconfig.Rules() {
		if rule.ID == id {
			return rule.Help
		}
	}
	return ""
}

// configPage is the body of the page of one config.
type oneConfigPage struct {
	Hash, Label                         string
	Agents, VariantAgents, FamilyAgents int
	URL, VariantURL, FamilyURL          string
	Family                              string // the place of the family on the page of all
	Drifted                             bool
	MostDiff                            string
	Most                                bool
	Problem                             string
	Findings                            []findingPart
	Components, Pipelines               []string
	Sample                              []agentLine
	Config                              *configPart
	Compare                             string
	Rollout                             string
	JSON                                string
}

func (u *UI) oneConfig(w http.ResponseWriter, r *http.Request) {
	c, err := u.reader.Config(r.Context(), r.PathValue("hash"))
	if err != nil {
		u.noConfig(w, r, r.PathValue("hash"), err)
		return
	}
	u.render(w, r, http.StatusOK, "config.html", page{
		Title: "Config " + short(c.Facts.Hash, 12), Here: "/configs",
		Events: events(u.fleet.Position(), opampwire.InstanceUID{}, c.Unread), Unread: c.Unread, Body: u.newOneConfigPage(c),
	})
}

// configText serves one file of a config as text.
func (u *UI) configText(w http.ResponseWriter, r *http.Request) {
	c, err := u.reader.Config(r.Context(), r.PathValue("hash"))
	if err != nil {
		u.noConfig(w, r, r.PathValue("hash"), err)
		return
	}
	u.writeFile(w, r, c.Config, r.URL.Query().Get("name"))
}

// noConfig says why a config can't be shown.
func (u *UI) noConfig(w http.ResponseWriter, r *http.Request, name string, err error) {
	if errors.Is(err, fleethistory.ErrNoConfig) {
		u.unknownConfig(w, r, name)
		return
	}
	u.render(w, r, http.StatusServiceUnavailable, "missing.html", page{
		Title: "Not readable", Here: "/configs",
		Body: missing{Heading: "Configs of the past can't be read now", Text: clean(short(err.Error(), 300))},
	})
}

// unknownConfig answers for a config that is not known. By the hash every config is known, by variant and family only what
// is read.
func (u *UI) unknownConfig(w http.ResponseWriter, r *http.Request, name string) {
	if unread := u.index.Unread(); unread > 0 && len(name) < fleetsearch.HashLength {
		u.render(w, r, http.StatusServiceUnavailable, "missing.html", page{
			Title: "Not read yet", Here: "/configs", Events: events(u.fleet.Position(), opampwire.InstanceUID{}, unread), Unread: unread,
			Body: missing{
				Heading: "It is not known yet who runs this config",
				Text:    "It may be one of those that are still being read. What is known then shows here by itself.",
			},
		})
		return
	}
	u.render(w, r, http.StatusNotFound, "missing.html", page{
		Title: "Not found", Here: "/configs",
		Body: missing{
			Heading: "No collector runs this config",
			Text:    "The last one that ran it may have got another. A hash needs four characters at least.",
		},
	})
}

func (u *UI) newOneConfigPage(c fleetsearch.Config) oneConfigPage {
	f := c.Facts
	out := oneConfigPage{
		Hash: f.Hash, Label: clean(short(f.Label, 200)), Agents: c.Agents, VariantAgents: c.VariantAgents, FamilyAgents: c.FamilyAgents,
		URL: agentsWhere(is(fleetquery.FacetConfig, f.Hash)), VariantURL: agentsWhere(is(fleetquery.FacetConfig, f.Variant)),
		FamilyURL: agentsWhere(is(fleetquery.FacetConfig, f.Family)), Family: "/configs#f-" + f.Family,
		Drifted: c.Drifted, Most: c.MajorityHash != "" && !c.Drifted, Problem: clean(f.Problem), Findings: newFindings(f.Findings),
		Config: newConfigPart(c.Config, configURL(f.Hash)+"/text"), Compare: configURL(f.Hash) + "/diff", Rollout: rolloutURL(fleethistory.OfConfig, f.Variant), JSON: "/api/v1/configs/" + f.Hash,
	}
	if c.Drifted {
		out.MostDiff = diffURL(c.MajorityHash, f.Hash)
	}
	for _, name := range f.Components {
		out.Components = append(out.Components, clean(short(name, 120)))
	}
	for _, name := range f.Pipelines {
		out.Pipelines = append(out.Pipelines, clean(short(name, 120)))
	}
	for _, a := range c.Sample {
		out.Sample = append(out.Sample, newAgentLine("runs", a, u.now()))
	}
	return out
}

// diffPage is the body of the page that compares two configs.
type diffPage struct {
	From, To       diffSide
	Added, Removed int
	Coarse, Cut    bool
	Hunks          []diffHunk
	Exact          bool
	ExactURL       string // the other way of comparing
	Turned         string // the same the other way round
	JSON           string
}

type diffSide struct {
	Hash, Short, URL string
	Agents           int
	AgentsURL        string
	Names            []agentLine
}

type diffHunk struct {
	Head  string
	Lines []diffLine
}

type diffLine struct {
	Look     string // "same", "out" or "in"
	From, To int
	Text     string
}

// maxDiffLines bounds what a page shows of a comparison.
const maxDiffLines = 4000

// diff compares a config with another (?to=), or another (?from=) with it: by hash, by the instance UID of who runs it,
// or "majority" for the one of most of its family. What has to differ between instances is taken for equal unless
// ?exact=true.
func (u *UI) diff(w http.ResponseWriter, r *http.Request) {
	v := newView(r.URL.Path, r.URL.Query(), "to", "from", "exact")
	from, err := u.reader.Config(r.Context(), r.PathValue("hash"))
	if err != nil {
		u.noConfig(w, r, r.PathValue("hash"), err)
		return
	}
	backwards := v.values.Has("from")
	other := cmp.Or(v.values.Get("from"), v.values.Get("to"))
	to, err := u.otherConfig(r.Context(), from, strings.TrimSpace(other))
	if err != nil && !errors.Is(err, fleethistory.ErrNoConfig) {
		u.noConfig(w, r, other, err)
		return
	}
	if err != nil {
		u.render(w, r, http.StatusNotFound, "missing.html", page{
			Title: "Nothing to compare with", Here: "/configs",
			Body: missing{
				Heading: "There is no such config to compare with",
				Text: "Give the beginning of a config's hash (four characters at least), the instance UID of a collector that " +
					"tells its config, or the word majority.",
			},
		})
		return
	}
	if backwards {
		from, to = to, from
	}
	exact := v.values.Get("exact") == "true"
	d := fleetconfig.Compare(from.Text(), to.Text(), fleetconfig.DiffOptions{IgnoreVolatile: !exact})
	body := diffPage{
		From: newDiffSide(u, from), To: newDiffSide(u, to), Added: d.Added, Removed: d.Removed, Coarse: d.Coarse, Cut: d.Cut,
		Exact: exact, ExactURL: v.with("exact", "true"), Turned: diffURL(to.Facts.Hash, from.Facts.Hash),
		JSON: "/api/v1/configs/" + from.Facts.Hash + "/diff/" + to.Facts.Hash + "?ignore_volatile=true",
	}
	if exact {
		body.ExactURL = v.with("exact", "")
		body.JSON = strings.TrimSuffix(body.JSON, "?ignore_volatile=true")
		body.Turned += "&exact=true"
	}
	body.addHunks(d)
	u.render(w, r, http.StatusOK, "diff.html", page{Title: "Config diff", Here: "/configs", Body: body})
}

func (u *UI) otherConfig(ctx context.Context, from fleetsearch.Config, to string) (fleetsearch.Config, error) {
	if to == "majority" {
		to = from.MajorityHash
	}
	if uid, err := opampwire.ParseInstanceUID(to); err == nil {
		if a, ok := u.fleet.Agent(uid); ok {
			if c, ok := u.configOf(a); ok {
				return c, nil
			}
			return fleetsearch.Config{}, fleethistory.ErrNoConfig
		}
	}
	return u.reader.Config(ctx, to)
}

// configOf is the config that an agent told.
func (u *UI) configOf(a *fleet.Agent) (fleetsearch.Config, bool) {
	if a.Config == nil {
		return fleetsearch.Config{}, false
	}
	return u.index.Config(a.Config.Hash())
}

func newDiffSide(u *UI, c fleetsearch.Config) diffSide {
	out := diffSide{
		Hash: c.Facts.Hash, Short: short(c.Facts.Hash, 12), URL: configURL(c.Facts.Hash), Agents: c.Agents,
		AgentsURL: agentsWhere(is(fleetquery.FacetConfig, c.Facts.Hash)),
	}
	for _, a := range c.Sample[:min(len(c.Sample), overviewShort)] {
		out.Names = append(out.Names, newAgentLine(out.Short, a, u.now()))
	}
	return out
}

var diffLooks = map[byte]string{' ': "same", '-': "out", '+': "in"}

func (p *diffPage) addHunks(d fleetconfig.Diff) {
	room := maxDiffLines
	for _, h := range d.Hunks {
		hunk := diffHunk{Head: hunkHead(h)}
		for _, l := range h.Lines {
			if room == 0 {
				p.Cut = true
				break
			}
			room--
			hunk.Lines = append(hunk.Lines, diffLine{Look: diffLooks[l.Op], From: l.From, To: l.To, Text: clean(strings.TrimSuffix(l.Text, "\r"))})
		}
		if len(hunk.Lines) > 0 {
			p.Hunks = append(p.Hunks, hunk)
		}
	}
}

func hunkHead(h fleetconfig.Hunk) string {
	for _, l := range h.Lines {
		if l.From > 0 {
			return "From line " + thousands(uint64(l.From))
		}
	}
	return "From the beginning"
}

// familyNote is what the page of a collector says of its config among others.
type familyNote struct {
	Label              string
	Family             string
	Agents, Same       int
	Drifted, Most      bool
	MostDiff           string
	Compare            string
	Peers              []option
	Previous           string   // what differs from the one before
	Earlier            []option // those before, by hash
	Rollout            string
	Config             string
	Unread             int // configs of others that may be of the family
	Findings           []findingPart
	SameURL, FamilyURL string
	declared           []string
}

func (u *UI) newFamilyNote(ctx context.Context, a *fleet.Agent) *familyNote {
	c, ok := u.configOf(a)
	if !ok {
		return nil
	}
	f := c.Facts
	out := &familyNote{
		Label: clean(short(f.Label, 200)), Family: "/configs#f-" + f.Family, Agents: c.FamilyAgents, Same: c.VariantAgents,
		Drifted: c.Drifted, Most: c.MajorityHash != "" && !c.Drifted && c.FamilyAgents > 1, Compare: configURL(f.Hash) + "/diff", Config: configURL(f.Hash),
		Findings: newFindings(f.Findings), declared: f.Components, Unread: c.Unread,
		SameURL: agentsWhere(is(fleetquery.FacetConfig, f.Variant)), FamilyURL: agentsWhere(is(fleetquery.FacetConfig, f.Family)),
	}
	if c.Drifted {
		out.MostDiff = diffURL(c.MajorityHash, f.Hash)
	}
	if c.FamilyAgents > 1 {
		out.Peers = u.peers(a, f.Family)
	}
	out.Rollout = rolloutURL(fleethistory.OfConfig, f.Variant)
	earlier, err := u.reader.Earlier(ctx, a)
	if err != nil {
		return out // the rest is true without it
	}
	for i, e := range earlier {
		if i == 0 {
			out.Previous = diffURL(e.Hash, f.Hash)
		}
		out.Earlier = append(out.Earlier, option{Value: e.Hash, Word: "until " + ago(e.Until, u.now()).Full + " · " + short(e.Hash, 8)})
	}
	return out
}

const maxPeers = 50

// peers are others of the family whose configs a collector's can be compared with.
func (u *UI) peers(a *fleet.Agent, family string) (out []option) {
	found := u.search(fleetsearch.Request{
		Query: fleetquery.Query{Terms: []fleetquery.Term{is(fleetquery.FacetConfig, family)}},
		Sort:  fleetsearch.SortName, Limit: maxPeers + 1,
	})
	for _, peer := range found.Agents {
		if peer.UID == a.UID || peer.Config == nil || len(out) == maxPeers {
			continue
		}
		word := agentName(peer)
		if host := clean(short(peer.HostName(), 60)); host != "" {
			word += " on " + host
		}
		out = append(out, option{Value: peer.UID.String(), Word: word})
	}
	return out
}
