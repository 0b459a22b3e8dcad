-- Whose job a reference is: a job that a generator or a person names must not be another task's already.

CREATE INDEX attempts_by_reference ON attempts (generator, external_ref) WHERE external_ref IS NOT NULL;
