"""What is kept in the database, as the statements that make it. `SCHEMA.` stands for the schema and a dot.

A revision is a number, a dot, and the id of the session that has made it. The number is higher than that of the
revision before, and no session uses a number twice. So a revision is never used for two texts, whatever becomes of the
server's data. An addition, a row of its own behind the text, leaves the revision as it is. So the text of a revision
may grow, and a session that knows the revision and the length knows the text.

A session whose connection was lost takes a new number before it asks for anything. From then on, a request that was on
its way under an older number is not done any more.

Texts and names are bytes, as a PostgreSQL text has no NUL, and the database may have any encoding.

The incarnation is a random word in a table that is not logged. PostgreSQL empties such a table whenever it recovers
from a crash or a standby is promoted, that is, whenever it may have lost the last commits; the timeline and the start
time tell only of some of these. The row also has the start time of the server: somebody may have put back a copy of
the files while it did not run. And it has the oid of its table, as a dump takes a row to another table. Where the row
is missing or is not right, the incarnation is a new one. The first statement that runs in a new incarnation raises the
floor of its namespace to the server's microseconds since 1970; nobody grants faster than one token per microsecond.
"""

VERSION = 1
"""Of all that is in the schema. Another one is refused."""

TABLES = """
CREATE TABLE SCHEMA.version (version integer NOT NULL);
INSERT INTO SCHEMA.version VALUES (VERSION);

-- The incarnation of the server.
CREATE UNLOGGED TABLE SCHEMA.canary (
    incarnation text NOT NULL,
    started timestamptz NOT NULL,  -- the server
    relation oid NOT NULL          -- this table
);

-- The floor of each namespace, and the incarnation in which it was set.
CREATE TABLE SCHEMA.namespaces (
    namespace bytea PRIMARY KEY,
    incarnation text NOT NULL,
    floor bigint NOT NULL
) WITH (fillfactor = 50);

-- The records. A page has room for the next version of each, and no column that changes is in an index: so a change
-- does not touch the index, and the space of old versions is found again at once.
CREATE TABLE SCHEMA.texts (
    namespace bytea NOT NULL,
    name bytea NOT NULL,
    revision text NOT NULL,
    kind text,  -- of the additions that it may have; NULL: none
    told text,  -- the session that is told of the next one; NULL: none
    text bytea NOT NULL,
    changed timestamptz NOT NULL,
    PRIMARY KEY (namespace, name)
) WITH (fillfactor = 50);

-- The sessions. One that has expired is dead, and so is one that has no row.
CREATE TABLE SCHEMA.sessions (
    id text PRIMARY KEY,
    connection bigint NOT NULL,  -- the number of its connections
    expires timestamptz NOT NULL,
    channel text NOT NULL,       -- where it is woken; known to those who may read this table
    who bytea NOT NULL           -- a description, in JSON
) WITH (fillfactor = 50);

-- The notes of evictions.
CREATE TABLE SCHEMA.evictions (
    namespace bytea NOT NULL,
    at timestamptz NOT NULL,
    note bytea NOT NULL
);
CREATE INDEX evictions_at ON SCHEMA.evictions (namespace, at);
"""
