DROP INDEX pool_held;
DROP INDEX tasks_restored;
ALTER TABLE publish_pool DROP COLUMN held_reason;
ALTER TABLE tasks DROP COLUMN restored_at;
