// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SortKey is what a list of agents is sorted by. Equal agents are sorted by name, then by instance UID.
type SortKey string

const (
	SortStatus   SortKey = "status" // what needs attention first
	SortName     SortKey = "name"
	SortVersion  SortKey = "version"
	SortHost     SortKey = "host"
	SortSince    SortKey = "since"     // the latest change of liveness or of status first
	SortLastSeen SortKey = "last_seen" // the last heard first
)

// SortKeys lists every key.
func SortKeys() []SortKey {
	return []SortKey{SortStatus, SortName, SortVersion, SortHost, SortSince, SortLastSeen}
}

// Query says which agents are wanted, in which order, and how many at a time.
type Query struct {
	// Text is looked for in names, versions, hosts, instance UIDs, attributes ("key=value"), failing components and
	// their errors, whatever the case. Each of its words must be found.
	Text string
	// An empty list wants all.
	Liveness   []Liveness
	Conditions []Condition
	// Healthy wants the agents whose own word is this; nil wants all.
	Healthy *bool

	Sort       SortKey // "" is SortStatus
	Descending bool    // turns the order round

	Limit int // of one page; 0 is no limit
	// After is the Next of the page before; empty is the first page.
	After string
}

// Page is an answer to a [Query].
type Page struct {
	Agents []*Agent
	// Total counts the agents on all pages.
	Total int
	// Next asks for the page after this one; empty is the last page.
	Next string
	// Conditions counts the agents that the query would find without its own Conditions.
	Conditions map[Condition]int
	// Known counts all agents of the fleet.
	Known int
	// Position is the moment of which this is true.
	Position Position
}

var (
	// ErrBadCursor says that Query.After is not the Next of a page of the same order.
	ErrBadCursor = errors.New("not a cursor of this list")
	// ErrBadSort says that Query.Sort is no key.
	ErrBadSort = errors.New("not a sort key")
)

// Select answers q. Pages are cut by key, not by number: who comes or goes between two pages shifts nobody else.
func (f *Fleet) Select(q Query) (Page, error) {
	if q.Sort == "" {
		q.Sort = SortStatus
	}
	if !slices.Contains(SortKeys(), q.Sort) {
		return Page{}, fmt.Errorf("%w: %.64q", ErrBadSort, q.Sort)
	}
	after, err := q.parseCursor()
	if err != nil {
		return Page{}, err
	}
	agents, position := f.Agents()
	page := Page{Known: len(agents), Position: position, Conditions: map[Condition]int{}}
	found := q.filter(agents, page.Conditions)
	page.Total = len(found)
	q.cut(&page, found, after)
	return page, nil
}

// keyed is an agent and its place in the order.
type keyed struct {
	key   string
	agent *Agent
}

func (q Query) filter(agents []*Agent, conditions map[Condition]int) []keyed {
	words := strings.Fields(strings.ToLower(q.Text))
	var out []keyed
	for _, a := range agents {
		if !q.wants(a, words) {
			continue
		}
		condition := a.Condition()
		conditions[condition]++
		if len(q.Conditions) == 0 || slices.Contains(q.Conditions, condition) {
			out = append(out, keyed{key: q.Sort.of(a), agent: a})
		}
	}
	return out
}

func (q Query) wants(a *Agent, words []string) bool {
	if len(q.Liveness) > 0 && !slices.Contains(q.Liveness, a.Liveness) {
		return false
	}
	if q.Healthy != nil && (a.Health == nil || a.Health.Healthy != *q.Healthy) {
		return false
	}
	for _, w := range words {
		if !strings.Contains(a.search, w) {
			return false
		}
	}
	return true
}

// cut sorts what was found and takes one page of it.
func (q Query) cut(page *Page, found []keyed, after string) {
	slices.SortFunc(found, q.compare)
	if after != "" {
		i, _ := slices.BinarySearchFunc(found, keyed{key: after}, q.compare)
		for i < len(found) && found[i].key == after {
			i++
		}
		found = found[i:]
	}
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = q.cursor(found[q.Limit-1].key)
	}
	page.Agents = make([]*Agent, 0, len(found))
	for _, k := range found {
		page.Agents = append(page.Agents, k.agent)
	}
}

func (q Query) compare(a, b keyed) int {
	if q.Descending {
		a, b = b, a
	}
	return cmp.Compare(a.key, b.key)
}

// maxKeyBytes bounds each part of a sort key, and with it a cursor.
const maxKeyBytes = 128

// of is the agent's place as a text: it ends with the instance UID, so no two agents share one.
func (k SortKey) of(a *Agent) string {
	return head(k.first(a), maxKeyBytes) + "\x00" + a.place
}

// nameAndUID is the part of a place that every order has.
func (a *Agent) nameAndUID() string {
	return head(strings.ToLower(a.ServiceName()), maxKeyBytes) + "\x00" + a.UID.String()
}

func (k SortKey) first(a *Agent) string {
	switch k {
	case SortStatus:
		return string(rune('a' + slices.Index(Conditions(), a.Condition())))
	case SortVersion:
		return strings.ToLower(a.ServiceVersion())
	case SortHost:
		return strings.ToLower(a.HostName())
	case SortSince:
		return newestFirst(a.Since())
	case SortLastSeen:
		return newestFirst(a.LastSeen)
	default:
		return ""
	}
}

// newestFirst is a text that sorts the later time first.
func newestFirst(t time.Time) string {
	return fmt.Sprintf("%020d", uint64(1<<63)-uint64(max(t.UnixNano(), 0)))
}

// Since is when the agent came into its present condition, as well as that is known.
func (a *Agent) Since() time.Time {
	switch {
	case !a.Present() || a.Health == nil:
		return a.LivenessSince
	case len(a.Problems) > 0:
		return a.Problems[0].Since
	default:
		return a.Health.Since
	}
}

// order names the order of the list, so that a cursor of another one is noticed.
func (q Query) order() string {
	if q.Descending {
		return "-" + string(q.Sort)
	}
	return string(q.Sort)
}

func (q Query) cursor(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(q.order() + "\x00" + key))
}

func (q Query) parseCursor() (key string, err error) {
	if q.After == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(q.After)
	order, key, ok := strings.Cut(string(raw), "\x00")
	if err != nil || !ok || order != q.order() || key == "" {
		return "", ErrBadCursor
	}
	return key, nil
}
