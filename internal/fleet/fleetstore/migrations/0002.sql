-- Copyright The Fleetview Authors
-- SPDX-License-Identifier: Apache-2.0

-- What an agent said by custom messages: the last few of them, its ingests and gateways. JSON, compressed with zstd.
-- Written in coarse batches: an agent may say something each second.
CREATE TABLE agent_said (
  agent INTEGER PRIMARY KEY,
  body  BLOB NOT NULL
);
