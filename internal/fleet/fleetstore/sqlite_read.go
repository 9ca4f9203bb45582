// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Load reads all agents.
func (s *sqliteStore) Load(ctx context.Context) (Loaded, error) {
	out, err := s.load(ctx)
	return out, sqliteError(err)
}

func (s *sqliteStore) load(ctx context.Context) (out Loaded, err error) {
	if err := s.read.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM events").Scan(&out.LastEvent); err != nil {
		return out, err
	}
	shared := contents{store: s, configs: map[fleet.Sum]*fleet.Config{}, lists: map[fleet.Sum]*fleet.Components{}}
	rows, err := s.read.QueryContext(ctx, `SELECT agents.uid, agents.config, agents.components, agent_state.body,
		agent_seen.last_seen, agent_seen.seq, agent_seen.synced, agent_seen.pause, agent_seen.pauses, agent_said.body
		FROM agents JOIN agent_state ON agent_state.agent = agents.id JOIN agent_seen ON agent_seen.agent = agents.id
		LEFT JOIN agent_said ON agent_said.agent = agents.id
		ORDER BY agents.id`)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	for rows.Next() {
		a, err := scanAgent(ctx, rows, &shared)
		if errors.Is(err, fleet.ErrNotSaved) || errors.Is(err, ErrDamaged) {
			out.Unreadable++
			continue
		}
		if err != nil {
			return out, err
		}
		out.Agents = append(out.Agents, a)
	}
	return out, rows.Err()
}

func scanAgent(ctx context.Context, rows *sql.Rows, shared *contents) (*fleet.Agent, error) {
	var uid, config, list, body, said []byte
	var h fleet.Heard
	var lastSeen, seq, pause int64
	if err := rows.Scan(&uid, &config, &list, &body, &lastSeen, &seq, &h.Synced, &pause, &h.Pauses, &said); err != nil {
		return nil, err
	}
	var err error
	if h.UID, err = opampwire.InstanceUIDFromBytes(uid); err != nil {
		return nil, errors.Join(ErrDamaged, err)
	}
	h.LastSeen, h.Seq, h.Pause = time.Unix(0, lastSeen).UTC(), uint64(seq), time.Duration(pause)
	raw, err := shared.store.packer.unpack(body)
	if err != nil {
		return nil, err
	}
	c, err := shared.config(ctx, config)
	if err != nil {
		return nil, err
	}
	l, err := shared.components(ctx, list)
	if err != nil {
		return nil, err
	}
	a, err := fleet.Unmarshal(raw, h, c, l)
	if err != nil || said == nil {
		return a, err
	}
	if raw, err = shared.store.packer.unpack(said); err == nil {
		_ = a.RestoreSaid(raw, time.Now()) // what can't be read was never said; the agent is there all the same
	}
	return a, nil
}

// contents are what agents share, each read once.
type contents struct {
	store   *sqliteStore
	configs map[fleet.Sum]*fleet.Config
	lists   map[fleet.Sum]*fleet.Components
}

// config is nil for none, and for one that can't be read: its agents are asked for it again.
func (c *contents) config(ctx context.Context, hash []byte) (*fleet.Config, error) {
	if len(hash) != len(fleet.Sum{}) {
		return nil, nil
	}
	sum := fleet.Sum(hash)
	if known, ok := c.configs[sum]; ok {
		return known, nil
	}
	raw, err := c.store.blob(ctx, sum)
	if err != nil {
		return nil, err
	}
	out, _ := fleet.UnmarshalConfig(raw, sum) // nil where it can't be read
	c.configs[sum] = out
	return out, nil
}

func (c *contents) components(ctx context.Context, hash []byte) (*fleet.Components, error) {
	if len(hash) != len(fleet.Sum{}) {
		return nil, nil
	}
	sum := fleet.Sum(hash)
	if known, ok := c.lists[sum]; ok {
		return known, nil
	}
	raw, err := c.store.blob(ctx, sum)
	if err != nil {
		return nil, err
	}
	out, _ := fleet.UnmarshalComponents(raw, sum)
	c.lists[sum] = out
	return out, nil
}

// blob is nil where there is none, or where it is damaged.
func (s *sqliteStore) blob(ctx context.Context, sum fleet.Sum) ([]byte, error) {
	var body []byte
	err := s.read.QueryRowContext(ctx, "SELECT body FROM blobs WHERE hash = ?", sum[:]).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := s.packer.unpack(body)
	if err != nil {
		return nil, nil //nolint:nilerr // as good as not there
	}
	return raw, nil
}

// Config returns an effective config.
func (s *sqliteStore) Config(ctx context.Context, sum fleet.Sum) (*fleet.Config, error) {
	raw, err := s.blob(ctx, sum)
	if err != nil || raw == nil {
		return nil, sqliteError(err)
	}
	return fleet.UnmarshalConfig(raw, sum)
}

