-- How often in a row a task's job ended without a piece and cost it nothing, because its generator gave others nothing either.

ALTER TABLE attempts ADD COLUMN free_ends INTEGER NOT NULL DEFAULT 0 CHECK (free_ends >= 0);
