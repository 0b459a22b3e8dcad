-- What a handing out's key follows from, beside its piece and its number: then the same piece goes out under the same key after a
-- restore, and a publisher that knows its keys knows it again. It is random and stands here, so that a backup has it, and nobody who
-- knows a piece, its generator least of all, knows its key.
INSERT INTO settings (name, value) VALUES ('publish_seed', lower(hex(randomblob(32))));

-- Entries of a piece that were taken out of the pool: how often it was handed out in them counts as well.
CREATE INDEX pool_removed ON publish_pool (content_id) WHERE status = 'removed';
