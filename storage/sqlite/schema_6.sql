-- Upkeep: rolling up and deleting.

-- How far it is (Unix nanoseconds): windows that start before rolled are hours, those before days are days, those before
-- kept were deleted. sweep is 1 while there can be rows that nothing refers to.
INSERT INTO state VALUES ('rolled', 0), ('days', 0), ('kept', 0), ('sweep', 0);

-- Rows whose first sighting is before their window: what a witness was seen first by is one of these or in its first hour.
CREATE INDEX obs_early ON obs (witness) WHERE first < start;
CREATE INDEX rolled_early ON rolled (witness) WHERE first < start;
CREATE INDEX named_witness ON named (witness);
CREATE INDEX receipt_received ON receipt (received);
