// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// listedConfigs is the answer to GET /api/v1/configs.
type listedConfigs struct {
	Query         string         `json:"query"`
	Families      []configFamily `json:"families"`
	Distinct      int            `json:"distinct"`
	Configs       int            `json:"configs"`
	Agents        int            `json:"agents"`
	None          int            `json:"none"`
	UnreadAgents  int            `json:"unread_agents"`
	UnreadConfigs int            `json:"unread_configs"`
	Position      string         `json:"position"`
}

type configFamily struct {
	ID       string          `json:"id"`
	Label    string          `json:"label"`
	Agents   int             `json:"agents"`
	Majority string          `json:"majority"`
	Drifted  int             `json:"drifted"`
	Variants []configVariant `json:"variants"`
	Omitted  int             `json:"omitted"`
	Term     string          `json:"term"`
}

type configVariant struct {
	ID       string       `json:"id"`
	Agents   int          `json:"agents"`
	Hash     string       `json:"hash"`
	Distinct int          `json:"distinct"`
	Versions []valueCount `json:"versions"`
	Findings []finding    `json:"findings"`
	Sample   []agentRef   `json:"sample"`
	Term     string       `json:"term"`
}

// finding is a risky setting. It never holds the value.
type finding struct {
	Rule  string `json:"rule"`
	Place string `json:"place"`
	Help  string `json:"help"`
	Note  string `json:"note"`
}

// shownConfig is the answer to GET /api/v1/configs/{hash}.
type shownConfig struct {
	Hash          string     `json:"hash"`
	Variant       string     `json:"variant"`
	Family        string     `json:"family"`
	Label         string     `json:"label"`
	Agents        int        `json:"agents"`
	VariantAgents int        `json:"variant_agents"`
	FamilyAgents  int        `json:"family_agents"`
	MajorityHash  string     `json:"majority_hash"`
	Drifted       bool       `json:"drifted"`
	Components    []string   `json:"components"`
	Pipelines     []string   `json:"pipelines"`
	Findings      []finding  `json:"findings"`
	Problem       string     `json:"problem"`
	UnreadConfigs int        `json:"unread_configs"`
	Sample        []agentRef `json:"sample"`
	Config        *config    `json:"config"`
	Term          string     `json:"term"`
}

func (a *API) listConfigs(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "q", "limit")
	if !ok {
		return
	}
	defer leave()
	found := a.index.Configs(fleetsearch.ConfigsRequest{Query: q.query, Limit: q.limit, Now: a.now()})
	out := listedConfigs{
		Query: q.query.String(), Families: make([]configFamily, 0, len(found.Families)), Distinct: found.Distinct,
		Configs: found.Configs, Agents: found.Agents, None: found.None, UnreadAgents: found.UnreadAgents,
		UnreadConfigs: found.Unread, Position: found.Position.String(),
	}
	for _, f := range found.Families {
		out.Families = append(out.Families, newConfigFamily(f))
	}
	answer(w, http.StatusOK, out)
}

func newConfigFamily(f fleetsearch.Family) configFamily {
	out := configFamily{
		ID: f.ID, Label: f.Label, Agents: f.Agents, Majority: f.Majority, Drifted: f.Drifted, Omitted: f.Omitted,
		Variants: make([]configVariant, 0, len(f.Variants)), Term: configTerm(f.ID),
	}
	for _, v := range f.Variants {
		out.Variants = append(out.Variants, configVariant{
			ID: v.ID, Agents: v.Agents, Hash: v.Hash, Distinct: v.Distinct,
			Versions: newValueCounts(fleetsearch.Side{Facet: fleetquery.FacetVersion}, v.Versions),
			Findings: newFindings(v.Findings), Sample: agentRefs(v.Sample), Term: configTerm(v.ID),
		})
	}
	return out
}

func configTerm(id string) string { return fleetquery.Is(fleetquery.FacetConfig, "", id).String() }

func newFindings(list []fleetconfig.Finding) []finding {
	out := make([]finding, 0, len(list))
	for _, f := range list {
		one := finding{Rule: f.Rule, Place: f.Place, Note: f.Note}
		for _, rule := range fleetconfig.Rules() {
			if rule.ID == f.Rule {
				one.Help = rule.Help
			}
		}
		out = append(out, one)
	}
	return out
}

func (a *API) showConfig(w http.ResponseWriter, r *http.Request) {
	_, leave, ok := a.question(w, r)
	if !ok {
		return
	}
	defer leave()
	c, ok := a.findConfig(w, r, r.PathValue("hash"))
	if !ok {
		return
	}
	answer(w, http.StatusOK, shownConfig{
		Hash: c.Facts.Hash, Variant: c.Facts.Variant, Family: c.Facts.Family, Label: c.Facts.Label,
		Agents: c.Agents, VariantAgents: c.VariantAgents, FamilyAgents: c.FamilyAgents,
		MajorityHash: c.MajorityHash, Drifted: c.Drifted,
		Components: append([]string{}, c.Facts.Components...), Pipelines: append([]string{}, c.Facts.Pipelines...),
		Findings: newFindings(c.Facts.Findings), Problem: c.Facts.Problem, UnreadConfigs: c.Unread, Sample: agentRefs(c.Sample),
		Config: newConfig(c.Config), Term: configTerm(c.Facts.Hash),
	})
}

