-- What a restore from a backup leaves behind: tasks of which a job may have been made since, and pieces that may have gone
-- out since.

-- While it is set, no job is made of the task; when the restore was made.
ALTER TABLE tasks ADD COLUMN restored_at INTEGER CHECK (restored_at IS NULL OR state <> 'pending');
-- Why the entry must not be handed out before a person releases it.
ALTER TABLE publish_pool ADD COLUMN held_reason TEXT;

-- Who asks which tasks wait for a release.
CREATE INDEX tasks_restored ON tasks (restored_at, seq) WHERE restored_at IS NOT NULL;
CREATE INDEX pool_held ON publish_pool (id) WHERE held_reason IS NOT NULL;
