ALTER TABLE attempts DROP COLUMN extensions;
ALTER TABLE attempts DROP COLUMN unavailable_submits;
