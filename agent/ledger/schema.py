"""The tables of the ledger, version by version."""

from __future__ import annotations

_SCHEMA = """
CREATE TABLE intents (
    kind TEXT NOT NULL, cm TEXT NOT NULL, client_id TEXT NOT NULL, asked TEXT NOT NULL,
    PRIMARY KEY (kind, cm, client_id)
) WITHOUT ROWID;
CREATE TABLE revocations (
    node_id TEXT PRIMARY KEY, client_id TEXT NOT NULL, deadline TEXT NOT NULL, noticed TEXT NOT NULL,
    last_notice TEXT NOT NULL, releasable INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE drains (
    node_id TEXT PRIMARY KEY, reason TEXT NOT NULL, who TEXT NOT NULL, since TEXT NOT NULL, deadline TEXT
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    message TEXT NOT NULL, data TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (subject, id);
"""
"""Version 1."""
_SINCE_VERSION_2 = """
ALTER TABLE drains ADD COLUMN give_back INTEGER NOT NULL DEFAULT 0;
CREATE TABLE holdings (cm TEXT PRIMARY KEY, client_ids TEXT NOT NULL, expires TEXT) WITHOUT ROWID;
"""
_SINCE_VERSION_3 = """
CREATE TABLE grow_order (
    one INTEGER PRIMARY KEY CHECK (one = 1), machines INTEGER NOT NULL, who TEXT NOT NULL, until TEXT NOT NULL
);
DROP INDEX IF EXISTS events_by_subject;
"""
_SINCE_VERSION_4 = """
ALTER TABLE holdings ADD COLUMN there INTEGER NOT NULL DEFAULT 1;
ALTER TABLE holdings ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
UPDATE holdings SET
    made = EXISTS (SELECT 1 FROM events WHERE kind = 'create' AND subject = holdings.cm),
    client_ids = (
        SELECT json_group_object(client_id, node_id) FROM (
            SELECT value AS client_id, (
                SELECT subject FROM events
                WHERE kind = 'arrived' AND message = 'arrived ' || subject || ' (' || value || ')'
                ORDER BY id DESC LIMIT 1
            ) AS node_id FROM json_each(holdings.client_ids)
        ) WHERE node_id IS NOT NULL
    );
ALTER TABLE holdings RENAME COLUMN client_ids TO machines;
ALTER TABLE holdings ADD COLUMN sliver_urn TEXT NOT NULL DEFAULT '';
ALTER TABLE holdings ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE drains ADD COLUMN sliver_id TEXT NOT NULL DEFAULT '';
"""
"""Before, a CM's holdings were all machines of the slice: those that we asked for are in the history."""
_SINCE_VERSION_5 = """
CREATE TABLE revocations_of_cms (
    cm TEXT NOT NULL, node_id TEXT NOT NULL, client_id TEXT NOT NULL, deadline TEXT NOT NULL,
    noticed TEXT NOT NULL, last_notice TEXT NOT NULL, releasable INTEGER NOT NULL, PRIMARY KEY (cm, node_id)
) WITHOUT ROWID;
INSERT INTO revocations_of_cms
    SELECT '', node_id, client_id, deadline, noticed, last_notice, releasable FROM revocations;
DROP TABLE revocations;
ALTER TABLE revocations_of_cms RENAME TO revocations;
CREATE TABLE names (
    cm TEXT NOT NULL, client_id TEXT NOT NULL, node_id TEXT NOT NULL, sliver_id TEXT NOT NULL,
    name TEXT NOT NULL, mode TEXT NOT NULL, PRIMARY KEY (cm, client_id)
) WITHOUT ROWID;
CREATE TABLE drains_of_cms (
    cm TEXT NOT NULL, node_id TEXT NOT NULL, client_id TEXT NOT NULL, sliver_id TEXT NOT NULL,
    reason TEXT NOT NULL, who TEXT NOT NULL, since TEXT NOT NULL, deadline TEXT, give_back INTEGER NOT NULL,
    takes_over INTEGER NOT NULL, lifted INTEGER NOT NULL, PRIMARY KEY (cm, node_id)
) WITHOUT ROWID;
INSERT INTO drains_of_cms
    SELECT '', node_id, '', sliver_id, reason, who, since, deadline, give_back, 0, 0 FROM drains;
DROP TABLE drains;
ALTER TABLE drains_of_cms RENAME TO drains;
CREATE TABLE cms (urn TEXT PRIMARY KEY, url TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE teardowns (
    cm TEXT PRIMARY KEY, who TEXT NOT NULL, since TEXT NOT NULL, deadline TEXT, lifted INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE slice (one INTEGER PRIMARY KEY CHECK (one = 1), urn TEXT NOT NULL);
INSERT INTO slice
    SELECT 1, subject FROM events WHERE subject LIKE 'urn:publicid:IDN+%+slice+%' ORDER BY id DESC LIMIT 1;
CREATE TABLE set_aside (slice TEXT NOT NULL, cm TEXT NOT NULL, record TEXT NOT NULL, row TEXT NOT NULL);
"""
"""Before, a revocation or a drain was kept by the node_id alone, which machines of several CMs may have.

Of which slice all of it was is told by the events about its lease alone.
"""
_SINCE_VERSION_6 = """
CREATE TABLE credentials (
    slice TEXT NOT NULL, uuid TEXT NOT NULL, text TEXT NOT NULL, expires TEXT NOT NULL,
    PRIMARY KEY (slice, uuid)
);
"""
"""What outlives its slice at the SA can be given back after a restart too."""
_SINCE_VERSION_7 = """
CREATE TABLE fences (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT OR IGNORE INTO fences
    SELECT 'esagent-' || replace(replace(substr(message, -20), '-', ''), ':', '') FROM events
    WHERE kind = 'fence' AND message LIKE 'no job that would run beyond ____-__-__T__:__:__Z';
"""
"""Before, a reservation in Slurm was known as ours by the first letters of its name: those that were made
are in the history.
"""
_SINCE_VERSION_8 = """
CREATE TABLE machine_types (hardware_type TEXT PRIMARY KEY, shape TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE wrong_estimates (
    shape TEXT NOT NULL, place TEXT NOT NULL, is_node INTEGER NOT NULL, job TEXT NOT NULL,
    under TEXT NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL, rules TEXT NOT NULL,
    alone INTEGER NOT NULL, PRIMARY KEY (shape, place, is_node, job)
) WITHOUT ROWID;
"""
"""What Slurm saw of machines, and what it does not start on them, holds for every slice."""
UPGRADES = (
    _SCHEMA,
    _SINCE_VERSION_2,
    _SINCE_VERSION_3,
    _SINCE_VERSION_4,
    _SINCE_VERSION_5,
    _SINCE_VERSION_6,
    _SINCE_VERSION_7,
    _SINCE_VERSION_8,
)
"""What makes each version out of the one before."""
SCHEMA_VERSION = len(UPGRADES)
