-- What a handing out's key follows from, beside its piece and its number: then the same piece goes out under the same key after a
-- restore, and a publisher that knows its keys knows it again. It is random and stands here, so that a backup has it, and nobody who
-- knows a piece, its generator least of all, knows its key.
INSERT INTO settings (name, value) VALUES ('publish_seed', lower(hex(randomblob(32))));

-- Entries of a piece that were taken out of the pool: how often it was handed out in them counts as well.
CREATE INDEX pool_removed ON publish_pool (content_id) WHERE status = 'removed';

-- Whether a database that this one replaced may have put the piece out: a publisher that knows its keys is asked under the key that
-- it then had, and its first answer counts as that to a key that was sent before.
ALTER TABLE publish_pool ADD COLUMN may_be_out INTEGER NOT NULL DEFAULT 0 CHECK (may_be_out IN (0, 1));
ALTER TABLE handouts ADD COLUMN may_be_out INTEGER NOT NULL DEFAULT 0 CHECK (may_be_out IN (0, 1));
-- What waits for a release since a restore by an older version.
UPDATE publish_pool SET may_be_out = 1 WHERE held_reason LIKE 'the database was restored from a backup%';
