-- Schema 1. Texts and whatever repeats are interned to integers; row 0 of such a table is "nothing". Times are Unix
-- nanoseconds. Codes: kind 1 exec, 2 load, 3 sample, 4 call; assurance 1 measured, 2 asserted; origin 1 workload,
-- 2 injected, 3 self, 4 unknown. The view observation reads it all as text.

CREATE TABLE schema_version (
  version INTEGER PRIMARY KEY,
  applied INTEGER NOT NULL
);

CREATE TABLE text (
  id   INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
);
INSERT INTO text VALUES (0, '');

-- A module as it was described. What is known of modules is kept by key (witness.Module.Key), which is their identity.
CREATE TABLE module (
  id       INTEGER PRIMARY KEY,
  key      INTEGER NOT NULL REFERENCES text,
  build_id TEXT NOT NULL,
  sha256   TEXT NOT NULL,
  path     TEXT NOT NULL,
  UNIQUE (key, build_id, sha256, path)
);
INSERT INTO module VALUES (0, 0, '', '', '');

CREATE TABLE frame (
  id            INTEGER PRIMARY KEY,
  digest        BLOB NOT NULL UNIQUE, -- of all other columns
  module        INTEGER NOT NULL REFERENCES module,
  package       INTEGER NOT NULL REFERENCES text,
  member        INTEGER NOT NULL REFERENCES text,
  symbol        INTEGER NOT NULL REFERENCES text,
  file          INTEGER NOT NULL REFERENCES text,
  line          INTEGER NOT NULL,
  language      TEXT NOT NULL,
  flags         TEXT NOT NULL, -- JSON
  offset        BLOB,          -- 8 bytes, big endian; NULL when unknown
  inlined       INTEGER NOT NULL,
  symbol_source TEXT NOT NULL,
  confidence    REAL NOT NULL
);

-- Call paths are a tree: a node is a frame below its caller. Node 0 has no frame: it is above the outermost.
CREATE TABLE node (
  id     INTEGER PRIMARY KEY,
  caller INTEGER NOT NULL REFERENCES node,
  frame  INTEGER REFERENCES frame,
  UNIQUE (caller, frame)
);
INSERT INTO node VALUES (0, 0, NULL);

CREATE TABLE workload (
  id         INTEGER PRIMARY KEY,
  namespace  TEXT NOT NULL,
  controller TEXT NOT NULL,
  container  TEXT NOT NULL,
  image      TEXT NOT NULL,
  UNIQUE (namespace, controller, container, image)
);

CREATE TABLE instance (
  id        INTEGER PRIMARY KEY,
  host      TEXT NOT NULL,
  pod       TEXT NOT NULL,
  container TEXT NOT NULL,
  UNIQUE (host, pod, container)
);

CREATE TABLE source (
  id   INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
);

CREATE TABLE artifact (
  id         INTEGER PRIMARY KEY,
  purl       TEXT NOT NULL,
  digest     TEXT NOT NULL,
  revision   TEXT NOT NULL,
  repository TEXT NOT NULL,
  method     TEXT NOT NULL,
  conflicts  TEXT NOT NULL, -- JSON
  UNIQUE (purl, digest, revision, repository, method, conflicts)
);
INSERT INTO artifact VALUES (0, '', '', '', '', '', '[]');

CREATE TABLE component (
  id   INTEGER PRIMARY KEY,
  purl TEXT NOT NULL UNIQUE
);
INSERT INTO component VALUES (0, '');

-- The names by which components and artifacts are found: purls without version and qualifiers, folded.
CREATE TABLE component_name (
  name      TEXT NOT NULL,
  component INTEGER NOT NULL REFERENCES component,
  PRIMARY KEY (name, component)
) WITHOUT ROWID;
CREATE TABLE artifact_name (
  name     TEXT NOT NULL,
  artifact INTEGER NOT NULL REFERENCES artifact,
  PRIMARY KEY (name, artifact)
) WITHOUT ROWID;

-- What an observation itself said of its module.
CREATE TABLE link (
  id        INTEGER PRIMARY KEY,
  artifact  INTEGER NOT NULL REFERENCES artifact,
  component INTEGER NOT NULL REFERENCES component,
  UNIQUE (artifact, component)
);
INSERT INTO link VALUES (0, 0, 0);

-- The newest that is known of a module, and of a package in it. A frame without module knows only of its own symbol, which
-- is the part then. seen is the event time of the observation that said so.
CREATE TABLE known_artifact (
  tenant    INTEGER NOT NULL REFERENCES text,
  module    INTEGER NOT NULL REFERENCES text, -- module.key
  part      INTEGER NOT NULL REFERENCES text, -- 0, or the symbol
  artifact  INTEGER NOT NULL REFERENCES artifact,
  assurance INTEGER NOT NULL CHECK (assurance IN (1, 2)),
  seen      INTEGER NOT NULL,
  PRIMARY KEY (tenant, module, part)
) WITHOUT ROWID;
CREATE INDEX known_artifact_artifact ON known_artifact (tenant, artifact);
CREATE TABLE known_component (
  tenant    INTEGER NOT NULL REFERENCES text,
  module    INTEGER NOT NULL REFERENCES text, -- module.key
  part      INTEGER NOT NULL REFERENCES text, -- package, or the symbol
  component INTEGER NOT NULL REFERENCES component,
  assurance INTEGER NOT NULL CHECK (assurance IN (1, 2)),
  seen      INTEGER NOT NULL,
  PRIMARY KEY (tenant, module, part)
) WITHOUT ROWID;
CREATE INDEX known_component_component ON known_component (tenant, component);

