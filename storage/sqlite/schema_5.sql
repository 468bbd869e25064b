-- Schema 5: signal snapshots.

-- The snapshots of each finding, numbered from 1 without a gap. They are never changed and never deleted, nor is the one
-- before: a snapshot holds the digest of that, so together they are a chain that cannot fork.
CREATE TABLE snapshot (
  tenant    INTEGER NOT NULL REFERENCES text,
  finding   TEXT NOT NULL,
  number    INTEGER NOT NULL,
  id        BLOB NOT NULL, -- sha256, 32 bytes
  document  BLOB NOT NULL, -- canonical JSON
  envelope  BLOB, -- the signature, a DSSE envelope
  received  INTEGER NOT NULL,
  principal INTEGER NOT NULL REFERENCES text,
  PRIMARY KEY (tenant, finding, number),
  UNIQUE (tenant, id)
);
CREATE TRIGGER snapshot_stays BEFORE UPDATE ON snapshot BEGIN SELECT RAISE(ABORT, 'a snapshot is never changed'); END;
CREATE TRIGGER snapshot_kept BEFORE DELETE ON snapshot BEGIN SELECT RAISE(ABORT, 'a snapshot is never deleted'); END;

-- What snapshots were made of, by digest. Snapshots share them; used is when the newest of those was stored.
CREATE TABLE snapshot_input (
  tenant INTEGER NOT NULL REFERENCES text,
  digest BLOB NOT NULL, -- sha256, 32 bytes
  data   BLOB NOT NULL, -- canonical JSON
  used   INTEGER NOT NULL,
  PRIMARY KEY (tenant, digest)
);
CREATE INDEX snapshot_input_used ON snapshot_input (used);
