-- Copyright The Fleetview Authors
-- SPDX-License-Identifier: Apache-2.0

-- Times are nanoseconds since 1970. Hashes and instance UIDs are bytes.

-- What lists show and sort by. Narrow: what is large stands elsewhere.
CREATE TABLE agents (
  id             INTEGER PRIMARY KEY,
  uid            BLOB    NOT NULL UNIQUE,
  logical        TEXT    NOT NULL,
  name           TEXT    NOT NULL,
  version        TEXT    NOT NULL,
  host           TEXT    NOT NULL,
  liveness       TEXT    NOT NULL,
  condition      TEXT    NOT NULL,
  since          INTEGER NOT NULL,
  first_seen     INTEGER NOT NULL,
  config         BLOB,
  components     BLOB
);
CREATE INDEX agents_condition ON agents (condition, since);
CREATE INDEX agents_version   ON agents (version);
CREATE INDEX agents_config    ON agents (config);
CREATE INDEX agents_components ON agents (components);
CREATE INDEX agents_logical   ON agents (logical);

-- What each message changes. Written in coarse batches.
CREATE TABLE agent_seen (
  agent     INTEGER PRIMARY KEY,
  last_seen INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  synced    INTEGER NOT NULL,
  pause     INTEGER NOT NULL,
  pauses    INTEGER NOT NULL
);

-- The whole of an agent but for what it shares: JSON, compressed with zstd.
CREATE TABLE agent_state (
  agent INTEGER PRIMARY KEY,
  body  BLOB NOT NULL
);

CREATE TABLE attributes (
  agent INTEGER NOT NULL,
  key   TEXT    NOT NULL,
  value TEXT    NOT NULL,
  PRIMARY KEY (agent, key)
) WITHOUT ROWID;
CREATE INDEX attributes_value ON attributes (key, value);

-- The health of every part of every agent, flat.
CREATE TABLE components (
  agent    INTEGER NOT NULL,
  path     TEXT    NOT NULL,
  pipeline TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  type     TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  healthy  INTEGER NOT NULL,
  status   TEXT    NOT NULL,
  error    TEXT    NOT NULL,
  alike    TEXT    NOT NULL, -- the error without what differs from one agent to the next
  since    INTEGER NOT NULL,
  PRIMARY KEY (agent, path)
) WITHOUT ROWID;
CREATE INDEX components_type    ON components (type, kind);
CREATE INDEX components_failing ON components (type, alike, since) WHERE healthy = 0;
CREATE INDEX components_status  ON components (status, since) WHERE healthy = 0;

-- Effective configs and lists of components, once each: JSON, compressed with zstd.
CREATE TABLE blobs (
  hash BLOB    PRIMARY KEY,
  kind TEXT    NOT NULL,
  size INTEGER NOT NULL, -- before compression
  used INTEGER NOT NULL, -- when the last agent left it, or it was written
  body BLOB    NOT NULL
) WITHOUT ROWID;
CREATE INDEX blobs_used ON blobs (used);

-- Logical identities, as events name them.
CREATE TABLE identities (
  id   INTEGER PRIMARY KEY,
  name TEXT    NOT NULL UNIQUE
);

-- What happened. Only ever added to, and deleted from its beginning.
CREATE TABLE events (
  id       INTEGER PRIMARY KEY,
  at       INTEGER NOT NULL,
  uid      BLOB,
  identity INTEGER,
  kind     TEXT    NOT NULL,
  subject  TEXT    NOT NULL,
  was      TEXT    NOT NULL,
  became   TEXT    NOT NULL,
  detail   TEXT    NOT NULL
);
CREATE INDEX events_at       ON events (at);
CREATE INDEX events_uid      ON events (uid, id) WHERE uid IS NOT NULL;
CREATE INDEX events_identity ON events (identity, id) WHERE identity IS NOT NULL;
CREATE INDEX events_kind     ON events (kind, id);
