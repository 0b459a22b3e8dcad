-- What an outage costs for nothing, counted apart from ends for nothing: each has a bound of its own.

ALTER TABLE attempts ADD COLUMN unavailable_submits INTEGER NOT NULL DEFAULT 0 CHECK (unavailable_submits >= 0);
ALTER TABLE attempts ADD COLUMN extensions INTEGER NOT NULL DEFAULT 0 CHECK (extensions >= 0);

-- One column had counted all of it. What it counted last is told by the state.
UPDATE attempts SET unavailable_submits = free_ends, free_ends = 0 WHERE state = 'withdrawn' AND free_ends > 0;
UPDATE attempts SET extensions = free_ends, free_ends = 0 WHERE state = 'unknown' AND free_ends > 0;
