-- Schema 7: packages that programs vendor under a path of their own, of which there are few, are found by what they end in.
CREATE INDEX text_vendored ON text (text) WHERE instr(text, '/vendor/') > 0;
