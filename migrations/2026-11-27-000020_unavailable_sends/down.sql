ALTER TABLE handouts DROP COLUMN unavailable_sends;
