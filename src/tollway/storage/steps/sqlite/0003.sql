ALTER TABLE spend_rows RENAME TO old_spend_rows;

DROP INDEX spend_rows_by_request;

DROP INDEX spend_rows_by_time;

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
  provider TEXT NOT NULL
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
