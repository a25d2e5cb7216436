-- What a new PostgreSQL database gets: the tables of `sqlite.sql`, where their shape is explained.
--
-- Rows lie in partitions by the day of their start, made when a day's first row comes; retention drops whole days. The
-- primary key has the start in it because a partition's must; it is as much a call's own as its id, so a row that comes
-- twice still meets itself. Whoever waits for changes is told of them.

CREATE TABLE keys (
  token BYTEA NOT NULL,
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
  fields BYTEA NOT NULL,
  PRIMARY KEY (token),
  UNIQUE (key_alias)
);

CREATE TABLE key_predecessors (
  old BYTEA NOT NULL,
  token BYTEA NOT NULL,
  until_us BIGINT NOT NULL,
  PRIMARY KEY (old),
  FOREIGN KEY(token) REFERENCES keys (token) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX key_predecessors_by_token ON key_predecessors (token);

CREATE TABLE workers (
  no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch BIGINT NOT NULL UNIQUE,
  host TEXT NOT NULL
);

CREATE TABLE spend_places (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest BYTEA NOT NULL UNIQUE,
  kind SMALLINT NOT NULL,
  name TEXT NOT NULL,
  "key" BYTEA,
  user_id TEXT,
  team_id TEXT,
  organization_id TEXT,
  model TEXT NOT NULL,
  model_group TEXT NOT NULL,
  provider TEXT NOT NULL,
  endpoint TEXT NOT NULL DEFAULT ''
);

CREATE TABLE spend_rows (
  id BIGINT NOT NULL,
  started_us BIGINT NOT NULL,
  place BIGINT NOT NULL,
  customer BIGINT,
  cost_nano BIGINT NOT NULL,
  status SMALLINT NOT NULL,
  session_crc BIGINT NOT NULL,
  request_crc BIGINT NOT NULL,
  detail BYTEA NOT NULL,
  PRIMARY KEY (started_us, id)
) PARTITION BY RANGE (started_us);

CREATE INDEX spend_rows_by_id ON spend_rows (id);

CREATE INDEX spend_rows_by_customer ON spend_rows (customer, started_us) WHERE customer IS NOT NULL;

CREATE INDEX spend_rows_by_session ON spend_rows (session_crc) WHERE session_crc <> 0;

CREATE INDEX spend_rows_failed ON spend_rows (started_us) WHERE status >= 400;

CREATE INDEX spend_rows_by_request ON spend_rows (request_crc);

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
);

CREATE TABLE spend_times (
  day BIGINT NOT NULL,
  place BIGINT NOT NULL,
  bucket SMALLINT NOT NULL,
  calls BIGINT NOT NULL,
  PRIMARY KEY (day, place, bucket)
);

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

CREATE TABLE entities (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  detail BYTEA NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE TABLE audit (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_us BIGINT NOT NULL,
  actor TEXT NOT NULL,
  actor_key TEXT NOT NULL,
  action TEXT NOT NULL,
  table_name TEXT NOT NULL,
  object_id TEXT NOT NULL,
  detail BYTEA NOT NULL
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
  digest BYTEA NOT NULL,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  begun_us BIGINT NOT NULL,
  used_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  detail BYTEA NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX tickets_by_user ON tickets (user_id);

CREATE INDEX tickets_by_use ON tickets (kind, used_us);

CREATE TABLE changes (
  name TEXT NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (name)
);

CREATE FUNCTION tollway_tell() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_notify(''tollway_'' || NEW.name, NEW.number::text); RETURN NULL; END';

CREATE TRIGGER changes_told AFTER INSERT OR UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION tollway_tell();

CREATE TABLE schema_version (
  number BIGINT NOT NULL
);
