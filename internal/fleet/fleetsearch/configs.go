// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// Family is the configs that do the same; see fleetconfig.
type Family struct {
	ID, Label string
	Agents    int
	// Variants of it that run, the most frequent first; Omitted counts those that are not listed.
	Variants []Variant
	Omitted  int
	// Majority is the variant that at least half of its agents in the whole fleet run; empty if there is none.
	Majority string
	// Drifted counts agents that run another than Majority.
	Drifted int
}

// Variant is the configs that are the same but for what differs between instances.
type Variant struct {
	ID     string
	Agents int
	// Hash of the config that most agents of the variant run, and how many different ones there are.
	Hash     string
	Distinct int
	Findings []fleetconfig.Finding
	// Versions that run it, the most frequent first.
	Versions []ValueCount
	// Sample are some of the agents that run it.
	Sample []*fleet.Agent
}

// ConfigsRequest is a question for configs.
type ConfigsRequest struct {
	Query fleetquery.Query
	// Limit is how many families are told, those of most agents first. 0 is 50.
	Limit int
	Now   time.Time
}

// Configs answers a [ConfigsRequest].
type Configs struct {
	Families []Family
	// Distinct counts families, Configs different configs, Agents those that told one, None those that didn't, and Known
	// all agents of the fleet.
	Distinct, Configs, Agents, None, Known int
	// Unread counts configs that are not read yet, see [Index.Unread], UnreadAgents those of Agents that run one: they are
	// in no family.
	Unread, UnreadAgents int
	Position             fleet.Position
}

const (
	defaultFamilies = 50
	maxVariants     = 50
)

// Configs groups what the agents run.
func (x *Index) Configs(r ConfigsRequest) Configs {
	if r.Limit <= 0 {
		r.Limit = defaultFamilies
	}
	slots, done := x.find(r.Query, r.Now)
	defer done()
	out := Configs{Known: len(x.slots), Unread: x.unreadLocked(), Position: x.position}
	g := newConfigGroups(x)
	for _, slot := range slots {
		f := x.rows[slot].facts
		if f == nil {
			out.None++
			continue
		}
		out.Agents++
		if f.unread != nil {
			out.UnreadAgents++
			g.addUnread(slot)
			continue
		}
		g.add(slot)
	}
	families := g.families
	out.Distinct, out.Configs = len(families), g.configs
	major := x.majorities()
	best := newBest(r.Limit, func(a, b Family) int {
		if a.Agents != b.Agents {
			return b.Agents - a.Agents
		}
		return strings.Compare(a.ID, b.ID)
	})
	for id, g := range families {
		best.offer(Family{ID: id, Label: g.label, Agents: g.agents, Majority: major[id]})
	}
	out.Families = best.sorted()
	for i := range out.Families {
		x.fill(&out.Families[i], families[out.Families[i].ID])
	}
	return out
}

type familyGroup struct {
	label    string
	agents   int
	variants map[string]*variantGroup
}

type variantGroup struct {
	family   *familyGroup
	facts    *facts // of one of its configs
	agents   int
	hash     string // of the config that most run
	most     int    // how many those are
	distinct int
	versions map[uint32]int // by set
	sample   []*fleet.Agent
}

// configGroups gathers agents by what they run. Hashes are long, and mostly nobody else has the same: they are looked at
// once for each set of the index, not for each agent.
type configGroups struct {
	index     *Index
	families  map[string]*familyGroup
	configs   int
	byConfig  []configGroup   // by set
	byVariant []*variantGroup // by set, the last that was seen
}

type configGroup struct {
	variant *variantGroup // nil while nobody was seen to run it, and if it is unread
	unread  bool
	agents  int
}

func newConfigGroups(x *Index) *configGroups {
	return &configGroups{
		index: x, families: map[string]*familyGroup{},
		byConfig:  make([]configGroup, len(x.columns[sideConfig].members)),
		byVariant: make([]*variantGroup, len(x.columns[sideVariant].members)),
	}
}

func (g *configGroups) add(slot int) {
	x, f := g.index, g.index.rows[slot].facts
	c := &g.byConfig[x.columns[sideConfig].of[slot]]
	if c.variant == nil {
		g.configs++
		c.variant = g.variantOf(slot, f)
		c.variant.distinct++
	}
	v := c.variant
	v.family.agents++
	v.agents++
	v.versions[x.columns[sideVersion].of[slot]]++
	c.agents++
	if c.agents > v.most || (c.agents == v.most && f.Hash < v.hash) {
		v.hash, v.most = f.Hash, c.agents
	}
	if len(v.sample) < maxSample {
		v.sample = append(v.sample, x.rows[slot].agent)
	}
}

// addUnread counts a config of which there is no more to tell.
func (g *configGroups) addUnread(slot int) {
	c := &g.byConfig[g.index.columns[sideConfig].of[slot]]
	if !c.unread {
		c.unread = true
		g.configs++
	}
}

func (g *configGroups) variantOf(slot int, f *facts) *variantGroup {
	set := g.index.columns[sideVariant].of[slot]
	if v := g.byVariant[set]; v != nil && v.facts.Family == f.Family {
		return v
	}
	family := g.families[f.Family]
	if family == nil {
		family = &familyGroup{label: f.Label, variants: map[string]*variantGroup{}}
		g.families[f.Family] = family
	}
	v := family.variants[f.Variant]
	if v == nil {
		v = &variantGroup{family: family, facts: f, versions: map[uint32]int{}}
		family.variants[f.Variant] = v
	}
	g.byVariant[set] = v
	return v
}

