-- What a new SQLite file gets. The same tables in PostgreSQL: `postgres.sql`. What brings an older file to it: `steps/`.
--
-- A call's row has the id `workers.no << 40 | seq`, so that a row that comes twice is found by its primary key, and is
-- added at the end of its worker's rows. What is the same in many rows stands once, in `spend_places`; all else that is
-- known of a call is in `detail`, the journal's own record. `spend_requests` says where providers' ids are, some four
-- thousand rows together: CRC-32s of 4 bytes and ids of 8, in the machine's order.

CREATE TABLE keys (
  token BLOB NOT NULL,
  key_name TEXT NOT NULL,
  key_alias TEXT,
  user_id TEXT,
  team_id TEXT,
  organization_id TEXT,
  blocked BOOLEAN,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL,
  expires_us BIGINT,
  max_budget_nano BIGINT,
  soft_budget_nano BIGINT,
  budget_duration TEXT,
  budget_reset_us BIGINT,
  period_start_us BIGINT NOT NULL,
  spend_nano BIGINT NOT NULL,
  total_spend_nano BIGINT NOT NULL,
  rpm_limit BIGINT,
  tpm_limit BIGINT,
  parallel_max BIGINT,
  last_active_us BIGINT,
  fields BLOB NOT NULL,
  PRIMARY KEY (token),
  UNIQUE (key_alias)
);

CREATE TABLE key_predecessors (
  old BLOB NOT NULL,
  token BLOB NOT NULL,
  until_us BIGINT NOT NULL,
  PRIMARY KEY (old),
  FOREIGN KEY(token) REFERENCES keys (token) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX key_predecessors_by_token ON key_predecessors (token);

CREATE TABLE workers (
  no INTEGER PRIMARY KEY,
  epoch BIGINT NOT NULL UNIQUE,
  host TEXT NOT NULL
);

CREATE TABLE spend_places (
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  kind SMALLINT NOT NULL,
  name TEXT NOT NULL,
  "key" BLOB,
  user_id TEXT,
  team_id TEXT,
  organization_id TEXT,
  model TEXT NOT NULL,
  model_group TEXT NOT NULL,
  provider TEXT NOT NULL,
  endpoint TEXT NOT NULL DEFAULT ''
);

CREATE TABLE spend_rows (
  id INTEGER PRIMARY KEY,
  started_us BIGINT NOT NULL,
  place BIGINT NOT NULL,
  customer BIGINT,
  cost_nano BIGINT NOT NULL,
  status SMALLINT NOT NULL,
  session_crc BIGINT NOT NULL,
  detail BLOB NOT NULL
);

CREATE INDEX spend_rows_by_time ON spend_rows (started_us, place, customer, cost_nano, status, session_crc);

CREATE TABLE spend_requests (
  no INTEGER PRIMARY KEY,
  last_us BIGINT NOT NULL,
  crcs BLOB NOT NULL,
  ids BLOB NOT NULL
);

CREATE TABLE spend_days (
  kind SMALLINT NOT NULL,
  day BIGINT NOT NULL,
  place BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  spend_nano BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cache_read_tokens BIGINT NOT NULL,
  cache_write_tokens BIGINT NOT NULL,
  PRIMARY KEY (kind, day, place)
) WITHOUT ROWID;

CREATE TABLE spend_times (
  day BIGINT NOT NULL,
  place BIGINT NOT NULL,
  bucket SMALLINT NOT NULL,
  calls BIGINT NOT NULL,
  PRIMARY KEY (day, place, bucket)
) WITHOUT ROWID;

CREATE TABLE spent (
  scope TEXT NOT NULL,
  id TEXT NOT NULL,
  spend_nano BIGINT NOT NULL,
  total_nano BIGINT NOT NULL,
  period_start_us BIGINT NOT NULL,
  reset_us BIGINT,
  PRIMARY KEY (scope, id)
);

CREATE TABLE leases (
  scope TEXT NOT NULL,
  id TEXT NOT NULL,
  period_start_us BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  granted_nano BIGINT NOT NULL,
  charged_nano BIGINT NOT NULL,
  wanted SMALLINT NOT NULL,
  PRIMARY KEY (scope, id, period_start_us, epoch)
);

CREATE INDEX leases_by_epoch ON leases (epoch, wanted);

CREATE TABLE changes (
  name TEXT NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE entities (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  detail BLOB NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at_us BIGINT NOT NULL,
  actor TEXT NOT NULL,
  actor_key TEXT NOT NULL,
  action TEXT NOT NULL,
  table_name TEXT NOT NULL,
  object_id TEXT NOT NULL,
  detail BLOB NOT NULL
);

CREATE INDEX audit_by_time ON audit (at_us);

CREATE INDEX audit_by_object ON audit (table_name, object_id);

CREATE TABLE passwords (
  user_id TEXT NOT NULL,
  hash TEXT NOT NULL,
  changed_us BIGINT NOT NULL,
  PRIMARY KEY (user_id)
);

CREATE TABLE tickets (
  digest BLOB NOT NULL,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  begun_us BIGINT NOT NULL,
  used_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  detail BLOB NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX tickets_by_user ON tickets (user_id);

CREATE INDEX tickets_by_use ON tickets (kind, used_us);
