-- The first form of the database. Times are milliseconds since 1970 in UTC, booleans 0 and 1, lists and maps JSON.
-- Which state may follow which is not written here: that guard is made anew from the program's own tables at every
-- start (src/store/sqlite/guard.rs), so that both are always equal.

-- "cntd": tells a database of contentd from anybody else's.
PRAGMA application_id = 1668183140;

CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    external_id TEXT,
    is_enabled  INTEGER NOT NULL CHECK (is_enabled IN (0, 1)),
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE contents (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    -- No foreign key: a piece outlives its task.
    task_id        TEXT    NOT NULL,
    account_id     INTEGER NOT NULL REFERENCES accounts (id),
    version        INTEGER NOT NULL CHECK (version >= 1),
    title          TEXT    NOT NULL,
    summary        TEXT    NOT NULL,
    images         TEXT    NOT NULL CHECK (json_valid(images)),
    cover_image    TEXT,
    word_count     INTEGER NOT NULL CHECK (word_count >= 0),
    quality_score  REAL,
    category       TEXT,
    review_status  TEXT    NOT NULL,
    review_reason  TEXT,
    reviewed_by    TEXT,
    publish_status TEXT    NOT NULL,
    content_hash   TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    -- The long texts stand last, so that lists do not read past them.
    content        TEXT    NOT NULL,
    html_content   TEXT    NOT NULL,
    UNIQUE (task_id, version)
) STRICT;

CREATE INDEX contents_by_account ON contents (account_id, id);
CREATE INDEX contents_by_review ON contents (review_status, id);

CREATE TABLE tasks (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    generator    TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 10),
    auto_approve INTEGER NOT NULL CHECK (auto_approve IN (0, 1)),
    attempt      INTEGER NOT NULL CHECK (attempt >= 0),
    retry_count  INTEGER NOT NULL CHECK (retry_count >= 0),
    max_retries  INTEGER NOT NULL CHECK (max_retries >= 0),
    time_limit_s INTEGER NOT NULL CHECK (time_limit_s > 0),
    created_at   INTEGER NOT NULL,
    queued_at    INTEGER NOT NULL,
    submitted_at INTEGER,
    started_at   INTEGER,
    completed_at INTEGER,
    wake_at      INTEGER,
    updated_at   INTEGER NOT NULL,
    content_id   INTEGER REFERENCES contents (id),
    key          TEXT,
    submitted_by TEXT    NOT NULL,
    rewrites     TEXT,
    progress     TEXT,
    reason       TEXT,
    error        TEXT,
    category     TEXT,
    tone         TEXT,
    keywords     TEXT    NOT NULL CHECK (json_valid(keywords)),
    -- What may be long stands last.
    topic        TEXT    NOT NULL CHECK (topic <> ''),
    requirements TEXT,
    CHECK (state <> 'completed' OR content_id IS NOT NULL),
    CHECK ((state IN ('completed', 'failed', 'timeout', 'cancelled')) = (completed_at IS NOT NULL))
) STRICT;

-- Lists, newest first. Only the first of them is touched by a transition.
CREATE INDEX tasks_by_state ON tasks (state, seq);
CREATE INDEX tasks_by_account ON tasks (account_id, seq);
CREATE INDEX tasks_by_generator ON tasks (generator, seq);
CREATE INDEX tasks_by_creation ON tasks (created_at, seq);
-- The bounds of unfinished tasks: of one generator, of all accounts or of one.
CREATE INDEX tasks_unfinished ON tasks (generator, account_id) WHERE completed_at IS NULL;
-- The lanes: who runs next of one generator and account, and whose delay ends next.
CREATE INDEX tasks_ready ON tasks (generator, account_id, priority DESC, queued_at, seq)
    WHERE state = 'pending' AND wake_at IS NULL;
CREATE INDEX tasks_delayed ON tasks (generator, account_id, wake_at, priority DESC, queued_at, seq)
    WHERE state = 'pending' AND wake_at IS NOT NULL;
-- The poller's agenda.
CREATE INDEX tasks_due ON tasks (wake_at, seq) WHERE state <> 'pending' AND wake_at IS NOT NULL;
-- Cleanup and statistics.
CREATE INDEX tasks_finished ON tasks (completed_at, seq) WHERE completed_at IS NOT NULL;

