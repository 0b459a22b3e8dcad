-- Tasks $FIRST to $LAST of $ALL, all of which wait in line at the highest priority. Their times go back over an hour from $NOW.
CREATE TEMP TABLE made AS
    WITH RECURSIVE numbers (n) AS (SELECT $FIRST UNION ALL SELECT n + 1 FROM numbers WHERE n < $LAST)
    SELECT n,
        'task-' || lower(printf('%012x', (n * 2654435761001) % 281474976710656)) AS id,
        $NOW - 3600000 + CAST(3500000.0 * n / $ALL AS INTEGER) AS at
    FROM numbers;

INSERT INTO tasks (seq, id, account_id, generator, state, priority, auto_approve, attempt, retry_count, max_retries, time_limit_s,
        created_at, queued_at, updated_at, submitted_by, keywords, topic, requirements)
    SELECT n, id, 1, 'mark', 'pending', 10, 1, 0, 0, 3, 1800, at, at, at, '0:root', '[]',
        'How a small queue keeps its promises when the power goes out, part ' || n,
        'Plain words, short sentences, one example from daily life, no more than six hundred words'
    FROM made;

INSERT INTO events (task_id, at, event, from_state, to_state, attempt, attempt_from, attempt_to, who)
    SELECT id, at, 'submitted', NULL, 'pending', 0, NULL, NULL, '0:root' FROM made;

DROP TABLE made;