func (a *API) findConfig(w http.ResponseWriter, r *http.Request, hash string) (fleetsearch.Config, bool) {
	c, err := a.reader.Config(r.Context(), hash)
	switch {
	case errors.Is(err, fleethistory.ErrNoConfig):
		if a.stillReading(w, hash) {
			break
		}
		fail(w, http.StatusNotFound, "not_found", fmt.Sprintf("no agent runs a config whose hash, variant or family begins with %.80q", hash))
	case err != nil:
		unreadable(w)
	}
	return c, err == nil
}

// stillReading answers a request for a config that is not known, and returns true, if one that is unread may be it: by the
// hash every config is known, by variant and family only what is read.
func (a *API) stillReading(w http.ResponseWriter, name string) bool {
	unread := a.index.Unread()
	if unread == 0 || len(name) >= fleetsearch.HashLength {
		return false
	}
	w.Header().Set("Retry-After", "5")
	fail(w, http.StatusServiceUnavailable, "still_reading", fmt.Sprintf(
		"no config that is read begins with %.80q, but %d are still being read; ask again in some seconds", name, unread))
	return true
}

// diffed is the answer to GET /api/v1/configs/{hash}/diff/{other}.
type diffed struct {
	From    string     `json:"from"`
	To      string     `json:"to"`
	Added   int        `json:"added"`
	Removed int        `json:"removed"`
	Coarse  bool       `json:"coarse"`
	Cut     bool       `json:"cut"`
	Hunks   []diffHunk `json:"hunks"`
	Unified string     `json:"unified"`
}

type diffHunk struct {
	FromLine  int        `json:"from_line"`
	FromCount int        `json:"from_count"`
	ToLine    int        `json:"to_line"`
	ToCount   int        `json:"to_count"`
	Lines     []diffLine `json:"lines"`
}

type diffLine struct {
	Op   string `json:"op"`
	From int    `json:"from"`
	To   int    `json:"to"`
	Text string `json:"text"`
}

// majority stands for a config of the variant that most of the family run.
const majority = "majority"

func (a *API) diffConfigs(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "ignore_volatile", "context")
	if !ok {
		return
	}
	defer leave()
	options, err := parseDiffOptions(q.values.Get("ignore_volatile"), q.values.Get("context"))
	if err != nil {
		badRequest(w, err)
		return
	}
	from, ok := a.findConfig(w, r, r.PathValue("hash"))
	if !ok {
		return
	}
	other := r.PathValue("other")
	if other == majority {
		if other = from.MajorityHash; other == "" {
			fail(w, http.StatusNotFound, "not_found", "the family of this config has no variant that at least half of its agents run")
			return
		}
	}
	to, ok := a.findConfig(w, r, other)
	if !ok {
		return
	}
	answer(w, http.StatusOK, newDiffed(from, to, fleetconfig.Compare(from.Text(), to.Text(), options)))
}

func parseDiffOptions(ignoreVolatile, context string) (o fleetconfig.DiffOptions, err error) {
	const maxContext = 1000
	ignore, err := parseBool(ignoreVolatile)
	if err != nil {
		return o, fmt.Errorf("ignore_volatile: %w", err)
	}
	o.IgnoreVolatile = ignore != nil && *ignore
	if context == "0" {
		o.Context = -1
		return o, nil
	}
	if o.Context, err = parseNumber(context, 0, maxContext); err != nil {
		return o, fmt.Errorf("context: %w", err)
	}
	return o, nil
}

func newDiffed(from, to fleetsearch.Config, d fleetconfig.Diff) diffed {
	out := diffed{
		From: from.Facts.Hash, To: to.Facts.Hash, Added: d.Added, Removed: d.Removed, Coarse: d.Coarse, Cut: d.Cut,
		Hunks: make([]diffHunk, 0, len(d.Hunks)), Unified: d.Unified(from.Facts.Hash, to.Facts.Hash),
	}
	for _, h := range d.Hunks {
		hunk := diffHunk{FromLine: h.FromLine, FromCount: h.FromCount, ToLine: h.ToLine, ToCount: h.ToCount, Lines: []diffLine{}}
		for _, l := range h.Lines {
			op := map[byte]string{' ': "same", '+': "added", '-': "removed"}[l.Op]
			hunk.Lines = append(hunk.Lines, diffLine{Op: op, From: l.From, To: l.To, Text: strings.TrimSuffix(l.Text, "\r")})
		}
		out.Hunks = append(out.Hunks, hunk)
	}
	return out
}
