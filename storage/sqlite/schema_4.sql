-- Schema 4. What processes could reach: of each signal of each source what is measured before what is asserted, and of
-- that the newest. module 0 is every process of the container. Codes: origin and assurance as in schema 1; source
-- 1 proc, 2 tetragon, 3 k8s, 4 asserted. The value is a class, or for a set classes with commas between them.
CREATE TABLE containment (
  tenant    INTEGER NOT NULL REFERENCES text,
  workload  INTEGER NOT NULL REFERENCES workload,
  instance  INTEGER NOT NULL REFERENCES instance,
  module    INTEGER NOT NULL REFERENCES module,
  origin    INTEGER NOT NULL CHECK (origin BETWEEN 1 AND 4),
  signal    TEXT NOT NULL,
  source    INTEGER NOT NULL CHECK (source BETWEEN 1 AND 4),
  value     TEXT NOT NULL,
  assurance INTEGER NOT NULL CHECK (assurance IN (1, 2)),
  observed  INTEGER NOT NULL,
  received  INTEGER NOT NULL,
  principal INTEGER NOT NULL REFERENCES text,
  PRIMARY KEY (tenant, workload, instance, module, origin, signal, source)
) WITHOUT ROWID;
CREATE INDEX containment_observed ON containment (observed);

-- Findings name workloads by their image; by namespace the key of the table finds them.
CREATE INDEX workload_image ON workload (image);
