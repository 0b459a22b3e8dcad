ALTER TABLE publish_pool DROP COLUMN due_by;