CREATE TABLE attempts (
    task_id            TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number             INTEGER NOT NULL CHECK (number >= 1),
    -- The task's, which never changes: submits are counted by generator.
    generator          TEXT    NOT NULL,
    key                TEXT    NOT NULL UNIQUE,
    state              TEXT    NOT NULL,
    external_ref       TEXT,
    generator_state    TEXT,
    intended_at        INTEGER NOT NULL,
    accepted_at        INTEGER,
    ended_at           INTEGER,
    deadline_at        INTEGER,
    deadline_boot_id   TEXT,
    deadline_boot_ms   INTEGER,
    sends              INTEGER NOT NULL CHECK (sends >= 0),
    quiet_since        INTEGER,
    empty_sweeps       INTEGER NOT NULL CHECK (empty_sweeps >= 0),
    missing            INTEGER NOT NULL CHECK (missing >= 0),
    bad_fetches        INTEGER NOT NULL CHECK (bad_fetches >= 0),
    bad_answers        INTEGER NOT NULL CHECK (bad_answers >= 0),
    unchanged_since    INTEGER,
    is_ready           INTEGER NOT NULL CHECK (is_ready IN (0, 1)),
    is_resend_due      INTEGER NOT NULL CHECK (is_resend_due IN (0, 1)),
    is_cancel_refused  INTEGER NOT NULL CHECK (is_cancel_refused IN (0, 1)),
    polls              INTEGER NOT NULL CHECK (polls >= 0),
    watch_until        INTEGER,
    vars               TEXT    NOT NULL CHECK (json_valid(vars)),
    error              TEXT,
    raw_output         TEXT,
    PRIMARY KEY (task_id, number),
    CHECK ((deadline_at IS NULL) = (deadline_boot_id IS NULL) AND (deadline_at IS NULL) = (deadline_boot_ms IS NULL))
) STRICT, WITHOUT ROWID;

-- The promise that nothing is paid twice: no task has two attempts whose job may be alive.
CREATE UNIQUE INDEX attempts_alive ON attempts (task_id) WHERE state IN ('intended', 'accepted', 'unknown');
CREATE INDEX attempts_by_intent ON attempts (generator, intended_at) WHERE state <> 'withdrawn';
CREATE INDEX attempts_completed ON attempts (generator, ended_at DESC)
    WHERE state = 'ended_completed' AND accepted_at IS NOT NULL AND ended_at IS NOT NULL;

CREATE TABLE events (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id      TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    at           INTEGER NOT NULL,
    event        TEXT    NOT NULL,
    from_state   TEXT,
    to_state     TEXT    NOT NULL,
    attempt      INTEGER NOT NULL CHECK (attempt >= 0),
    attempt_from TEXT,
    attempt_to   TEXT,
    why          TEXT,
    who          TEXT    NOT NULL
) STRICT;

CREATE INDEX events_by_task ON events (task_id, id);

CREATE TABLE publish_pool (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id   INTEGER NOT NULL REFERENCES contents (id),
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 10),
    scheduled_at INTEGER NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('pending', 'publishing', 'published', 'failed', 'removed')),
    retry_count  INTEGER NOT NULL CHECK (retry_count >= 0),
    last_error   TEXT,
    published_at INTEGER,
    created_at   INTEGER NOT NULL
) STRICT;

-- A piece stands in the pool once.
CREATE UNIQUE INDEX pool_of_content ON publish_pool (content_id) WHERE status <> 'removed';
CREATE INDEX pool_order ON publish_pool (status, priority DESC, scheduled_at, id);
CREATE INDEX pool_order_of_account ON publish_pool (account_id, status, priority DESC, scheduled_at, id);

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Outlives its task: a key that was used once never submits a second task.
CREATE TABLE submit_keys (
    key        TEXT    NOT NULL PRIMARY KEY,
    task_id    TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counters are kept, not counted: every submit asks how many tasks are unfinished.
CREATE TABLE state_counts (
    state TEXT    NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count >= 0)
) STRICT, WITHOUT ROWID;

-- How many tasks of each generator and account are pending: the list of lanes, without reading their tasks.
CREATE TABLE lanes (
    generator  TEXT    NOT NULL,
    account_id INTEGER NOT NULL,
    pending    INTEGER NOT NULL CHECK (pending >= 0),
    PRIMARY KEY (generator, account_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tasks_count_insert AFTER INSERT ON tasks BEGIN
    INSERT INTO state_counts (state, count) VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER tasks_count_update AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state BEGIN
    UPDATE state_counts SET count = count - 1 WHERE state = OLD.state;
    INSERT INTO state_counts (state, count) VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER tasks_count_delete AFTER DELETE ON tasks BEGIN
    UPDATE state_counts SET count = count - 1 WHERE state = OLD.state;
END;
CREATE TRIGGER lanes_insert AFTER INSERT ON tasks WHEN NEW.state = 'pending' BEGIN
    INSERT INTO lanes (generator, account_id, pending) VALUES (NEW.generator, NEW.account_id, 1)
        ON CONFLICT (generator, account_id) DO UPDATE SET pending = pending + 1;
END;
CREATE TRIGGER lanes_enter AFTER UPDATE OF state ON tasks WHEN OLD.state <> 'pending' AND NEW.state = 'pending' BEGIN
    UPDATE lanes SET pending = pending + 1 WHERE generator = NEW.generator AND account_id = NEW.account_id;
END;
CREATE TRIGGER lanes_leave AFTER UPDATE OF state ON tasks WHEN OLD.state = 'pending' AND NEW.state <> 'pending' BEGIN
    UPDATE lanes SET pending = pending - 1 WHERE generator = NEW.generator AND account_id = NEW.account_id;
END;
