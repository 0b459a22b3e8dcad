-- Tasks $FIRST to $LAST of $ALL, with all that belongs to them. Their times go back over ninety days from $NOW, so that none is
-- old enough to be cleaned up. The last hundredth waits in line; of the others every fiftieth has failed.
CREATE TEMP TABLE made AS
    WITH RECURSIVE numbers (n) AS (SELECT $FIRST UNION ALL SELECT n + 1 FROM numbers WHERE n < $LAST)
    SELECT n,
        'task-' || lower(printf('%012x', (n * 2654435761001) % 281474976710656)) AS id,
        printf('%032x', (n * 2654435761001) % 281474976710656) AS key,
        $NOW - 7700000000 + CAST(7600000000.0 * n / $ALL AS INTEGER) AS at,
        CASE WHEN n > $ALL - $ALL / 100 THEN 'pending' WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END AS state,
        CASE WHEN n > $ALL - $ALL / 100 THEN 'mark' ELSE 'held' END AS generator
    FROM numbers;

INSERT INTO contents (id, task_id, account_id, version, title, summary, images, word_count, review_status, review_reason,
        reviewed_by, publish_status, content_hash, created_at, updated_at, content, html_content)
    SELECT n, id, 1, 1, 'A piece about ' || n, 'What piece ' || n || ' is about, in a sentence or two', '[]', 31, 'approved',
        'approved automatically', 'contentd', 'published', key || key, at + 60000, at + 60000,
        'A piece of some thirty words, short enough that a million of them fit on any disk, and long enough to be told from an '
            || 'empty one, with its number at the end: ' || n,
        '<p>A piece of some thirty words, short enough that a million of them fit on any disk, and long enough to be told from an '
            || 'empty one, with its number at the end: ' || n || '</p>'
    FROM made WHERE state = 'completed';

INSERT INTO tasks (seq, id, account_id, generator, state, priority, auto_approve, attempt, retry_count, max_retries, time_limit_s,
        created_at, queued_at, submitted_at, started_at, completed_at, updated_at, content_id, submitted_by, error, keywords, topic,
        requirements)
    SELECT n, id, 1, generator, state, 5, 1, state <> 'pending', 0, 3, 1800, at, at,
        CASE WHEN state <> 'pending' THEN at + 1000 END, CASE WHEN state <> 'pending' THEN at + 2000 END,
        CASE WHEN state <> 'pending' THEN at + 60000 END, CASE WHEN state <> 'pending' THEN at + 60000 ELSE at END,
        CASE WHEN state = 'completed' THEN n END, '0:root', CASE WHEN state = 'failed' THEN 'exit 1: no model answers' END, '[]',
        'How a small queue keeps its promises when the power goes out, part ' || n,
        'Plain words, short sentences, one example from daily life, no more than six hundred words'
    FROM made;

INSERT INTO attempts (task_id, number, generator, key, state, external_ref, intended_at, accepted_at, ended_at, sends, empty_sweeps,
        missing, bad_fetches, bad_answers, is_ready, is_resend_due, is_cancel_refused, polls, vars, error)
    SELECT id, 1, generator, key, CASE state WHEN 'completed' THEN 'ended_completed' ELSE 'ended_failed' END, key, at + 500,
        at + 1000, at + 60000, 1, 0, 0, 0, 0, 0, 0, 0, 1, '{}', CASE WHEN state = 'failed' THEN 'exit 1: no model answers' END
    FROM made WHERE state <> 'pending';

INSERT INTO events (task_id, at, event, from_state, to_state, attempt, attempt_from, attempt_to, who)
    SELECT id, at, 'submitted', NULL, 'pending', 0, NULL, NULL, '0:root' FROM made
    UNION ALL SELECT id, at + 500, 'claimed', 'pending', 'submitting', 1, NULL, 'intended', 'contentd' FROM made
        WHERE state <> 'pending'
    UNION ALL SELECT id, at + 1000, 'accepted', 'submitting', 'submitted', 1, 'intended', 'accepted', 'contentd' FROM made
        WHERE state <> 'pending'
    UNION ALL SELECT id, at + 2000, 'started', 'submitted', 'processing', 1, NULL, NULL, 'contentd' FROM made
        WHERE state <> 'pending'
    UNION ALL SELECT id, at + 60000, state, 'processing', state, 1, 'accepted',
        CASE state WHEN 'completed' THEN 'ended_completed' ELSE 'ended_failed' END, 'contentd' FROM made
        WHERE state <> 'pending';

INSERT INTO publish_pool (id, content_id, account_id, priority, scheduled_at, status, retry_count, published_at, created_at, fence)
    SELECT n, n, 1, 5, at + 60000, 'published', 0, at + 90000, at + 60000, 1 FROM made WHERE state = 'completed';

INSERT INTO publications (content_id, published_at, published_by)
    SELECT n, at + 90000, 'bench' FROM made WHERE state = 'completed';

INSERT INTO handouts (pool_id, fence, key, holder, is_publisher, handed_out_at, sends, is_lost, absences, ended_at, outcome)
    SELECT n, 1, 'pub-' || key, 'bench', 0, at + 70000, 1, 0, 0, at + 90000, 'published' FROM made WHERE state = 'completed';

DROP TABLE made;