-- What a finding is matched against: witnesses that differ only in workload and path have one subject.
CREATE TABLE subject (
  id      INTEGER PRIMARY KEY,
  digest  BLOB NOT NULL UNIQUE, -- of tenant, kind, module key, symbol or offset, flags
  tenant  INTEGER NOT NULL REFERENCES text,
  kind    INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
  frame   INTEGER NOT NULL REFERENCES frame,
  module  INTEGER NOT NULL REFERENCES text, -- module.key
  part    INTEGER NOT NULL REFERENCES text, -- of known_component
  package INTEGER NOT NULL REFERENCES text,
  member  INTEGER NOT NULL REFERENCES text
);
CREATE INDEX subject_part ON subject (tenant, module, part);
CREATE INDEX subject_package ON subject (tenant, package) WHERE package <> 0;
CREATE INDEX subject_member ON subject (tenant, member) WHERE member <> 0;

CREATE TABLE witness (
  id       INTEGER PRIMARY KEY,
  tenant   INTEGER NOT NULL REFERENCES text,
  witness  BLOB NOT NULL, -- the id, 32 bytes
  subject  INTEGER NOT NULL REFERENCES subject,
  frame    INTEGER NOT NULL REFERENCES frame,
  node     INTEGER NOT NULL REFERENCES node, -- the innermost caller
  workload INTEGER NOT NULL REFERENCES workload,
  UNIQUE (tenant, witness)
);
CREATE INDEX witness_subject ON witness (subject);

-- Observations, appended window by window. No foreign keys here: they would cost a look-up each for every row, and the
-- only writer makes those rows in the same transaction. The tenant is that of the witness.
CREATE TABLE obs (
  start      INTEGER NOT NULL,
  witness    INTEGER NOT NULL,
  source     INTEGER NOT NULL,
  instance   INTEGER NOT NULL,
  flush      INTEGER NOT NULL,
  length     INTEGER NOT NULL, -- of the window
  hits       INTEGER NOT NULL,
  hits_error INTEGER NOT NULL,
  first      INTEGER NOT NULL,
  last       INTEGER NOT NULL,
  received   INTEGER NOT NULL,
  assurance  INTEGER NOT NULL,
  origin     INTEGER NOT NULL,
  principal  INTEGER NOT NULL, -- text
  link       INTEGER NOT NULL,
  PRIMARY KEY (start, witness, source, instance, flush)
) WITHOUT ROWID;

-- The starts of windows that have observations, and in which slots of ten minutes a witness has some: together they lead
-- from a witness to its observations. An index of obs by witness would be written once for every row; this is written
-- once a slot.
CREATE TABLE window (start INTEGER PRIMARY KEY);
CREATE TABLE seen (
  witness INTEGER NOT NULL,
  slot    INTEGER NOT NULL,
  PRIMARY KEY (witness, slot)
) WITHOUT ROWID;

CREATE TABLE named (
  tenant  INTEGER NOT NULL REFERENCES text,
  finding INTEGER NOT NULL REFERENCES text,
  witness INTEGER NOT NULL REFERENCES witness,
  PRIMARY KEY (tenant, finding, witness)
) WITHOUT ROWID;

CREATE TABLE finding (
  tenant    INTEGER NOT NULL REFERENCES text,
  id        TEXT NOT NULL,
  scope     TEXT NOT NULL,
  component TEXT NOT NULL,
  named     INTEGER NOT NULL, -- 1: an observation named it
  json      TEXT NOT NULL,
  received  INTEGER NOT NULL,
  principal INTEGER NOT NULL REFERENCES text,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX finding_component ON finding (tenant, component);
CREATE INDEX finding_scope ON finding (tenant, scope);

CREATE TABLE coverage (
  tenant        INTEGER NOT NULL REFERENCES text,
  end           INTEGER NOT NULL,
  source        INTEGER NOT NULL REFERENCES source,
  signal        TEXT NOT NULL,
  start         INTEGER NOT NULL,
  loss_stage    TEXT NOT NULL,
  status_target TEXT NOT NULL,
  instance      INTEGER NOT NULL REFERENCES instance,
  workload      INTEGER NOT NULL REFERENCES workload,
  kinds         INTEGER NOT NULL, -- bit 1<<kind for each
  interval      INTEGER NOT NULL, -- nanoseconds
  watched       INTEGER NOT NULL,
  seen          INTEGER NOT NULL,
  lost          INTEGER NOT NULL,
  status_state  TEXT NOT NULL,
  status_reason TEXT NOT NULL,
  assurance     INTEGER NOT NULL,
  received      INTEGER NOT NULL,
  principal     INTEGER NOT NULL REFERENCES text,
  PRIMARY KEY (tenant, end, source, signal, start, loss_stage, status_target)
) WITHOUT ROWID;

CREATE TABLE receipt (
  tenant    INTEGER NOT NULL REFERENCES text,
  principal INTEGER NOT NULL REFERENCES text,
  key       TEXT NOT NULL,
  body      BLOB NOT NULL,
  received  INTEGER NOT NULL,
  PRIMARY KEY (tenant, principal, key)
) WITHOUT ROWID;

-- For people: what was observed, in words. No query of the program uses it.
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
FROM obs o
JOIN witness w ON w.id = o.witness
JOIN subject s ON s.id = w.subject
JOIN frame f ON f.id = w.frame
JOIN module m ON m.id = f.module
JOIN workload l ON l.id = w.workload
JOIN instance i ON i.id = o.instance
JOIN link k ON k.id = o.link
JOIN artifact a ON a.id = k.artifact
JOIN component c ON c.id = k.component;
