// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// SortKey is what a list of agents is sorted by. Equal agents are sorted by name, then by instance UID.
type SortKey string

const (
	SortStatus   SortKey = "status" // what needs attention first
	SortName     SortKey = "name"
	SortVersion  SortKey = "version" // as people count: 0.99 before 0.155
	SortHost     SortKey = "host"
	SortSince    SortKey = "since"     // the latest change of liveness or of status first
	SortLastSeen SortKey = "last_seen" // the last heard first
	SortFlaps    SortKey = "flaps"     // who came, went and fell ill most often of late first
	SortRuns     SortKey = "runs"      // who was started anew most often first
)

// SortKeys lists every key.
func SortKeys() []SortKey {
	return []SortKey{SortStatus, SortName, SortVersion, SortHost, SortSince, SortLastSeen, SortFlaps, SortRuns}
}

var (
	// ErrBadCursor says that Request.After is not the Next of a page of the same order.
	ErrBadCursor = errors.New("not a cursor of this list")
	// ErrBadSort says that Request.Sort is no key.
	ErrBadSort = errors.New("not a sort key")
)

// maxKeyBytes bounds each part of a sort key, and with it a cursor.
const maxKeyBytes = 128

func cutKey(s string) string {
	if len(s) <= maxKeyBytes {
		return s
	}
	n := maxKeyBytes
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// key is an agent's place in an order. No two agents share one, for it ends with the instance UID.
type key struct {
	number int64
	text   string
	place  string
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.number, o.number), strings.Compare(k.text, o.text), strings.Compare(k.place, o.place))
}

// order is how a list is sorted, and where the page begins.
type order struct {
	sort       SortKey
	descending bool
	after      key
	started    bool // after says where
	now        time.Time
}

func (r Request) order() (order, error) {
	o := order{sort: r.Sort, descending: r.Descending, now: r.Now}
	if o.sort == "" {
		o.sort = SortStatus
	}
	if !slices.Contains(SortKeys(), o.sort) {
		return o, fmt.Errorf("%w: %.64q", ErrBadSort, r.Sort)
	}
	if r.After == "" {
		return o, nil
	}
	var err error
	o.started = true
	o.after, err = o.parse(r.After)
	return o, err
}

func (o order) name() string {
	if o.descending {
		return "-" + string(o.sort)
	}
	return string(o.sort)
}

// cursor says where the page after k begins. The order is in it, so that a cursor of another one is noticed.
func (o order) cursor(k key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(
		o.name() + "\x00" + strconv.FormatInt(k.number, 36) + "\x00" + k.text + "\x00" + k.place))
}

func (o order) parse(cursor string) (k key, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.SplitN(string(raw), "\x00", 4)
	if err != nil || len(parts) != 4 || parts[0] != o.name() || parts[3] == "" || len(raw) > 8*maxKeyBytes {
		return key{}, ErrBadCursor
	}
	n, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil {
		return key{}, ErrBadCursor
	}
	return key{number: n, text: parts[2], place: parts[3]}, nil
}

// compare turns the order round where it is asked for.
func (o order) compare(a, b key) int {
	if o.descending {
		return b.compare(a)
	}
	return a.compare(b)
}

// found is a slot with its place in the order.
type found struct {
	key  key
	slot int
}

// page takes the best of what it is offered.
type page struct {
	index *Index
	order order
	limit int
	texts []string // of version or host, by set; made when first needed
	known []bool
	best  *best[found]
}

func newPage(x *Index, o order, limit int) *page {
	n := limit
	if n > 0 {
		n++ // one more says whether there is another page
	}
	p := &page{index: x, order: o, limit: limit}
	p.best = newBest(max(n, 0), func(a, b found) int { return o.compare(a.key, b.key) })
	if c := p.column(); c != nil {
		p.texts, p.known = make([]string, len(c.members)), make([]bool, len(c.members))
	}
	return p
}

// column that the order goes by, or nil.
func (p *page) column() *column {
	switch p.order.sort {
	case SortVersion:
		return p.index.columns[sideVersion]
	case SortHost:
		return p.index.columns[sideHost]
	default:
		return nil
	}
}

func (p *page) offer(slot int) {
	if p.limit < 0 {
		return
	}
	k := p.keyOf(slot)
	if p.order.started && p.order.compare(k, p.order.after) <= 0 {
		return
	}
	p.best.offer(found{k, slot})
}

func (p *page) keyOf(slot int) key {
	r := &p.index.rows[slot]
	k := key{place: r.place}
	switch p.order.sort {
	case SortStatus:
		k.number = int64(r.rank)
	case SortSince:
		k.number = -r.since
	case SortLastSeen:
		k.number = -r.agent.LastSeen.UnixNano()
	case SortFlaps:
		k.number = -int64(r.agent.Flaps(p.order.now))
	case SortRuns:
		k.number = -int64(r.agent.Runs)
	case SortVersion, SortHost:
		k.text = p.text(slot)
	}
	return k
}

func (p *page) text(slot int) string {
	c := p.column()
	set := c.of[slot]
	if !p.known[set] {
		p.known[set] = true
		text := strings.ReplaceAll(c.text(slot), "\x00", "") // which has a meaning in cursors
		if p.order.sort == SortVersion {
			p.texts[set] = cutKey(fleetquery.VersionKey(text))
		} else {
			p.texts[set] = cutKey(strings.ToLower(text))
		}
	}
	return p.texts[set]
}

// finish is the page, and the cursor of the one after it.
func (p *page) finish() (agents []*fleet.Agent, next string) {
	list := p.best.sorted()
	if p.limit > 0 && len(list) > p.limit {
		list = list[:p.limit]
		next = p.order.cursor(list[p.limit-1].key)
	}
	agents = make([]*fleet.Agent, 0, len(list))
	for _, f := range list {
		agents = append(agents, p.index.rows[f.slot].agent)
	}
	p.index.fleet.Latest(agents)
	return agents, next
}
