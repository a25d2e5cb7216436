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
