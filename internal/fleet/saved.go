// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Sum is the SHA-256 of a content, by which it is kept once.
type Sum = sum

// ParseSum reads what [Sum.String] wrote.
func ParseSum(s string) (out Sum, err error) {
	if hex.DecodedLen(len(s)) != len(out) {
		return out, errBadSum
	}
	_, err = hex.Decode(out[:], []byte(s))
	return out, err
}

// Sum is the one under which the config is kept.
func (c *Config) Sum() Sum { return c.sum }

// Sum is the one under which the list is kept. It is ours, not the agent's hash.
func (c *Components) Sum() Sum { return c.sum }

var (
	errBadSum = errors.New("not a SHA-256 in hex")
	// ErrNotSaved says that a text is not what Marshal wrote.
	ErrNotSaved = errors.New("not a saved agent")
)

// Heard is what changes with every message.
type Heard struct {
	UID      opampwire.InstanceUID
	LastSeen time.Time
	Seq      uint64
	// Synced says that nothing is missing of what the agent can tell, so that it need not be asked after a restart.
	Synced bool
	// Pause is the longest of late between two messages, learnt from Pauses of them.
	Pause  time.Duration
	Pauses int
}

// Heard is what the last message of a changed.
func (a *Agent) Heard() Heard {
	return Heard{
		UID: a.UID, LastSeen: a.LastSeen, Seq: a.Seq, Synced: a.talk.synced,
		Pause: a.talk.rhythm.pause, Pauses: a.talk.rhythm.count,
	}
}

// savedAgent is how an agent is written down. What it shares with others, and what each message changes, is not in it.
type savedAgent struct {
	FirstSeen          time.Time         `json:"first_seen"`
	Liveness           Liveness          `json:"liveness"`
	LivenessSince      time.Time         `json:"liveness_since"`
	Transport          string            `json:"transport,omitempty"`
	RemoteAddr         string            `json:"remote_addr,omitempty"`
	Capabilities       uint64            `json:"capabilities,omitempty"`
	CustomCapabilities []string          `json:"custom_capabilities,omitempty"`
	Description        *savedDescription `json:"description,omitempty"`
	Health             *savedHealth      `json:"health,omitempty"`
	Dropped            Parts             `json:"dropped,omitempty"`
	Problems           []savedProblem    `json:"problems,omitempty"` // only those that Health does not tell
	Lineage            savedLineage      `json:"lineage"`
}

type savedDescription struct {
	Identifying    savedAttributes `json:"identifying,omitempty"`
	NonIdentifying savedAttributes `json:"non_identifying,omitempty"`
	Omitted        int             `json:"omitted,omitempty"`
	Bytes          int             `json:"bytes"`
}

type savedHealth struct {
	Name       string          `json:"name,omitempty"`
	Healthy    bool            `json:"healthy,omitempty"`
	Status     string          `json:"status,omitempty"`
	LastError  string          `json:"last_error,omitempty"`
	Since      int64           `json:"since,omitempty"` // nanoseconds since 1970
	StartedAt  int64           `json:"started_at,omitempty"`
	Attributes savedAttributes `json:"attributes,omitempty"`
	Children   []*savedHealth  `json:"children,omitempty"`
	Omitted    int             `json:"omitted,omitempty"`
	Bytes      int             `json:"bytes,omitempty"`
}

type savedProblem struct {
	Path   []string `json:"path"`
	Status string   `json:"status"`
	Error  string   `json:"error"`
	Since  int64    `json:"since"`
}

// Marshal writes the agent down, but for Config, Components and what [Heard] has.
func (a *Agent) Marshal() ([]byte, error) {
	s := savedAgent{
		FirstSeen:          a.FirstSeen.UTC(),
		Liveness:           a.Liveness,
		LivenessSince:      a.LivenessSince.UTC(),
		Transport:          a.Transport,
		RemoteAddr:         a.RemoteAddr,
		Capabilities:       uint64(a.Capabilities),
		CustomCapabilities: a.CustomCapabilities,
		Health:             saveHealth(a.Health),
		Dropped:            a.Dropped,
		Lineage:            a.Lineage.save(),
	}
	if d := a.Description; d != nil {
		s.Description = &savedDescription{
			Identifying: savedAttributes(d.Identifying), NonIdentifying: savedAttributes(d.NonIdentifying),
			Omitted: d.Omitted, Bytes: d.bytes,
		}
	}
	if a.Dropped&PartHealth != 0 {
		for _, p := range a.Problems {
			s.Problems = append(s.Problems, savedProblem{Path: p.Path, Status: p.Status, Error: p.Error, Since: saveTime(p.Since)})
		}
	}
	return json.Marshal(s)
}

