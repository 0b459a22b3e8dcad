-- What an entry's due time comes from. A date that a person gave stays where it is when the clock is set; what followed from the
-- time of an approval or of a failure moves, or it would lie ahead for as long as the clock was wrong.

ALTER TABLE publish_pool ADD COLUMN due_by TEXT NOT NULL DEFAULT 'person' CHECK (due_by IN ('at_once', 'calendar', 'person'));

-- Of the others nobody knows any more: they stay where they are.
UPDATE publish_pool SET due_by = 'at_once' WHERE scheduled_at <= created_at;
