DROP INDEX attempts_by_reference;