// Unmarshal reads what Marshal wrote. c and l are what the agent shared with others; nil where it had none, or where
// it is lost: then the agent is asked again.
func Unmarshal(raw []byte, heard Heard, c *Config, l *Components) (*Agent, error) {
	var s savedAgent
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	if heard.UID.IsZero() {
		return nil, fmt.Errorf("%w: no instance UID", ErrNotSaved)
	}
	a := &Agent{
		UID: heard.UID, LastSeen: heard.LastSeen, Seq: heard.Seq,
		FirstSeen: s.FirstSeen, Liveness: s.Liveness, LivenessSince: s.LivenessSince,
		Transport: s.Transport, RemoteAddr: s.RemoteAddr,
		Capabilities: Capabilities(s.Capabilities), CustomCapabilities: s.CustomCapabilities,
		Health: s.Health.restore(), Config: c, Components: l, Dropped: s.Dropped,
		Lineage: s.Lineage.restore(),
	}
	if d := s.Description; d != nil {
		a.Description = &Description{
			Identifying: d.Identifying, NonIdentifying: d.NonIdentifying, Omitted: d.Omitted, bytes: d.Bytes,
		}
	}
	a.talk.synced = heard.Synced && !a.wantsConfig()
	a.talk.rhythm = rhythm{pause: heard.Pause, last: heard.Pause, count: min(heard.Pauses, steady)}
	a.Problems = problems(a.Health)
	if a.Dropped&PartHealth != 0 {
		a.Problems = restoreProblems(s.Problems)
	}
	a.search = a.searchText()
	return a, nil
}

// wantsConfig reports whether the agent's config must be asked for: it is lost, or it may have had secrets, which are written
// down nowhere and have to be known to be found in errors.
func (a *Agent) wantsConfig() bool {
	if a.Config != nil {
		return a.Config.mayHideSecrets()
	}
	return a.Capabilities&reportsConfig != 0 && a.Dropped&PartConfig == 0
}

func restoreProblems(list []savedProblem) (out []Problem) {
	for _, p := range list {
		h := &Health{Status: p.Status, LastError: p.Error, Since: restoreTime(p.Since)}
		out = append(out, newProblem(h, p.Path))
	}
	return out
}

func saveHealth(h *Health) *savedHealth {
	if h == nil {
		return nil
	}
	s := &savedHealth{
		Name: h.Name, Healthy: h.Healthy, Status: h.Status, LastError: h.LastError,
		Since: saveTime(h.Since), StartedAt: saveTime(h.StartedAt),
		Attributes: savedAttributes(h.Attributes), Omitted: h.Omitted, Bytes: h.bytes,
	}
	for _, c := range h.Children {
		s.Children = append(s.Children, saveHealth(c))
	}
	return s
}

func (s *savedHealth) restore() *Health {
	if s == nil {
		return nil
	}
	h := &Health{
		Name: s.Name, Healthy: s.Healthy, Status: s.Status, LastError: s.LastError,
		Since: restoreTime(s.Since), StartedAt: restoreTime(s.StartedAt),
		Attributes: s.Attributes, Omitted: s.Omitted, bytes: s.Bytes,
	}
	for _, c := range s.Children {
		h.Children = append(h.Children, c.restore())
	}
	return h
}

func saveTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func restoreTime(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// savedAttributes keep the types of their values, which JSON alone does not.
type savedAttributes []Attribute

// savedValue is a value under the name of its type.
type savedValue struct {
	Key    string          `json:"k,omitempty"`
	String *string         `json:"s,omitempty"`
	Bool   *bool           `json:"b,omitempty"`
	Int    *int64          `json:"i,omitempty"`
	Double *uint64         `json:"d,omitempty"` // its bits, for JSON has no NaN
	Bytes  *[]byte         `json:"y,omitempty"`
	List   *[]savedValue   `json:"l,omitempty"`
	Map    savedAttributes `json:"m,omitempty"`
	IsMap  bool            `json:"map,omitempty"`
}

// MarshalJSON writes a list of values, each with its key and its type.
func (s savedAttributes) MarshalJSON() ([]byte, error) {
	out := make([]savedValue, 0, len(s))
	for _, a := range s {
		v := saveValue(a.Value)
		v.Key = a.Key
		out = append(out, v)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *savedAttributes) UnmarshalJSON(raw []byte) error {
	var list []savedValue
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	*s = nil
	for _, v := range list {
		*s = append(*s, Attribute{Key: v.Key, Value: v.restore()})
	}
	return nil
}

func saveValue(v any) savedValue {
	switch v := v.(type) {
	case string:
		return savedValue{String: &v}
	case bool:
		return savedValue{Bool: &v}
	case int64:
		return savedValue{Int: &v}
	case float64:
		bits := math.Float64bits(v)
		return savedValue{Double: &bits}
	case []byte:
		return savedValue{Bytes: &v}
	case []any:
		list := make([]savedValue, 0, len(v))
		for _, e := range v {
			list = append(list, saveValue(e))
		}
		return savedValue{List: &list}
	case []Attribute:
		return savedValue{Map: v, IsMap: true}
	default:
		return savedValue{}
	}
}

func (v savedValue) restore() any {
	switch {
	case v.String != nil:
		return *v.String
	case v.Bool != nil:
		return *v.Bool
	case v.Int != nil:
		return *v.Int
	case v.Double != nil:
		return math.Float64frombits(*v.Double)
	case v.Bytes != nil:
		return *v.Bytes
	case v.List != nil:
		list := make([]any, 0, len(*v.List))
		for _, e := range *v.List {
			list = append(list, e.restore())
		}
		return list
	case v.IsMap:
		return []Attribute(v.Map)
	default:
		return nil
	}
}

// savedConfig is how a config is written down.
type savedConfig struct {
	Files   []ConfigFile `json:"files"`
	Omitted int          `json:"omitted,omitempty"`
	Masked  int          `json:"masked,omitempty"`
	Bytes   int          `json:"bytes"`
}

// Marshal writes the config down.
func (c *Config) Marshal() ([]byte, error) {
	return json.Marshal(savedConfig{Files: c.Files, Omitted: c.Omitted, Masked: c.Masked, Bytes: c.bytes})
}

// UnmarshalConfig reads what [Config.Marshal] wrote, and refuses what is not the config of that sum.
func UnmarshalConfig(raw []byte, want Sum) (*Config, error) {
	var s savedConfig
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: config: %w", ErrNotSaved, err)
	}
	c := &Config{Files: s.Files, Omitted: s.Omitted, Masked: s.Masked, bytes: s.Bytes}
	c.sum = c.hash()
	if c.sum != want {
		return nil, fmt.Errorf("%w: config %s has another content", ErrNotSaved, want)
	}
	return c, nil
}

// savedComponents is how a list of components is written down.
type savedComponents struct {
	Hash    []byte            `json:"hash"`
	Listed  bool              `json:"listed"`
	List    []*savedComponent `json:"list"`
	Omitted int               `json:"omitted,omitempty"`
	Bytes   int               `json:"bytes"`
}

type savedComponent struct {
	Name     string            `json:"name"`
	Metadata savedAttributes   `json:"metadata,omitempty"`
	Children []*savedComponent `json:"children,omitempty"`
}

// Marshal writes the list down.
func (c *Components) Marshal() ([]byte, error) {
	return json.Marshal(savedComponents{
		Hash: c.Hash, Listed: c.Listed, List: saveComponents(c.List), Omitted: c.Omitted, Bytes: c.bytes,
	})
}

// UnmarshalComponents reads what [Components.Marshal] wrote, and refuses what is not the list of that sum.
func UnmarshalComponents(raw []byte, want Sum) (*Components, error) {
	var s savedComponents
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: components: %w", ErrNotSaved, err)
	}
	c := &Components{
		Hash: s.Hash, Listed: s.Listed, List: restoreComponents(s.List), Omitted: s.Omitted, bytes: s.Bytes,
	}
	if c.sum = c.digest(); c.sum != want {
		return nil, fmt.Errorf("%w: components %s have another content", ErrNotSaved, want)
	}
	c.verified = c.isWhatItsHashSays()
	return c, nil
}

func saveComponents(list []*Component) []*savedComponent {
	out := make([]*savedComponent, 0, len(list))
	for _, c := range list {
		out = append(out, &savedComponent{
			Name: c.Name, Metadata: savedAttributes(c.Metadata), Children: saveComponents(c.Children),
		})
	}
	return out
}

func restoreComponents(list []*savedComponent) []*Component {
	if len(list) == 0 {
		return nil
	}
	out := make([]*Component, 0, len(list))
	for _, s := range list {
		out = append(out, &Component{Name: s.Name, Metadata: s.Metadata, Children: restoreComponents(s.Children)})
	}
	return out
}
