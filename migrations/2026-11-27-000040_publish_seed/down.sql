DROP INDEX pool_removed;
DELETE FROM settings WHERE name = 'publish_seed';