func (x *Index) fill(f *Family, g *familyGroup) {
	best := newBest(maxVariants, func(a, b Variant) int {
		if a.Agents != b.Agents {
			return b.Agents - a.Agents
		}
		return strings.Compare(a.ID, b.ID)
	})
	for id, v := range g.variants {
		if f.Majority != "" && id != f.Majority {
			f.Drifted += v.agents
		}
		best.offer(Variant{
			ID: id, Agents: v.agents, Hash: v.hash, Distinct: v.distinct, Findings: v.facts.Findings,
			Versions: x.topSets(x.columns[sideVersion], v.versions), Sample: v.sample,
		})
	}
	f.Variants = best.sorted()
	f.Omitted = len(g.variants) - len(f.Variants)
}

// Config is one config with what is known of it.
type Config struct {
	Facts  fleetconfig.Facts
	Config *fleet.Config
	// Agents counts who runs it, and Sample are some of them; VariantAgents and FamilyAgents count who runs one of the
	// same variant and family.
	Agents, VariantAgents, FamilyAgents int
	Sample                              []*fleet.Agent
	// MajorityHash is a config of the variant that most of its family run; empty if there is none.
	MajorityHash string
	// Drifted says that this config is not of that variant.
	Drifted bool
	// Unread counts other configs that are not read yet, see [Index.Unread]: they may be of the same variant and family.
	Unread int
}

// Text is the effective config itself, without other files.
func (c Config) Text() string {
	if f := fleetconfig.Main(c.Config); f != nil {
		return f.Body
	}
	return ""
}

// topSets is topOf of a column that has one value an agent, of which none is the empty one.
func (x *Index) topSets(c *column, counts map[uint32]int) []ValueCount {
	best := newBest(maxShares, compareCounts)
	for set, n := range counts {
		best.offer(ValueCount{Value: c.textOf(set), Count: n})
	}
	return best.sorted()
}

// HashLength is that of the hash of a config; those of variants and families are shorter.
const HashLength = 64

// minHash is the least of a hash that names a config.
const minHash = 4

// Config is the config whose hash, or the config most run whose variant or family, begins with prefix.
func (x *Index) Config(prefix string) (Config, bool) {
	if len(prefix) < minHash {
		return Config{}, false
	}
	x.Refresh()
	prefix = strings.ToLower(prefix)
	for {
		out, found, wait := x.configOf(prefix)
		if !wait {
			return out, found
		}
		x.readNamed(prefix)
	}
}

// configOf is the config that prefix names, unless that has to be read before.
func (x *Index) configOf(prefix string) (out Config, found, wait bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	f := x.factsOf(prefix)
	if f == nil || f.unread != nil {
		return Config{}, false, f != nil
	}
	return x.newConfig(f), true, false
}

// Facts of a config that somebody runs, by its whole hash. Of one that is not read yet there is the hash and nothing else.
// It costs less than [Index.Config].
func (x *Index) Facts(hash string) (fleetconfig.Facts, bool) {
	x.takeIn()
	x.mu.RLock()
	defer x.mu.RUnlock()
	f := x.facts[hash]
	if f == nil {
		return fleetconfig.Facts{}, false
	}
	return f.Facts, true
}

// ReadFacts is [Index.Facts], but that it reads the config if need be.
func (x *Index) ReadFacts(hash string) (fleetconfig.Facts, bool) {
	for {
		f, runs := x.Facts(hash)
		if !runs || f.Variant != "" {
			return f, runs
		}
		x.readNamed(hash)
	}
}

func (x *Index) factsOf(prefix string) *facts {
	if f := x.facts[prefix]; f != nil || len(prefix) >= HashLength {
		return f
	}
	var found *facts
	grade := func(f *facts) int {
		switch {
		case strings.HasPrefix(f.Hash, prefix):
			return 2
		case strings.HasPrefix(f.Variant, prefix), strings.HasPrefix(f.Family, prefix):
			return 1
		}
		return 0
	}
	for _, f := range x.facts {
		g := grade(f)
		if g == 0 {
			continue
		}
		if found == nil || g > grade(found) || (g == grade(found) && f.before(found)) {
			found = f
		}
	}
	return found
}

// before prefers the config that more agents run.
func (f *facts) before(o *facts) bool {
	if f.users != o.users {
		return f.users > o.users
	}
	return f.Hash < o.Hash
}

func (x *Index) newConfig(f *facts) Config {
	out := Config{Facts: f.Facts, Config: f.config, Agents: f.users, Unread: x.unreadLocked()}
	major, ok := x.majorities()[f.Family]
	var best *facts
	for slot := range x.rows {
		if r := &x.rows[slot]; r.facts == f && len(out.Sample) < maxSample {
			out.Sample = append(out.Sample, r.agent)
		}
	}
	for _, o := range x.facts {
		if o.unread != nil || o.Family != f.Family {
			continue
		}
		out.FamilyAgents += o.users
		if o.Variant == f.Variant {
			out.VariantAgents += o.users
		}
		if ok && o.Variant == major && (best == nil || o.before(best)) {
			best = o
		}
	}
	if best != nil {
		out.MajorityHash, out.Drifted = best.Hash, f.Variant != major
	}
	slices.SortFunc(out.Sample, func(a, b *fleet.Agent) int { return slices.Compare(a.UID[:], b.UID[:]) })
	return out
}
