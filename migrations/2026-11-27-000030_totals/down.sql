DROP TRIGGER lanes_delete;
DROP TRIGGER lanes_end_again;
DROP TRIGGER lanes_end;
DROP TRIGGER lanes_retry;
DROP TRIGGER lanes_insert;
CREATE TRIGGER lanes_insert AFTER INSERT ON tasks WHEN NEW.state = 'pending' BEGIN
    INSERT INTO lanes (generator, account_id, pending) VALUES (NEW.generator, NEW.account_id, 1)
        ON CONFLICT (generator, account_id) DO UPDATE SET pending = pending + 1;
END;
ALTER TABLE lanes DROP COLUMN words;
ALTER TABLE lanes DROP COLUMN wait_ms;
ALTER TABLE lanes DROP COLUMN duration_ms;
ALTER TABLE lanes DROP COLUMN timed;
ALTER TABLE lanes DROP COLUMN cancelled;
ALTER TABLE lanes DROP COLUMN timed_out;
ALTER TABLE lanes DROP COLUMN failed;
ALTER TABLE lanes DROP COLUMN completed;
ALTER TABLE lanes DROP COLUMN retries;
ALTER TABLE lanes DROP COLUMN kept;
