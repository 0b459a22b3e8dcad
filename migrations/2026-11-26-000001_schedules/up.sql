-- Schedules, their fires, and what they took of files. Times are milliseconds since 1970 in UTC, lists and maps JSON.

CREATE TABLE schedules (
    -- Never given again: a fire's key has it.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    timing      TEXT    NOT NULL CHECK (json_valid(timing)),
    accounts    TEXT    NOT NULL CHECK (json_valid(accounts)),
    topics_each INTEGER NOT NULL CHECK (topics_each >= 1),
    params      TEXT    NOT NULL CHECK (json_valid(params)),
    misfire     TEXT    NOT NULL CHECK (json_valid(misfire)),
    cursor      INTEGER NOT NULL CHECK (cursor >= 0),
    -- None: it is paused.
    next_due_at INTEGER,
    paused_why  TEXT,
    created_by  TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    -- What may be long stands last.
    source      TEXT    NOT NULL CHECK (json_valid(source)),
    CHECK ((next_due_at IS NULL) = (paused_why IS NOT NULL))
) STRICT;

CREATE INDEX schedules_due ON schedules (next_due_at, id) WHERE next_due_at IS NOT NULL;

CREATE TABLE schedule_fires (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    schedule_id INTEGER NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    -- The promise that no due time fires twice.
    key         TEXT    NOT NULL UNIQUE,
    due_at      INTEGER NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('due', 'by_hand')),
    state       TEXT    NOT NULL CHECK (state IN ('intended', 'asking', 'gathered', 'fired', 'empty', 'failed', 'missed')),
    missed      INTEGER NOT NULL CHECK (missed >= 0),
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    wake_at     INTEGER,
    began_at    INTEGER NOT NULL,
    ended_at    INTEGER,
    why         TEXT,
    who         TEXT    NOT NULL,
    tasks       TEXT    NOT NULL CHECK (json_valid(tasks)),
    topics      TEXT    NOT NULL CHECK (json_valid(topics)),
    CHECK ((state IN ('fired', 'empty', 'failed', 'missed')) = (ended_at IS NOT NULL)),
    CHECK ((ended_at IS NULL) = (wake_at IS NOT NULL))
) STRICT;

CREATE INDEX fires_of_schedule ON schedule_fires (schedule_id, id);
-- The actor's agenda: what has not ended, by the time at which it is looked at, and the first of each schedule.
CREATE INDEX fires_unfinished ON schedule_fires (wake_at, id) WHERE wake_at IS NOT NULL;
CREATE INDEX fires_unfinished_of ON schedule_fires (schedule_id, id) WHERE wake_at IS NOT NULL;

-- What was taken of a file, by its content, so that an edited file neither repeats nor skips.
CREATE TABLE schedule_taken (
    schedule_id INTEGER NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    digest      TEXT    NOT NULL,
    PRIMARY KEY (schedule_id, digest)
) STRICT, WITHOUT ROWID;
