// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetproblem"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Kinds of blobs.
const (
	blobConfig     = "config"
	blobComponents = "components"
)

// maxIdentities bounds the identities whose numbers are remembered.
const maxIdentities = 100_000

// Write keeps a batch.
func (s *sqliteStore) Write(ctx context.Context, b Batch) error {
	w, err := s.begin(ctx)
	if err != nil {
		return sqliteError(err)
	}
	for i := range b.Events {
		w.event(&b.Events[i])
	}
	for _, uid := range b.Removed {
		w.remove(uid)
	}
	for i := range b.Agents {
		w.agent(&b.Agents[i])
	}
	if err := w.end(); err != nil {
		clear(s.identities) // some may be undone
		return sqliteError(err)
	}
	return nil
}

func (w *writing) event(e *fleet.Event) {
	var uid, identity any
	if !e.UID.IsZero() {
		uid = e.UID.Bytes()
	}
	if e.Logical != "" {
		identity = w.identity(e.Logical)
	}
	w.exec("INSERT OR IGNORE INTO events (id, at, uid, identity, kind, subject, was, became, detail) VALUES (?,?,?,?,?,?,?,?,?)",
		int64(e.ID), e.At.UnixNano(), uid, identity, string(e.Kind), e.Subject, e.From, e.To, e.Detail)
}

func (w *writing) identity(name string) int64 {
	known := w.store.identities
	if id, ok := known[name]; ok {
		return id
	}
	w.exec("INSERT OR IGNORE INTO identities (name) VALUES (?)", name)
	id := w.number("SELECT id FROM identities WHERE name = ?", name)
	if len(known) >= maxIdentities {
		clear(known)
	}
	known[name] = id
	return id
}

func (w *writing) remove(uid opampwire.InstanceUID) {
	id := w.number("SELECT id FROM agents WHERE uid = ?", uid.Bytes())
	if id == 0 {
		return
	}
	now := time.Now().UnixNano()
	w.exec("UPDATE blobs SET used = ? WHERE hash IN (SELECT config FROM agents WHERE id = ? UNION SELECT components FROM agents WHERE id = ?)",
		now, id, id)
	for _, text := range []string{
		"DELETE FROM components WHERE agent = ?",
		"DELETE FROM attributes WHERE agent = ?",
		"DELETE FROM agent_state WHERE agent = ?",
		"DELETE FROM agent_seen WHERE agent = ?",
		"DELETE FROM agent_said WHERE agent = ?",
		"DELETE FROM agents WHERE id = ?",
	} {
		w.exec(text, id)
	}
}

func (w *writing) agent(c *Change) {
	a, kept := c.Is, &c.Kept
	w.config(a, kept)
	w.list(a, kept)
	id := w.row(a, kept)
	if w.err != nil {
		return
	}
	w.exec("INSERT INTO agent_state (agent, body) VALUES (?,?) ON CONFLICT (agent) DO UPDATE SET body = excluded.body",
		id, w.store.packer.pack(c.State))
	w.heard(id, a.Heard())
	if kept.Version == 0 || kept.Description != a.Description {
		w.attributes(id, a.Description)
	}
	if kept.Version == 0 || kept.Health != a.Health {
		w.health(id, kept, a.Health)
	}
}

// row writes what lists show and sort by, and returns the agent's number. Who is known and tells the same of itself keeps
// the rest of it: an index is written with each column that is set, whatever stood there.
func (w *writing) row(a *fleet.Agent, kept *Kept) int64 {
	same := kept.Version != 0 && kept.Description == a.Description && kept.Config == a.Config && kept.Components == a.Components
	if same {
		if id := w.number("SELECT id FROM agents WHERE uid = ?", a.UID.Bytes()); id != 0 {
			w.exec("UPDATE agents SET liveness = ?, condition = ?, since = ? WHERE id = ?",
				string(a.Liveness), string(a.Condition()), a.Since().UnixNano(), id)
			return id
		}
	}
	return w.number(`INSERT INTO agents
		(uid, logical, name, version, host, liveness, condition, since, first_seen, config, components)
		VALUES (?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (uid) DO UPDATE SET logical = excluded.logical, name = excluded.name, version = excluded.version,
		host = excluded.host, liveness = excluded.liveness, condition = excluded.condition, since = excluded.since,
		first_seen = excluded.first_seen, config = excluded.config, components = excluded.components
		RETURNING id`,
		a.UID.Bytes(), a.Logical, a.ServiceName(), a.ServiceVersion(), a.HostName(), string(a.Liveness),
		string(a.Condition()), a.Since().UnixNano(), a.FirstSeen.UnixNano(), configSum(a.Config), componentsSum(a.Components))
}

