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
