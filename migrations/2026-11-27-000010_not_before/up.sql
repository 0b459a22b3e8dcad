-- What was asked of the time at which a task may begin. The time at which it wakes is another one after a back-off, and none once the
-- task has ended, so that a task that was cancelled while it was delayed would begin at once when it is started again.

ALTER TABLE tasks ADD COLUMN not_before INTEGER;

-- A task that was never begun waits for nothing but its delay.
UPDATE tasks SET not_before = wake_at WHERE state = 'pending' AND attempt = 0 AND wake_at IS NOT NULL;
