-- What accounts say for their submits and how much they may have, versions of pieces, what the rules of a review found,
-- and images that are kept beside a piece.

-- The guard of an older start does not know the state `superseded`; every start makes it anew.
DROP TRIGGER IF EXISTS guard_contents_review_status;

-- What a submit that does not say gets: a JSON object.
ALTER TABLE accounts ADD COLUMN defaults TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(defaults));
-- Unfinished tasks, jobs in flight and submits in 24 hours, at all generators together; none is no limit.
ALTER TABLE accounts ADD COLUMN max_pending INTEGER CHECK (max_pending >= 1);
ALTER TABLE accounts ADD COLUMN max_in_flight INTEGER CHECK (max_in_flight >= 1);
ALTER TABLE accounts ADD COLUMN submits_per_day INTEGER CHECK (submits_per_day >= 1);
-- The bound of unfinished tasks of an account, at whatever generator.
CREATE INDEX tasks_unfinished_of_account ON tasks (account_id) WHERE completed_at IS NULL;

-- Why the rules of the review refused the piece, as a JSON array of sentences; kept when a person decides otherwise.
ALTER TABLE contents ADD COLUMN findings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(findings));
-- Who made this version by hand; none: the generator.
ALTER TABLE contents ADD COLUMN edited_by TEXT;
-- The task that was made when the piece was rejected to be written again. No foreign key: tasks are deleted.
ALTER TABLE contents ADD COLUMN rewritten_by TEXT;
-- One version of a piece goes out: where two of them are approved, the older one makes way if it can.
UPDATE publish_pool SET status = 'removed' WHERE status IN ('pending', 'failed') AND EXISTS (
    SELECT 1 FROM contents c JOIN contents o ON o.task_id = c.task_id AND o.version > c.version
    WHERE c.id = publish_pool.content_id AND o.review_status = 'approved');
UPDATE contents SET review_status = 'superseded', publish_status = 'unpublished' WHERE review_status = 'approved'
    AND NOT EXISTS (SELECT 1 FROM publish_pool p WHERE p.content_id = contents.id AND p.status <> 'removed');
-- An older version that nobody approved has made way for the newer one.
UPDATE contents SET review_status = 'superseded' WHERE review_status <> 'approved'
    AND version < (SELECT max(o.version) FROM contents o WHERE o.task_id = contents.task_id);

-- Images of pieces that are fetched and kept, because their addresses expire.
CREATE TABLE images (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id INTEGER NOT NULL REFERENCES contents (id) ON DELETE CASCADE,
    -- Which of the piece's images, from 0.
    position   INTEGER NOT NULL CHECK (position >= 0),
    url        TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'kept', 'given_up')),
    tries      INTEGER NOT NULL CHECK (tries >= 0),
    wake_at    INTEGER,
    media_type TEXT,
    file       TEXT,
    bytes      INTEGER,
    error      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (content_id, position),
    CHECK ((state = 'waiting') = (wake_at IS NOT NULL)),
    CHECK ((state = 'kept') = (file IS NOT NULL) AND (file IS NULL) = (media_type IS NULL)
        AND (file IS NULL) = (bytes IS NULL))
) STRICT;

CREATE INDEX images_due ON images (wake_at, id) WHERE wake_at IS NOT NULL;
