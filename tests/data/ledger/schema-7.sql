-- A ledger as an agent with schema 7 left it.
PRAGMA user_version = 7;
BEGIN TRANSACTION;
CREATE TABLE cms (urn TEXT PRIMARY KEY, url TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE credentials (
    slice TEXT NOT NULL, uuid TEXT NOT NULL, text TEXT NOT NULL, expires TEXT NOT NULL,
    PRIMARY KEY (slice, uuid)
);
CREATE TABLE "drains" (
    cm TEXT NOT NULL, node_id TEXT NOT NULL, client_id TEXT NOT NULL, sliver_id TEXT NOT NULL,
    reason TEXT NOT NULL, who TEXT NOT NULL, since TEXT NOT NULL, deadline TEXT, give_back INTEGER NOT NULL,
    takes_over INTEGER NOT NULL, lifted INTEGER NOT NULL, PRIMARY KEY (cm, node_id)
) WITHOUT ROWID;
INSERT INTO "drains" VALUES('','pc7','','','new disk','ada','2026-11-22T12:00:00.000000+00:00','2026-11-22T13:00:00.000000+00:00',0,0,0);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    message TEXT NOT NULL, data TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,'2026-11-22T12:00:00.000000+00:00','add','node-1','asked for it','{"number": 1}');
CREATE TABLE fences (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE grow_order (
    one INTEGER PRIMARY KEY CHECK (one = 1), machines INTEGER NOT NULL, who TEXT NOT NULL, until TEXT NOT NULL
);
CREATE TABLE holdings (cm TEXT PRIMARY KEY, machines TEXT NOT NULL, expires TEXT, there INTEGER NOT NULL DEFAULT 1, made INTEGER NOT NULL DEFAULT 0, sliver_urn TEXT NOT NULL DEFAULT '', parts TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
INSERT INTO "holdings" VALUES('urn:cm','{"node-2": "urn:sliver+2"}','2026-11-22T13:00:00.000000+00:00',1,1,'urn:sliver+1','[]');
CREATE TABLE intents (
    kind TEXT NOT NULL, cm TEXT NOT NULL, client_id TEXT NOT NULL, asked TEXT NOT NULL,
    PRIMARY KEY (kind, cm, client_id)
) WITHOUT ROWID;
INSERT INTO "intents" VALUES('add','urn:cm','node-1','2026-11-22T12:00:00.000000+00:00');
CREATE TABLE names (
    cm TEXT NOT NULL, client_id TEXT NOT NULL, node_id TEXT NOT NULL, sliver_id TEXT NOT NULL,
    name TEXT NOT NULL, mode TEXT NOT NULL, PRIMARY KEY (cm, client_id)
) WITHOUT ROWID;
CREATE TABLE "revocations" (
    cm TEXT NOT NULL, node_id TEXT NOT NULL, client_id TEXT NOT NULL, deadline TEXT NOT NULL,
    noticed TEXT NOT NULL, last_notice TEXT NOT NULL, releasable INTEGER NOT NULL, PRIMARY KEY (cm, node_id)
) WITHOUT ROWID;
INSERT INTO "revocations" VALUES('','pc100','node-2','2026-11-22T13:00:00.000000+00:00','2026-11-22T12:00:00.000000+00:00','2026-11-22T12:00:00.000000+00:00',0);
CREATE TABLE set_aside (slice TEXT NOT NULL, cm TEXT NOT NULL, record TEXT NOT NULL, row TEXT NOT NULL);
CREATE TABLE slice (one INTEGER PRIMARY KEY CHECK (one = 1), urn TEXT NOT NULL);
CREATE TABLE teardowns (
    cm TEXT PRIMARY KEY, who TEXT NOT NULL, since TEXT NOT NULL, deadline TEXT, lifted INTEGER NOT NULL
) WITHOUT ROWID;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',1);
COMMIT;
