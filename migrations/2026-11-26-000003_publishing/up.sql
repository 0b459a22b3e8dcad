-- Publishing: who has an entry of the pool, under which key and until when, and where a piece went.

-- Where and when a piece went out. A table of its own: columns behind the long texts of a content record cost every list.
CREATE TABLE publications (
    content_id   INTEGER PRIMARY KEY REFERENCES contents (id),
    published_at INTEGER NOT NULL,
    published_by TEXT    NOT NULL,
    url          TEXT,
    reference    TEXT
) STRICT;

-- The list of states has grown, and a CHECK cannot be changed in place. Nothing refers to this table yet.
CREATE TABLE publish_pool_new (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id   INTEGER NOT NULL REFERENCES contents (id),
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 10),
    scheduled_at INTEGER NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('pending', 'publishing', 'published', 'failed', 'held', 'removed')),
    retry_count  INTEGER NOT NULL CHECK (retry_count >= 0),
    last_error   TEXT,
    published_at INTEGER,
    created_at   INTEGER NOT NULL,
    held_reason  TEXT,
    -- How often it was handed out. Only grows.
    fence        INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
    -- While it is being published: when somebody must look at it.
    wake_at      INTEGER,
    CHECK ((status = 'publishing') = (wake_at IS NOT NULL)),
    CHECK (status <> 'held' OR held_reason IS NOT NULL),
    CHECK (status IN ('held', 'removed') OR held_reason IS NULL)
) STRICT;

-- Nobody was handed anything before this version. What waited for a release is held.
INSERT INTO publish_pool_new
    (id, content_id, account_id, priority, scheduled_at, status, retry_count, last_error, published_at, created_at, held_reason)
    SELECT id, content_id, account_id, priority, scheduled_at,
        CASE WHEN held_reason IS NOT NULL AND status IN ('pending', 'publishing', 'failed') THEN 'held'
             WHEN status = 'publishing' THEN 'pending' ELSE status END,
        retry_count, last_error, CASE WHEN status = 'published' THEN coalesce(published_at, created_at) ELSE published_at END, created_at,
        CASE WHEN status = 'published' THEN NULL ELSE held_reason END
    FROM publish_pool ORDER BY id;
-- What somebody marked as published is out, wherever that is.
INSERT INTO publications (content_id, published_at, published_by)
    SELECT content_id, published_at, 'unknown' FROM publish_pool_new WHERE status = 'published';
-- Numbers that were given out are not given out again.
INSERT INTO sqlite_sequence (name, seq) SELECT 'publish_pool_new', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'publish_pool_new');
UPDATE sqlite_sequence
    SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'publish_pool'), 0)) WHERE name = 'publish_pool_new';
DROP TABLE publish_pool;
ALTER TABLE publish_pool_new RENAME TO publish_pool;

-- A piece stands in the pool once.
CREATE UNIQUE INDEX pool_of_content ON publish_pool (content_id) WHERE status <> 'removed';
CREATE INDEX pool_order ON publish_pool (status, priority DESC, scheduled_at, id);
CREATE INDEX pool_order_of_account ON publish_pool (account_id, status, priority DESC, scheduled_at, id);
-- What was taken out in doubt, for a piece that comes back.
CREATE INDEX pool_doubted ON publish_pool (content_id, id) WHERE status = 'removed' AND held_reason IS NOT NULL;
-- When something is due next.
CREATE INDEX pool_due ON publish_pool (scheduled_at) WHERE status = 'pending';
CREATE INDEX pool_due_of_account ON publish_pool (account_id, scheduled_at) WHERE status = 'pending';
CREATE INDEX pool_wake ON publish_pool (wake_at, id) WHERE wake_at IS NOT NULL;

-- One row each time that an entry is handed out. Its key is never used for another.
CREATE TABLE handouts (
    pool_id       INTEGER NOT NULL REFERENCES publish_pool (id),
    fence         INTEGER NOT NULL CHECK (fence >= 1),
    key           TEXT    NOT NULL UNIQUE,
    holder        TEXT    NOT NULL,
    -- Whether the holder is a publisher of the configuration.
    is_publisher  INTEGER NOT NULL CHECK (is_publisher IN (0, 1)),
    request       TEXT,
    handed_out_at INTEGER NOT NULL,
    sends         INTEGER NOT NULL CHECK (sends >= 0),
    doubted_at    INTEGER,
    is_lost       INTEGER NOT NULL CHECK (is_lost IN (0, 1)),
    quiet_since   INTEGER,
    absences      INTEGER NOT NULL CHECK (absences >= 0),
    ended_at      INTEGER,
    outcome       TEXT,
    error         TEXT,
    PRIMARY KEY (pool_id, fence)
) STRICT, WITHOUT ROWID;

CREATE INDEX handouts_of_request ON handouts (holder, request) WHERE request IS NOT NULL;
CREATE INDEX handouts_of_publisher ON handouts (holder, handed_out_at) WHERE is_publisher = 1;
