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

CREATE TABLE spend_rows (
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  started_us BIGINT NOT NULL,
  "key" BLOB,
  user_id TEXT,
  team_id TEXT,
  end_user TEXT,
  request_id TEXT NOT NULL,
  request_crc BIGINT NOT NULL,
  run_no BIGINT NOT NULL,
  model TEXT NOT NULL,
  cost_nano BIGINT NOT NULL,
  failed SMALLINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  detail BLOB NOT NULL,
  PRIMARY KEY (epoch, seq)
);

CREATE INDEX spend_rows_by_request ON spend_rows (run_no, request_crc);

CREATE INDEX spend_rows_by_time ON spend_rows (started_us, "key", user_id, team_id, end_user, model, cost_nano, failed, input_tokens, output_tokens);

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
