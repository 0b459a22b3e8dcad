-- Telling somebody: what is wrong now, what was said about it, and on its way to whom.

-- One row for each alarm that fires, may soon, or was over a short while ago.
CREATE TABLE alarms (
    -- The rule, and whom it is about where there are several: 'breaker/content-creator'.
    name            TEXT    NOT NULL PRIMARY KEY,
    rule            TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('quiet', 'pending', 'firing')),
    severity        TEXT    NOT NULL CHECK (severity IN ('warning', 'critical')),
    since           INTEGER NOT NULL,
    good_since      INTEGER CHECK (good_since IS NULL OR state = 'firing'),
    told_at         INTEGER,
    told_severity   TEXT    CHECK (told_severity IN ('warning', 'critical')),
    is_told         INTEGER NOT NULL CHECK (is_told IN (0, 1)),
    acknowledged_by TEXT    CHECK (acknowledged_by IS NULL OR state = 'firing'),
    value           REAL    NOT NULL,
    threshold       REAL    NOT NULL,
    text            TEXT    NOT NULL,
    CHECK ((told_at IS NULL) = (told_severity IS NULL)),
    CHECK (is_told = 0 OR (state = 'firing' AND told_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- What was said, once for everybody.
CREATE TABLE notices (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT    NOT NULL UNIQUE,
    kind      TEXT    NOT NULL CHECK (kind IN ('firing', 'resolved', 'test')),
    alarm     TEXT    NOT NULL,
    rule      TEXT,
    subject   TEXT    NOT NULL,
    severity  TEXT    NOT NULL CHECK (severity IN ('warning', 'critical')),
    text      TEXT    NOT NULL,
    value     REAL    NOT NULL,
    threshold REAL    NOT NULL,
    since     INTEGER NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

CREATE INDEX notices_by_time ON notices (at, seq);

-- The outbox: a message on its way to one hook.
CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    notice_id  TEXT    NOT NULL REFERENCES notices (id) ON DELETE CASCADE,
    hook       TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
    tries      INTEGER NOT NULL CHECK (tries >= 0),
    due_at     INTEGER NOT NULL,
    last_error TEXT,
    UNIQUE (notice_id, hook),
    CHECK (state <> 'delivered' OR tries > 0)
) STRICT;

-- Who is next of each hook, and what was given up lately.
CREATE INDEX deliveries_waiting ON deliveries (hook, id) WHERE state = 'waiting';
CREATE INDEX deliveries_given_up ON deliveries (due_at) WHERE state = 'given_up';