// Events answers a query. An index serves each part of it: the agent, the time, the kind; pages are cut by ID.
func (s *sqliteStore) Events(ctx context.Context, q fleet.EventQuery) (fleet.EventPage, error) {
	page, err := s.events(ctx, q.Bound())
	return page, sqliteError(err)
}

func (s *sqliteStore) events(ctx context.Context, q fleet.EventQuery) (page fleet.EventPage, err error) {
	where, args := found(q)
	//nolint:gosec // the condition is of fixed texts, and all values are bound
	rows, err := s.read.QueryContext(ctx, `SELECT e.id, e.at, e.uid, coalesce(i.name, ''), e.kind, e.subject, e.was, e.became, e.detail
		FROM events e LEFT JOIN identities i ON i.id = e.identity
		WHERE `+where+" ORDER BY e.id DESC LIMIT ?", append(args, q.Limit+1)...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	for rows.Next() {
		if len(page.Events) == q.Limit {
			page.Next = page.Events[q.Limit-1].ID
			break
		}
		e, err := scanEvent(rows)
		if err != nil {
			return page, err
		}
		page.Events = append(page.Events, e)
	}
	return page, rows.Err()
}

// found is the condition of what q wants, in SQL. An agent and its kin are looked for apart, each by its index and no
// further than a page, and then put together.
func found(q fleet.EventQuery) (where string, args []any) {
	const identity = "e.identity = (SELECT id FROM identities WHERE name = ?)"
	rest, values := conditions(q)
	switch {
	case !q.UID.IsZero() && q.Logical != "":
		const branch = "SELECT id FROM (SELECT e.id FROM events e WHERE "
		page := " AND " + rest + " ORDER BY e.id DESC LIMIT ?)"
		args = slices.Concat([]any{q.UID.Bytes()}, values, []any{q.Limit + 1, q.Logical}, values, []any{q.Limit + 1})
		return "e.id IN (" + branch + "e.uid = ?" + page + " UNION " + branch + identity + page + ")", args
	case !q.UID.IsZero():
		return "e.uid = ? AND " + rest, append([]any{q.UID.Bytes()}, values...)
	case q.Logical != "":
		return identity + " AND " + rest, append([]any{q.Logical}, values...)
	default:
		return rest, values
	}
}

// conditions are those of q that have nothing to do with an agent.
func conditions(q fleet.EventQuery) (where string, args []any) {
	where = "true"
	add := func(text string, values ...any) {
		where, args = where+" AND "+text, append(args, values...)
	}
	if q.Before != 0 {
		add("e.id < ?", int64(q.Before))
	}
	if !q.From.IsZero() {
		add("e.at >= ?", q.From.UnixNano())
	}
	if !q.Until.IsZero() {
		add("e.at < ?", q.Until.UnixNano())
	}
	if len(q.Kinds) > 0 {
		marks := make([]any, 0, len(q.Kinds))
		for _, k := range q.Kinds {
			marks = append(marks, string(k))
		}
		add("e.kind IN ("+strings.TrimSuffix(strings.Repeat("?,", len(marks)), ",")+")", marks...)
	}
	return where, args
}

func scanEvent(rows *sql.Rows) (e fleet.Event, err error) {
	var id, at int64
	var uid []byte
	if err := rows.Scan(&id, &at, &uid, &e.Logical, &e.Kind, &e.Subject, &e.From, &e.To, &e.Detail); err != nil {
		return e, err
	}
	e.ID, e.At = uint64(id), time.Unix(0, at).UTC()
	if len(uid) == len(e.UID) {
		e.UID = opampwire.InstanceUID(uid)
	}
	return e, nil
}

// Prune deletes what is too old.
func (s *sqliteStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	w, err := s.begin(ctx)
	if err != nil {
		return 0, sqliteError(err)
	}
	cutoff := before.UnixNano()
	n := w.exec("DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ? ORDER BY at LIMIT ?)", cutoff, limit)
	n += w.exec(`DELETE FROM blobs WHERE hash IN (SELECT hash FROM blobs WHERE used < ?
		AND NOT EXISTS (SELECT 1 FROM agents WHERE config = blobs.hash)
		AND NOT EXISTS (SELECT 1 FROM agents WHERE components = blobs.hash) ORDER BY used LIMIT ?)`, cutoff, limit)
	n += w.exec(`DELETE FROM identities WHERE id IN (SELECT id FROM identities
		WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.identity = identities.id) LIMIT ?)`, limit)
	if n > 0 {
		clear(s.identities)
	}
	if err := w.end(); err != nil {
		return 0, sqliteError(err)
	}
	return int(n), nil
}
