-- What came of the tasks of a lane, kept as it changes: statistics of all that is kept read these rows and no task. They are columns of
-- `lanes` because its row is changed by every submit and claim anyway; a table of its own would be one page more in each commit.
--
-- The sums are of tasks that are kept: a cleanup takes a task out of them again. `timed` are the completed ones that were accepted by
-- their generator, which are those that have a duration and a wait.

ALTER TABLE lanes ADD COLUMN kept INTEGER NOT NULL DEFAULT 0 CHECK (kept >= 0);
ALTER TABLE lanes ADD COLUMN retries INTEGER NOT NULL DEFAULT 0 CHECK (retries >= 0);
ALTER TABLE lanes ADD COLUMN completed INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0);
ALTER TABLE lanes ADD COLUMN failed INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0);
ALTER TABLE lanes ADD COLUMN timed_out INTEGER NOT NULL DEFAULT 0 CHECK (timed_out >= 0);
ALTER TABLE lanes ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled >= 0);
ALTER TABLE lanes ADD COLUMN timed INTEGER NOT NULL DEFAULT 0 CHECK (timed >= 0);
ALTER TABLE lanes ADD COLUMN duration_ms INTEGER NOT NULL DEFAULT 0 CHECK (duration_ms >= 0);
ALTER TABLE lanes ADD COLUMN wait_ms INTEGER NOT NULL DEFAULT 0 CHECK (wait_ms >= 0);
ALTER TABLE lanes ADD COLUMN words INTEGER NOT NULL DEFAULT 0 CHECK (words >= 0);

-- Every task was pending once, so each has a lane.
UPDATE lanes SET (kept, retries, completed, failed, timed_out, cancelled, timed, duration_ms, wait_ms, words) =
    (t.kept, t.retries, t.completed, t.failed, t.timed_out, t.cancelled, t.timed, t.duration_ms, t.wait_ms, t.words)
FROM (
    SELECT t.generator, t.account_id, count(*) AS kept, sum(t.retry_count) AS retries,
        sum(t.state = 'completed') AS completed, sum(t.state = 'failed') AS failed, sum(t.state = 'timeout') AS timed_out,
        sum(t.state = 'cancelled') AS cancelled, sum(t.state = 'completed' AND t.submitted_at IS NOT NULL) AS timed,
        sum(CASE WHEN t.state = 'completed' THEN coalesce(max(t.completed_at - t.submitted_at, 0), 0) ELSE 0 END) AS duration_ms,
        sum(CASE WHEN t.state = 'completed' THEN coalesce(max(t.submitted_at - t.created_at, 0), 0) ELSE 0 END) AS wait_ms,
        sum(CASE WHEN t.state = 'completed' THEN coalesce(c.word_count, 0) ELSE 0 END) AS words
    FROM tasks t LEFT JOIN contents c ON c.id = t.content_id GROUP BY t.generator, t.account_id
) t WHERE lanes.generator = t.generator AND lanes.account_id = t.account_id;

DROP TRIGGER lanes_insert;
CREATE TRIGGER lanes_insert AFTER INSERT ON tasks BEGIN
    INSERT INTO lanes (generator, account_id, pending, kept, retries)
        VALUES (NEW.generator, NEW.account_id, NEW.state = 'pending', 1, NEW.retry_count)
        ON CONFLICT (generator, account_id) DO UPDATE
        SET pending = pending + excluded.pending, kept = kept + 1, retries = retries + excluded.retries;
    -- The guard lets no task begin at its end. Who brings one in without the guard finds it counted.
    UPDATE lanes SET completed = completed + (NEW.state = 'completed'), failed = failed + (NEW.state = 'failed'),
        timed_out = timed_out + (NEW.state = 'timeout'), cancelled = cancelled + (NEW.state = 'cancelled'),
        timed = timed + (NEW.state = 'completed' AND NEW.submitted_at IS NOT NULL),
        duration_ms = duration_ms + (NEW.state = 'completed') * coalesce(max(NEW.completed_at - NEW.submitted_at, 0), 0),
        wait_ms = wait_ms + (NEW.state = 'completed') * coalesce(max(NEW.submitted_at - NEW.created_at, 0), 0),
        words = words + (NEW.state = 'completed') * coalesce((SELECT word_count FROM contents WHERE id = NEW.content_id), 0)
        WHERE NEW.completed_at IS NOT NULL AND generator = NEW.generator AND account_id = NEW.account_id;
