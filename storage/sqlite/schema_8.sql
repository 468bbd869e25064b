-- Schema 8: derived tables are folded piece by piece.

-- A fold that is under way: what the file lacked at the commit cut is written with the values of then, total, place, cell
-- and subject_total one after the other, each in the order of its primary key. part is which of them, from 0; rows of those
-- before it, and of it those up to the key, are as of the cut, all others as of state.folded. There is one row, or none.
CREATE TABLE folding (
  cut   INTEGER NOT NULL,
  part  INTEGER NOT NULL,
  key_1 INTEGER NOT NULL,
  key_2 INTEGER NOT NULL,
  key_3 INTEGER NOT NULL,
  key_4 INTEGER NOT NULL
);

-- A commit that added rows of the start; none did so after the fold that comes next begins without raising it.
ALTER TABLE unfolded ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
