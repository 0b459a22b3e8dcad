ALTER TABLE attempts DROP COLUMN free_ends;
