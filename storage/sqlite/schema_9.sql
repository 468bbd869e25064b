-- Schema 9. Posted traces are never compared with others: their sources, one for each, are not heard any more.
DELETE FROM heard WHERE source IN (SELECT id FROM source WHERE receiver = 0);
