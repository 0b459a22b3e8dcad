DROP TABLE deliveries;
DROP TABLE notices;
DROP TABLE alarms;
