ALTER TABLE tasks DROP COLUMN not_before;