END;
CREATE TRIGGER lanes_retry AFTER UPDATE OF retry_count ON tasks WHEN OLD.retry_count <> NEW.retry_count BEGIN
    UPDATE lanes SET retries = retries + NEW.retry_count - OLD.retry_count
        WHERE generator = NEW.generator AND account_id = NEW.account_id;
END;
-- A task that has ended can change: a person has it run again, its piece gets a new version, the clock is set. So what it was is
-- taken out and what it is put in.
CREATE TRIGGER lanes_end AFTER UPDATE OF state, submitted_at, completed_at, content_id ON tasks WHEN NEW.completed_at IS NOT NULL BEGIN
    UPDATE lanes SET completed = completed + (NEW.state = 'completed'), failed = failed + (NEW.state = 'failed'),
        timed_out = timed_out + (NEW.state = 'timeout'), cancelled = cancelled + (NEW.state = 'cancelled'),
        timed = timed + (NEW.state = 'completed' AND NEW.submitted_at IS NOT NULL),
        duration_ms = duration_ms + (NEW.state = 'completed') * coalesce(max(NEW.completed_at - NEW.submitted_at, 0), 0),
        wait_ms = wait_ms + (NEW.state = 'completed') * coalesce(max(NEW.submitted_at - NEW.created_at, 0), 0),
        words = words + (NEW.state = 'completed') * coalesce((SELECT word_count FROM contents WHERE id = NEW.content_id), 0)
        WHERE generator = NEW.generator AND account_id = NEW.account_id;
END;
CREATE TRIGGER lanes_end_again AFTER UPDATE OF state, submitted_at, completed_at, content_id ON tasks
WHEN OLD.completed_at IS NOT NULL BEGIN
    UPDATE lanes SET completed = completed - (OLD.state = 'completed'), failed = failed - (OLD.state = 'failed'),
        timed_out = timed_out - (OLD.state = 'timeout'), cancelled = cancelled - (OLD.state = 'cancelled'),
        timed = timed - (OLD.state = 'completed' AND OLD.submitted_at IS NOT NULL),
        duration_ms = duration_ms - (OLD.state = 'completed') * coalesce(max(OLD.completed_at - OLD.submitted_at, 0), 0),
        wait_ms = wait_ms - (OLD.state = 'completed') * coalesce(max(OLD.submitted_at - OLD.created_at, 0), 0),
        words = words - (OLD.state = 'completed') * coalesce((SELECT word_count FROM contents WHERE id = OLD.content_id), 0)
        WHERE generator = OLD.generator AND account_id = OLD.account_id;
END;
CREATE TRIGGER lanes_delete AFTER DELETE ON tasks BEGIN
    UPDATE lanes SET kept = kept - 1, retries = retries - OLD.retry_count,
        completed = completed - (OLD.state = 'completed'), failed = failed - (OLD.state = 'failed'),
        timed_out = timed_out - (OLD.state = 'timeout'), cancelled = cancelled - (OLD.state = 'cancelled'),
        timed = timed - (OLD.state = 'completed' AND OLD.submitted_at IS NOT NULL),
        duration_ms = duration_ms - (OLD.state = 'completed') * coalesce(max(OLD.completed_at - OLD.submitted_at, 0), 0),
        wait_ms = wait_ms - (OLD.state = 'completed') * coalesce(max(OLD.submitted_at - OLD.created_at, 0), 0),
        words = words - (OLD.state = 'completed') * coalesce((SELECT word_count FROM contents WHERE id = OLD.content_id), 0)
        WHERE generator = OLD.generator AND account_id = OLD.account_id;
END;
