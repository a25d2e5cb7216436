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
