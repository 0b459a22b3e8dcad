DROP TABLE schedule_taken;
DROP TABLE schedule_fires;
DROP TABLE schedules;
