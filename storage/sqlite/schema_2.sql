-- Schema 2. What law 9 counts of an observation is settled when it is written, so that every total is a plain sum; what
-- is asked without a filter is answered from tables that are derived from the observations; and observations can be
-- rolled up into longer windows. The rows of schema 1 are carried over by the program (migrate_2.go).

-- Of counters and marks of the whole file. commit: the number of the newest transaction, which is the received of its
-- rows. folded: the received up to which all rows are in the derived tables. horizon: windows that start before it are
-- rolled up and take no further observations (Unix nanoseconds).
CREATE TABLE state (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO state VALUES ('commit', 0), ('folded', 0), ('horizon', 0);

-- The receiver of a source: the text of storage.Receiver, or 0 for posted traces, which law 9 always adds.
ALTER TABLE source ADD COLUMN receiver INTEGER NOT NULL DEFAULT 0;

-- When the witness was first stored.
ALTER TABLE witness ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
DROP INDEX witness_subject;
CREATE INDEX witness_subject ON witness (subject, witness);

-- Observations, window by window, and in it what one source sends together. subject_hits is what the row adds to its
-- subject, witness_hits what it adds to its witness: by law 9, of two receivers of an instance, the larger count stands
-- within a window start and an assurance (compared per subject and workload, or per witness). Their sums over whole
-- windows are the totals. received is the commit number of state.
ALTER TABLE obs RENAME TO obs_1;
CREATE TABLE obs (
  start        INTEGER NOT NULL,
  source       INTEGER NOT NULL,
  instance     INTEGER NOT NULL,
  witness      INTEGER NOT NULL,
  flush        INTEGER NOT NULL,
  length       INTEGER NOT NULL, -- of the window
  hits         INTEGER NOT NULL,
  hits_error   INTEGER NOT NULL,
  subject_hits INTEGER NOT NULL,
  witness_hits INTEGER NOT NULL,
  first        INTEGER NOT NULL,
  last         INTEGER NOT NULL,
  received     INTEGER NOT NULL,
  assurance    INTEGER NOT NULL,
  origin       INTEGER NOT NULL,
  principal    INTEGER NOT NULL, -- text
  link         INTEGER NOT NULL,
  PRIMARY KEY (start, source, instance, witness, flush)
) WITHOUT ROWID;

-- Observations behind the horizon, added up into longer windows.
CREATE TABLE rolled (
  start        INTEGER NOT NULL,
  source       INTEGER NOT NULL,
  instance     INTEGER NOT NULL,
  witness      INTEGER NOT NULL,
  length       INTEGER NOT NULL,
  assurance    INTEGER NOT NULL,
  origin       INTEGER NOT NULL,
  principal    INTEGER NOT NULL,
  link         INTEGER NOT NULL,
  hits         INTEGER NOT NULL,
  hits_error   INTEGER NOT NULL,
  subject_hits INTEGER NOT NULL,
  witness_hits INTEGER NOT NULL,
  first        INTEGER NOT NULL,
  last         INTEGER NOT NULL,
  received     INTEGER NOT NULL, -- the newest
  PRIMARY KEY (start, source, instance, witness, length, assurance, origin, principal, link)
) WITHOUT ROWID;

-- The table window of schema 1 has the starts of obs and of rolled. Which sources ever spoke of an instance, and which
-- did in an hour (counted since 1970): written once each, they lead to the rows of a subject.
DROP TABLE seen;
CREATE TABLE heard (
  instance INTEGER NOT NULL,
  source   INTEGER NOT NULL,
  PRIMARY KEY (instance, source)
) WITHOUT ROWID;
CREATE TABLE active (
  hour     INTEGER NOT NULL,
  instance INTEGER NOT NULL,
  source   INTEGER NOT NULL,
  PRIMARY KEY (hour, instance, source)
) WITHOUT ROWID;

-- The derived tables: pure functions of obs and rolled. The writer keeps what changes in memory and writes it here now
-- and then; until then the rows of the window starts in unfolded that were received after state.folded are missing here.
CREATE TABLE unfolded (start INTEGER PRIMARY KEY);

CREATE TABLE total (
  witness    INTEGER PRIMARY KEY,
  subject    INTEGER NOT NULL,
  prefix     BLOB NOT NULL, -- the first 8 bytes of the id
  hits       INTEGER NOT NULL, -- of witness_hits
  hits_error INTEGER NOT NULL,
  measured   INTEGER NOT NULL, -- 1 if any observation was
  first      INTEGER NOT NULL,
  last       INTEGER NOT NULL,
  instance   INTEGER NOT NULL, -- this, link and origin are of the newest observation
  link       INTEGER NOT NULL,
  origin     INTEGER NOT NULL
);
CREATE INDEX total_hits ON total (subject, hits DESC, prefix);
CREATE INDEX total_last ON total (subject, last DESC, prefix);

-- Where a subject was seen. hits here and below are of subject_hits.
CREATE TABLE place (
  subject   INTEGER NOT NULL,
  workload  INTEGER NOT NULL,
  instance  INTEGER NOT NULL,
  assurance INTEGER NOT NULL,
  hits      INTEGER NOT NULL,
  last      INTEGER NOT NULL,
  PRIMARY KEY (subject, workload, instance, assurance)
) WITHOUT ROWID;

-- When: by the hour in which windows start. A cell exists while there are rows, even if they add nothing.
CREATE TABLE cell (
  hour      INTEGER NOT NULL, -- since 1970
  subject   INTEGER NOT NULL,
  link      INTEGER NOT NULL,
  assurance INTEGER NOT NULL,
  hits      INTEGER NOT NULL,
  longest   INTEGER NOT NULL, -- window
  PRIMARY KEY (hour, subject, link, assurance)
) WITHOUT ROWID;

CREATE TABLE subject_total (
  subject       INTEGER PRIMARY KEY,
  tenant        INTEGER NOT NULL,
  kind          INTEGER NOT NULL,
  hits          INTEGER NOT NULL,
  measured      INTEGER NOT NULL, -- of hits
  first         INTEGER NOT NULL,
  last          INTEGER NOT NULL,
  last_measured INTEGER NOT NULL, -- 0 if never
  witnesses     INTEGER NOT NULL,
  hosts         INTEGER NOT NULL, -- this and the following: distinct ones with a name, as in reach
  containers    INTEGER NOT NULL,
  images        INTEGER NOT NULL,
  namespaces    INTEGER NOT NULL,
  workloads     INTEGER NOT NULL
);
CREATE INDEX subject_total_hits ON subject_total (tenant, hits DESC, subject);

-- The distinct names behind those counts, written at once. dimension: 1 host, 2 container, 3 image, 4 namespace,
-- 5 workload. value: of a workload its row, else the first 8 bytes of the sha256 of the name.
CREATE TABLE reach (
  subject   INTEGER NOT NULL,
  dimension INTEGER NOT NULL,
  value     INTEGER NOT NULL,
  PRIMARY KEY (subject, dimension, value)
) WITHOUT ROWID;

DROP VIEW observation;
-- For people: what was observed, in words. No query of the program uses it. flush is NULL where several were rolled up.
CREATE VIEW observation AS
SELECT lower(hex(w.witness)) AS witness,
       (SELECT text FROM text WHERE id = w.tenant) AS tenant,
       CASE s.kind WHEN 1 THEN 'exec' WHEN 2 THEN 'load' WHEN 3 THEN 'sample' ELSE 'call' END AS kind,
       (SELECT text FROM text WHERE id = f.symbol) AS symbol,
       m.path AS module,
       l.namespace, l.controller, l.container AS container, l.image,
       i.host, i.pod, i.container AS container_id,
       strftime('%Y-%m-%dT%H:%M:%SZ', o.start / 1000000000, 'unixepoch') AS window_start,
       o.length / 1000000000.0 AS window_seconds,
       o.flush, o.hits, o.hits_error,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.first / 1e9, 'unixepoch') AS first_seen,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.last / 1e9, 'unixepoch') AS last_seen,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.received / 1e9, 'unixepoch') AS received,
       CASE o.assurance WHEN 1 THEN 'measured' ELSE 'asserted' END AS assurance,
       CASE o.origin WHEN 1 THEN 'workload' WHEN 2 THEN 'injected' WHEN 3 THEN 'self' ELSE 'unknown' END AS origin,
       (SELECT text FROM source WHERE id = o.source) AS source,
       (SELECT text FROM text WHERE id = o.principal) AS principal,
       a.purl AS artifact, c.purl AS component
FROM (SELECT start, length, source, instance, witness, flush, hits, hits_error, first, last, received, assurance, origin, principal, link FROM obs
      UNION ALL
      SELECT start, length, source, instance, witness, NULL, hits, hits_error, first, last, received, assurance, origin, principal, link FROM rolled) o
JOIN witness w ON w.id = o.witness
JOIN subject s ON s.id = w.subject
JOIN frame f ON f.id = w.frame
JOIN module m ON m.id = f.module
JOIN workload l ON l.id = w.workload
JOIN instance i ON i.id = o.instance
JOIN link k ON k.id = o.link
JOIN artifact a ON a.id = k.artifact
JOIN component c ON c.id = k.component;
