-- The guard is made anew by the next start of whichever version.
DROP TRIGGER IF EXISTS guard_settings_publish_seed_update;
DROP TRIGGER IF EXISTS guard_settings_publish_seed_delete;
DROP TRIGGER IF EXISTS guard_settings_publish_seed_insert;
ALTER TABLE handouts DROP COLUMN may_be_out;
ALTER TABLE publish_pool DROP COLUMN may_be_out;
DROP INDEX pool_removed;
DELETE FROM settings WHERE name = 'publish_seed';
