-- Schema 3. Coverage is folded: heartbeats and losses of unknown size that continue each other are one row, cut at the
-- weeks since 1970.

-- What rows of coverage have in common. form 1: heartbeats; 2: losses of unknown size; 3: counted losses; 4: states.
CREATE TABLE coverage_topic (
  id        INTEGER PRIMARY KEY,
  tenant    INTEGER NOT NULL REFERENCES text,
  form      INTEGER NOT NULL CHECK (form BETWEEN 1 AND 4),
  source    INTEGER NOT NULL REFERENCES source,
  instance  INTEGER NOT NULL REFERENCES instance,
  workload  INTEGER NOT NULL REFERENCES workload,
  assurance INTEGER NOT NULL CHECK (assurance IN (1, 2)),
  signal    TEXT NOT NULL,
  kinds     INTEGER NOT NULL, -- bit 1<<kind for each
  name      TEXT NOT NULL,    -- of the stage of a loss, or of a hook
  build_id  TEXT NOT NULL,
  sha256    TEXT NOT NULL,
  path      TEXT NOT NULL,
  language  TEXT NOT NULL,
  package   TEXT NOT NULL,
  member    TEXT NOT NULL,
  symbol    TEXT NOT NULL,
  UNIQUE (source, tenant, form, instance, workload, assurance, signal, kinds, name, build_id, sha256, path, language, package, member, symbol)
);
CREATE INDEX coverage_topic_tenant ON coverage_topic (tenant);

-- Rows of forms 1 and 2 that have the same topic and week neither overlap nor touch.
CREATE TABLE coverage_run (
  topic         INTEGER NOT NULL REFERENCES coverage_topic,
  start         INTEGER NOT NULL,
  end           INTEGER NOT NULL,
  state         TEXT NOT NULL, -- of a hook, from start on
  reason        TEXT NOT NULL,
  interval      INTEGER NOT NULL, -- between heartbeats, nanoseconds
  watched       INTEGER NOT NULL, -- processes, of those seen, in the heartbeat that ends last
  seen          INTEGER NOT NULL,
  least_watched INTEGER NOT NULL, -- the same, in the heartbeat with the smallest share
  least_seen    INTEGER NOT NULL,
  lost          INTEGER NOT NULL,
  received      INTEGER NOT NULL,
  principal     INTEGER NOT NULL REFERENCES text,
  PRIMARY KEY (topic, start, end, state)
) WITHOUT ROWID;

-- How many rows of coverage_run that start on a day (since 1970) a source has.
CREATE TABLE coverage_day (
  tenant INTEGER NOT NULL REFERENCES text,
  source INTEGER NOT NULL REFERENCES source,
  day    INTEGER NOT NULL,
  rows   INTEGER NOT NULL,
  PRIMARY KEY (tenant, source, day)
) WITHOUT ROWID;

INSERT INTO coverage_topic (tenant, form, source, instance, workload, assurance, signal, kinds, name, build_id, sha256, path, language, package, member, symbol)
SELECT DISTINCT tenant, CASE WHEN loss_stage <> '' THEN 2 + (lost > 0) WHEN status_target <> '' THEN 4 ELSE 1 END,
       source, instance, workload, assurance, signal, kinds, loss_stage || status_target, '', '', '', '', '', '', ''
FROM coverage;

CREATE TEMP TABLE coverage_old AS
SELECT t.id AS topic, t.form, c.start, c.end, c.interval, c.watched, c.seen, c.lost, c.status_state AS state, c.status_reason AS reason,
       c.received, c.principal, c.start / 604800000000000 AS week,
       max(c.end) OVER (PARTITION BY t.id, c.start / 604800000000000 ORDER BY c.start, c.end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
FROM coverage c
JOIN coverage_topic t ON t.tenant = c.tenant AND t.source = c.source AND t.instance = c.instance AND t.workload = c.workload
 AND t.assurance = c.assurance AND t.signal = c.signal AND t.kinds = c.kinds AND t.name = c.loss_stage || c.status_target
 AND t.form = CASE WHEN c.loss_stage <> '' THEN 2 + (c.lost > 0) WHEN c.status_target <> '' THEN 4 ELSE 1 END;

CREATE TEMP TABLE coverage_island AS
SELECT *, sum(before IS NULL OR start > before) OVER (PARTITION BY topic, week ORDER BY start, end) AS island
FROM coverage_old WHERE form IN (1, 2);

INSERT INTO coverage_run
SELECT last.topic, first.start, last.end, '', '', last.interval, last.watched, last.seen,
       coalesce(least.watched, 0), coalesce(least.seen, 0), 0, last.received, last.principal
FROM (SELECT topic, week, island, max(end) AS end, interval, watched, seen, received, principal FROM coverage_island GROUP BY topic, week, island) last
JOIN (SELECT topic, week, island, min(start) AS start FROM coverage_island GROUP BY topic, week, island) first USING (topic, week, island)
LEFT JOIN (SELECT topic, week, island, min(watched * 1.0 / seen), watched, seen FROM coverage_island WHERE seen > 0 GROUP BY topic, week, island) least
  USING (topic, week, island);

INSERT OR IGNORE INTO coverage_run
SELECT topic, start, end, state, reason, interval, watched, seen, watched, seen, lost, received, principal FROM coverage_old WHERE form IN (3, 4);

INSERT INTO coverage_day
SELECT t.tenant, t.source, r.start / 86400000000000, count(*)
FROM coverage_run r JOIN coverage_topic t ON t.id = r.topic GROUP BY 1, 2, 3;

DROP TABLE temp.coverage_island;
DROP TABLE temp.coverage_old;
DROP TABLE coverage;
