DROP TABLE handouts;
DROP TABLE publications;
CREATE TABLE publish_pool_old (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id   INTEGER NOT NULL REFERENCES contents (id),
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 10),
    scheduled_at INTEGER NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('pending', 'publishing', 'published', 'failed', 'removed')),
    retry_count  INTEGER NOT NULL CHECK (retry_count >= 0),
    last_error   TEXT,
    published_at INTEGER,
    created_at   INTEGER NOT NULL,
    held_reason  TEXT
) STRICT;
-- An older version hands nothing out; what may be out stays held there.
INSERT INTO publish_pool_old
    SELECT id, content_id, account_id, priority, scheduled_at,
        CASE WHEN status IN ('held', 'publishing') THEN 'pending' ELSE status END,
        retry_count, last_error, published_at, created_at,
        CASE WHEN status = 'publishing' THEN 'it was being published when contentd was taken back to an older version'
             ELSE held_reason END
    FROM publish_pool ORDER BY id;
-- Numbers that were given out are not given out again.
INSERT INTO sqlite_sequence (name, seq) SELECT 'publish_pool_old', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'publish_pool_old');
UPDATE sqlite_sequence
    SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'publish_pool'), 0)) WHERE name = 'publish_pool_old';
DROP TABLE publish_pool;
ALTER TABLE publish_pool_old RENAME TO publish_pool;
CREATE UNIQUE INDEX pool_of_content ON publish_pool (content_id) WHERE status <> 'removed';
CREATE INDEX pool_order ON publish_pool (status, priority DESC, scheduled_at, id);
CREATE INDEX pool_order_of_account ON publish_pool (account_id, status, priority DESC, scheduled_at, id);
CREATE INDEX pool_held ON publish_pool (id) WHERE held_reason IS NOT NULL;