func configSum(c *fleet.Config) any {
	if c == nil {
		return nil
	}
	sum := c.Sum()
	return sum[:]
}

func componentsSum(c *fleet.Components) any {
	if c == nil {
		return nil
	}
	sum := c.Sum()
	return sum[:]
}

func (w *writing) config(a *fleet.Agent, kept *Kept) {
	if a.Config != nil && kept.Config != a.Config {
		w.blob(a.Config.Sum(), blobConfig, a.Config.Marshal)
	}
	if kept.Config != nil && kept.Config != a.Config {
		w.leave(kept.Config.Sum())
	}
}

func (w *writing) list(a *fleet.Agent, kept *Kept) {
	if a.Components != nil && kept.Components != a.Components {
		w.blob(a.Components.Sum(), blobComponents, a.Components.Marshal)
	}
	if kept.Components != nil && kept.Components != a.Components {
		w.leave(kept.Components.Sum())
	}
}

// blob keeps a content, if it is not there yet.
func (w *writing) blob(sum fleet.Sum, kind string, marshal func() ([]byte, error)) {
	if w.number("SELECT 1 FROM blobs WHERE hash = ?", sum[:]) == 1 || w.err != nil {
		return
	}
	raw, err := marshal()
	if err != nil {
		w.err = err
		return
	}
	w.exec("INSERT OR IGNORE INTO blobs (hash, kind, size, used, body) VALUES (?,?,?,?,?)",
		sum[:], kind, len(raw), time.Now().UnixNano(), w.store.packer.pack(raw))
}

// leave notes that an agent had a content until now.
func (w *writing) leave(sum fleet.Sum) {
	w.exec("UPDATE blobs SET used = ? WHERE hash = ?", time.Now().UnixNano(), sum[:])
}

func (w *writing) heard(id int64, h fleet.Heard) {
	w.exec(`INSERT INTO agent_seen (agent, last_seen, seq, synced, pause, pauses) VALUES (?,?,?,?,?,?)
		ON CONFLICT (agent) DO UPDATE SET last_seen = excluded.last_seen, seq = excluded.seq, synced = excluded.synced,
		pause = excluded.pause, pauses = excluded.pauses`,
		id, h.LastSeen.UnixNano(), int64(h.Seq), h.Synced, int64(h.Pause), h.Pauses)
}

// heardRows is how many agents one statement of WriteHeard tells of.
const heardRows = 500

// WriteHeard keeps who was heard when.
func (s *sqliteStore) WriteHeard(ctx context.Context, list []fleet.Heard) error {
	w, err := s.begin(ctx)
	if err != nil {
		return sqliteError(err)
	}
	for part := range slices.Chunk(list, heardRows) {
		args := make([]any, 0, 6*len(part))
		for _, h := range part {
			args = append(args, h.UID.Bytes(), h.LastSeen.UnixNano(), int64(h.Seq), h.Synced, int64(h.Pause), h.Pauses)
		}
		w.exec(`WITH heard (uid, last_seen, seq, synced, pause, pauses) AS (VALUES `+placeholders(len(part), 6)+`)
			INSERT INTO agent_seen (agent, last_seen, seq, synced, pause, pauses)
			SELECT agents.id, heard.last_seen, heard.seq, heard.synced, heard.pause, heard.pauses
			FROM heard JOIN agents ON agents.uid = heard.uid WHERE true
			ON CONFLICT (agent) DO UPDATE SET last_seen = excluded.last_seen, seq = excluded.seq,
			synced = excluded.synced, pause = excluded.pause, pauses = excluded.pauses`, args...)
	}
	return sqliteError(w.end())
}

