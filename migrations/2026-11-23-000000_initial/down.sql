-- Children before parents, so that no foreign key is left without its row. Triggers and indexes go with their tables.
DROP TABLE lanes;
DROP TABLE state_counts;
DROP TABLE submit_keys;
DROP TABLE settings;
DROP TABLE publish_pool;
DROP TABLE events;
DROP TABLE attempts;
DROP TABLE tasks;
DROP TABLE contents;
DROP TABLE accounts;
PRAGMA application_id = 0;
