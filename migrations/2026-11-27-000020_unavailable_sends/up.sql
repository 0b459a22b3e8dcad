-- How often a publisher was away when a key was sent to it once more: counted apart from the sends, with a bound of its own. Else a
-- doubt about a publisher that is never there again would never end.

ALTER TABLE handouts ADD COLUMN unavailable_sends INTEGER NOT NULL DEFAULT 0 CHECK (unavailable_sends >= 0);