// WriteSaid keeps what agents said.
func (s *sqliteStore) WriteSaid(ctx context.Context, list []Said) error {
	w, err := s.begin(ctx)
	if err != nil {
		return sqliteError(err)
	}
	for _, said := range list {
		if len(said.Body) == 0 {
			w.exec("DELETE FROM agent_said WHERE agent = (SELECT id FROM agents WHERE uid = ?)", said.UID.Bytes())
			continue
		}
		w.exec(`INSERT INTO agent_said (agent, body) SELECT id, ? FROM agents WHERE uid = ?
			ON CONFLICT (agent) DO UPDATE SET body = excluded.body`, s.packer.pack(said.Body), said.UID.Bytes())
	}
	return sqliteError(w.end())
}

// Bounds of the attributes that can be asked for.
const (
	maxAttributes     = 128
	maxAttributeBytes = 256
)

func (w *writing) attributes(id int64, d *fleet.Description) {
	w.exec("DELETE FROM attributes WHERE agent = ?", id)
	if d == nil {
		return
	}
	rows := rows{w: w, columns: 3, before: "INSERT OR IGNORE INTO attributes (agent, key, value) VALUES "}
	for i, a := range slices.Concat(d.Identifying, d.NonIdentifying) {
		if i == maxAttributes {
			break
		}
		if text := a.Text(); text != "" && len(text) <= maxAttributeBytes && len(a.Key) <= maxAttributeBytes {
			rows.add(id, a.Key, text)
		}
	}
	rows.flush()
}

// Columns of components, in the order of componentRow.
const (
	componentColumns = 11
	intoComponents   = "INTO components (agent, path, pipeline, kind, type, name, healthy, status, error, alike, since) VALUES "
)

// health writes the parts that are not what was kept.
func (w *writing) health(id int64, kept *Kept, is *fleet.Health) {
	if kept.Version == 0 {
		w.healthAnew(id, is)
		return
	}
	was := map[string]*fleet.Health{}
	for part := range kept.Health.Parts() {
		was[part.Path()] = part.Node
	}
	for part := range is.Parts() {
		path := part.Path()
		before, known := was[path]
		delete(was, path)
		if known && before.SaysTheSame(part.Node) {
			continue
		}
		w.exec("INSERT "+intoComponents+"(?,?,?,?,?,?,?,?,?,?,?)"+`
			ON CONFLICT (agent, path) DO UPDATE SET healthy = excluded.healthy, status = excluded.status,
			error = excluded.error, alike = excluded.alike, since = excluded.since`, componentRow(id, part)...)
	}
	for path := range was {
		w.exec("DELETE FROM components WHERE agent = ? AND path = ?", id, path)
	}
}

func (w *writing) healthAnew(id int64, is *fleet.Health) {
	w.exec("DELETE FROM components WHERE agent = ?", id)
	rows := rows{w: w, columns: componentColumns, before: "INSERT OR IGNORE " + intoComponents}
	for part := range is.Parts() {
		rows.add(componentRow(id, part)...)
	}
	rows.flush()
}

func componentRow(id int64, part fleet.Part) []any {
	kind, name := fleet.SplitComponentName(part.Node.Name)
	typ, _, _ := strings.Cut(name, "/")
	h := part.Node
	return []any{id, part.Path(), part.Pipeline, kind, typ, name, h.Healthy, h.Status, h.LastError, fleetproblem.Normalize(h.LastError), h.Since.UnixNano()}
}

// rows gathers rows for one table, so that a statement writes many: what a statement costs besides its rows is as much
// as a row. That holds for INSERT OR IGNORE. A statement of many rows that can fail half-way keeps a journal of its own,
// and costs twice as much as one for each row.
type rows struct {
	w       *writing
	columns int    // of a row
	before  string // the statement up to its rows

	args []any
}

// maxRows bounds a statement. Each number of rows is a statement of its own, prepared once a transaction.
const maxRows = 32

func (r *rows) add(values ...any) {
	r.args = append(r.args, values...)
	if len(r.args) == maxRows*r.columns {
		r.flush()
	}
}

// flush writes what was gathered.
func (r *rows) flush() {
	n := len(r.args) / r.columns
	if n == 0 {
		return
	}
	r.w.exec(r.before+placeholders(n, r.columns), r.args...)
	r.args = r.args[:0]
}

// placeholders are those of n rows.
func placeholders(n, columns int) string {
	row := "(" + strings.Repeat("?,", columns-1) + "?)"
	return strings.Repeat(row+",", n-1) + row
}
