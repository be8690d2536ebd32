"""The functions and procedures in the database, as the statements that make them. `tables` says what they work on.

They run with the rights of the caller, and each statement in them sees what has been committed when it begins, as the
session's transactions are READ COMMITTED (`server.SETTINGS`). So whoever locks first and looks afterwards sees all that
has happened while he waited. There are three kinds of locks, all of them advisory ones that end with the transaction:

 - one for each name. It is taken first, so changes are made one after another, in the order in which they have come.
   Waiters for a row are served in no order.
 - one for each session. Whoever makes a change for a session shares it from the check that it is alive until the
   commit; whoever finds that it is dead, ends it, or numbers its connection has it alone. Several are taken in order.
 - one for the canary.
"""

ROUTINES = """
CREATE FUNCTION SCHEMA.micros() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- The key of a session's lock.
CREATE FUNCTION SCHEMA.key(p_session text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('holdfast session ' || p_session, 0)
$$;

-- The incarnation of the server, and the floor of a namespace, which is raised if the incarnation is a new one.
CREATE FUNCTION SCHEMA.around(p_namespace bytea, OUT o_here text, OUT o_floor bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_before text;
BEGIN
    SELECT c.incarnation INTO o_here FROM SCHEMA.canary c
        WHERE c.started = pg_postmaster_start_time() AND c.relation = c.tableoid;
    IF NOT FOUND THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('holdfast canary SCHEMA.', 0));
        SELECT c.incarnation INTO o_here FROM SCHEMA.canary c
            WHERE c.started = pg_postmaster_start_time() AND c.relation = c.tableoid;
        IF NOT FOUND THEN
            o_here := replace(gen_random_uuid()::text, '-', '');
            DELETE FROM SCHEMA.canary;
            INSERT INTO SCHEMA.canary VALUES (o_here, pg_postmaster_start_time(), 'SCHEMA.canary'::regclass);
        END IF;
    END IF;
    SELECT n.incarnation, n.floor INTO v_before, o_floor FROM SCHEMA.namespaces n WHERE n.namespace = p_namespace;
    IF v_before IS DISTINCT FROM o_here THEN
        INSERT INTO SCHEMA.namespaces AS n VALUES (p_namespace, o_here, SCHEMA.micros())
            ON CONFLICT (namespace) DO UPDATE
            SET incarnation = excluded.incarnation, floor = greatest(n.floor, SCHEMA.micros())
            WHERE n.incarnation <> excluded.incarnation;
        SELECT n.floor INTO o_floor FROM SCHEMA.namespaces n WHERE n.namespace = p_namespace;
    END IF;
END $$;

-- Whether a change may be made for a session; what stands in the way, or NULL. Its lock is shared from here on.
CREATE FUNCTION SCHEMA.obstacle(
    p_session text, p_connection bigint, p_namespace bytea, p_incarnation text, OUT o_obstacle text, OUT o_here text,
    OUT o_floor bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_connection bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(SCHEMA.key(p_session));
    SELECT c.incarnation, n.floor, s.connection INTO o_here, o_floor, v_connection
        FROM (SELECT) AS nothing
        LEFT JOIN SCHEMA.canary c ON c.started = pg_postmaster_start_time() AND c.relation = c.tableoid
        LEFT JOIN SCHEMA.namespaces n ON n.namespace = p_namespace AND n.incarnation = c.incarnation
        LEFT JOIN SCHEMA.sessions s ON s.id = p_session AND s.expires > clock_timestamp();
    IF o_floor IS NULL THEN
        SELECT a.o_here, a.o_floor INTO o_here, o_floor FROM SCHEMA.around(p_namespace) a;
    END IF;
    o_obstacle := CASE
        WHEN o_here <> p_incarnation THEN 'another incarnation'
        WHEN v_connection IS NULL THEN 'dead'
        WHEN v_connection <> p_connection THEN 'another connection'
    END;
END $$;

-- Send a message to a session. Text that has more than ASCII, or for which a notification is too short, stays away.
CREATE FUNCTION SCHEMA.tell(p_session text, p_head text, p_tail text, p_rest bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_channel text;
    v_rest text := encode(p_rest, 'escape');
BEGIN
    SELECT s.channel INTO v_channel FROM SCHEMA.sessions s WHERE s.id = p_session;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF length(v_rest) <> length(p_rest) OR octet_length(p_head || p_tail) + length(v_rest) > LONGEST THEN
        p_tail := NULL;
    END IF;
    PERFORM pg_notify(v_channel, p_head || coalesce(p_tail || v_rest, ''));
END $$;

-- Change a record, for every primitive.
--
-- p_queue: the key of the name's lock. p_incarnation, p_floor, p_knows (a revision; NULL: there is no text), p_known
-- (bytes): what the session knows. p_buried: sessions that are dead.
-- p_makes: the new revision; NULL: there is no change, only an addition. p_kind, p_told, p_text: go with it. p_alike:
-- whether the text may have additions that the session does not know.
-- p_flag: that of an addition, or NULL. '+': it is better than the change; '!': it is, and the session need not know to
-- what it was added; '-': it is not better. p_added_kind: its kind. p_added: its text, without time and session.
-- p_woken: sessions, p_heads: what they are sent, and p_tail: what all are sent behind that, if it fits.
-- p_added_head: what the session that is told of an addition is sent before that. NULL: nobody is told.
--
-- The outcome: 'done': the change was made, with which additions behind it is not said. 'added': an addition was made;
-- without a text if the session need not know. Otherwise 'changed', or what stands in the way.
--
-- Of the additions behind a text, one is told: the session that gets to know of it can hand over to who has made it,
-- and is not disturbed by those behind. Where that is not enough, its change comes to 'changed', and is made again.
--
-- What has been done is committed before anybody is told. In the same transaction, all commits in the server that tell
-- somebody would wait for one another, and for each other's disk and standbys.
CREATE PROCEDURE SCHEMA.change(
    p_session text, p_connection bigint, p_namespace bytea, p_name bytea, p_queue bigint,
    p_incarnation text, p_floor bigint, p_knows text, p_known bigint, p_buried text[],
    p_makes text, p_kind text, p_told text, p_text bytea, p_alike boolean,
    p_flag text, p_added_kind text, p_added bytea,
    p_woken text[], p_heads text[], p_tail text, p_added_head text,
    INOUT o_outcome text, INOUT o_here text, INOUT o_floor bigint, INOUT o_now bigint,
    INOUT o_revision text, INOUT o_kind text, INOUT o_text bytea
) LANGUAGE plpgsql AS $$
DECLARE
    v_told text;
    v_before bigint;
    v_unknown bytea := '';
    v_is_known boolean;
    v_row bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(p_queue);
    SELECT o.o_obstacle, o.o_here, o.o_floor INTO o_outcome, o_here, o_floor
        FROM SCHEMA.obstacle(p_session, p_connection, p_namespace, p_incarnation) o;
    o_now := SCHEMA.micros();
    IF o_outcome IS NOT NULL THEN
        RETURN;
    END IF;
    IF cardinality(p_buried) > 0 AND EXISTS (SELECT FROM SCHEMA.sessions s WHERE s.id = ANY (p_buried)) THEN
        o_outcome := 'not all dead';
        RETURN;
    END IF;
    SELECT t.revision, t.kind, t.told, t.text INTO o_revision, o_kind, v_told, o_text FROM SCHEMA.texts t
        WHERE t.namespace = p_namespace AND t.name = p_name FOR UPDATE;
    v_before := coalesce(length(o_text), 0);
    v_is_known := p_makes IS NOT NULL AND o_revision IS NOT DISTINCT FROM p_knows AND o_floor = p_floor
        AND (v_before = p_known OR (p_alike AND v_before > p_known));

    IF p_flag IS NOT NULL AND o_kind = p_added_kind AND (p_flag <> '-' OR NOT v_is_known) THEN
        v_row := convert_to(E'\\n' || o_now || ' ' || p_session, 'UTF8') || p_added;
        UPDATE SCHEMA.texts t SET text = t.text || v_row, changed = clock_timestamp(),
            told = CASE WHEN v_told = p_session OR p_added_head IS NULL THEN v_told END
            WHERE t.namespace = p_namespace AND t.name = p_name;
        o_outcome := 'added';
        o_text := o_text || v_row;
        IF p_flag = '!' THEN
            o_text := NULL;
        END IF;
        COMMIT;
        IF v_told <> p_session AND p_added_head IS NOT NULL THEN
            PERFORM set_config('synchronous_commit', 'off', true);
            PERFORM SCHEMA.tell(v_told, p_added_head, '+' || split_part(o_revision, '.', 1) || ' ' || v_before, v_row);
        END IF;
        RETURN;
    END IF;

    IF NOT v_is_known THEN
        o_outcome := 'changed';
        RETURN;
    END IF;
    IF p_knows IS NULL THEN
        INSERT INTO SCHEMA.texts
            VALUES (p_namespace, p_name, p_makes, p_kind, p_told, p_text, clock_timestamp());
    ELSE
        IF v_before > p_known THEN
            v_unknown := substring(o_text FROM p_known::integer + 1);
        END IF;
        UPDATE SCHEMA.texts t SET revision = p_makes, kind = p_kind,
            told = CASE WHEN v_unknown = '' THEN p_told END, text = p_text || v_unknown,
            changed = clock_timestamp() WHERE t.namespace = p_namespace AND t.name = p_name;
    END IF;
    o_outcome := 'done';
    o_here := NULL;
    o_text := NULL;
    IF cardinality(p_woken) > 0 THEN
        COMMIT;
        PERFORM set_config('synchronous_commit', 'off', true);
        FOR i IN 1 .. cardinality(p_woken) LOOP
            PERFORM SCHEMA.tell(p_woken[i], p_heads[i], p_tail, v_unknown);
        END LOOP;
    END IF;
END $$;

-- Remove a record, and raise the floor. p_knows, p_known: as above. The outcome: 'done', or as above.
CREATE FUNCTION SCHEMA.remove(
    p_session text, p_connection bigint, p_namespace bytea, p_name bytea, p_queue bigint, p_incarnation text,
    p_knows text, p_known bigint, p_floor bigint,
    OUT o_outcome text, OUT o_here text, OUT o_floor bigint, OUT o_now bigint
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(p_queue);
    SELECT o.o_obstacle, o.o_here, o.o_floor INTO o_outcome, o_here, o_floor
        FROM SCHEMA.obstacle(p_session, p_connection, p_namespace, p_incarnation) o;
    o_now := SCHEMA.micros();
    IF o_outcome IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('holdfast.keeps_floor', 'yes', true);
    DELETE FROM SCHEMA.texts t
        WHERE t.namespace = p_namespace AND t.name = p_name AND t.revision = p_knows AND length(t.text) = p_known;
    IF NOT FOUND THEN
        o_outcome := 'changed';
        RETURN;
    END IF;
    o_outcome := 'done';
    IF p_floor > o_floor THEN
        o_floor := p_floor;
        UPDATE SCHEMA.namespaces n SET floor = greatest(n.floor, p_floor) WHERE n.namespace = p_namespace;
    END IF;
END $$;

-- A record that is removed by hand: its tokens go on above the last one.
CREATE FUNCTION SCHEMA.removed_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('holdfast.keeps_floor', true), '') <> 'yes' THEN
        UPDATE SCHEMA.namespaces n SET floor = greatest(n.floor, SCHEMA.micros()) WHERE n.namespace = old.namespace;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER removed_by_hand AFTER DELETE ON SCHEMA.texts
    FOR EACH ROW EXECUTE FUNCTION SCHEMA.removed_by_hand();

-- Look at records and sessions; with p_live_on (ms; 0: not), renew a session as well.
--
-- p_names: in hexadecimal; p_knows and p_known: for each the revision and the length that the session knows.
-- Returns rows, by what they say: 'here': the incarnation, and the floor; 'now': the time, and whether the session is
-- alive (1 or 0); then 'life': the milliseconds that each of these sessions will live, below 0 if it is dead; and at
-- last 'text': what is stored, with its place in p_names, where it is not what the session knows.
CREATE FUNCTION SCHEMA.look(
    p_session text, p_live_on double precision, p_namespace bytea, p_others text[], p_names text[], p_knows text[],
    p_known text[]
) RETURNS TABLE (o_what text, o_id text, o_number bigint, o_flag bigint, o_kind text, o_text bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_dead text[];
    v_here text;
    v_floor bigint;
    v_alive boolean;
BEGIN
    IF cardinality(p_others) > 0 THEN
        v_dead := ARRAY(SELECT s.id FROM SCHEMA.sessions s
            WHERE s.id = ANY (p_others) AND s.expires <= clock_timestamp());
    END IF;
    IF p_live_on > 0 THEN
        PERFORM pg_advisory_xact_lock(k) FROM (
            SELECT SCHEMA.key(id) AS k FROM unnest(v_dead || p_session) AS id ORDER BY 1
        ) AS keys;
        UPDATE SCHEMA.sessions s SET expires = clock_timestamp() + p_live_on * interval '1 ms'
            WHERE s.id = p_session AND s.expires > clock_timestamp();
        v_alive := FOUND;
    ELSE
        IF cardinality(v_dead) > 0 THEN
            PERFORM pg_advisory_xact_lock(k) FROM (
                SELECT SCHEMA.key(id) AS k FROM unnest(v_dead) AS id ORDER BY 1
            ) AS keys;
        END IF;
        v_alive := EXISTS (SELECT FROM SCHEMA.sessions s WHERE s.id = p_session AND s.expires > clock_timestamp());
    END IF;
    IF cardinality(v_dead) > 0 THEN
        DELETE FROM SCHEMA.sessions s WHERE s.id = ANY (v_dead) AND s.expires <= clock_timestamp();
    END IF;
    SELECT a.o_here, a.o_floor INTO v_here, v_floor FROM SCHEMA.around(p_namespace) a;  -- no lock comes after it
    RETURN QUERY VALUES
        ('here', v_here, v_floor, 0::bigint, NULL, NULL::bytea),
        ('now', NULL, SCHEMA.micros(), v_alive::integer::bigint, NULL, NULL);
    IF cardinality(p_others) > 0 THEN
        RETURN QUERY SELECT 'life', id, CASE WHEN s.id IS NULL THEN -1  -- greatest() passes over NULL
                ELSE greatest(ceil(extract(epoch FROM s.expires - clock_timestamp()) * 1000), 0) END::bigint,
            0::bigint, NULL, NULL::bytea
            FROM unnest(p_others) AS id LEFT JOIN SCHEMA.sessions s USING (id);
    END IF;
    IF cardinality(p_names) > 0 THEN
        RETURN QUERY SELECT 'text', t.revision, asked.place, 0::bigint, t.kind, t.text
            FROM unnest(p_names, p_knows, p_known) WITH ORDINALITY AS asked (name, knows, known, place)
            LEFT JOIN SCHEMA.texts t ON t.namespace = p_namespace AND t.name = decode(asked.name, 'hex')
            WHERE coalesce(t.revision, '') <> asked.knows OR coalesce(length(t.text), 0)::text <> asked.known;
    END IF;
END $$;

-- Begin a session. Those that have expired a day ago, and which nobody has missed, are forgotten.
CREATE FUNCTION SCHEMA.begin_session(
    p_session text, p_connection bigint, p_live_on double precision, p_channel text, p_who bytea
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM SCHEMA.sessions s WHERE s.expires < clock_timestamp() - interval '1 day';
    INSERT INTO SCHEMA.sessions
        VALUES (p_session, p_connection, clock_timestamp() + p_live_on * interval '1 ms', p_channel, p_who);
END $$;

-- A session has a new connection: what is under way on an older one is not done any more, or has been done.
CREATE FUNCTION SCHEMA.reconnected(p_session text, p_connection bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(SCHEMA.key(p_session));
    UPDATE SCHEMA.sessions s SET connection = p_connection WHERE s.id = p_session AND s.connection < p_connection;
END $$;

-- End a session that closes.
CREATE FUNCTION SCHEMA.end_session(p_session text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(SCHEMA.key(p_session));
    DELETE FROM SCHEMA.sessions s WHERE s.id = p_session;
END $$;

-- End another session, and keep a note of it for so many seconds; of so many notes the latest.
CREATE PROCEDURE SCHEMA.evict(
    p_session text, p_namespace bytea, p_evicted text, p_note bytea, p_kept double precision, p_most bigint,
    p_head text, INOUT o_outcome text
) LANGUAGE plpgsql AS $$
DECLARE
    v_channel text;
BEGIN
    PERFORM pg_advisory_xact_lock(k) FROM (
        SELECT SCHEMA.key(id) AS k FROM unnest(ARRAY[p_session, p_evicted]) AS id ORDER BY 1
    ) AS keys;
    IF NOT EXISTS (SELECT FROM SCHEMA.sessions s WHERE s.id = p_session AND s.expires > clock_timestamp()) THEN
        o_outcome := 'dead';
        RETURN;
    END IF;
    DELETE FROM SCHEMA.sessions s WHERE s.id = p_evicted AND s.expires > clock_timestamp()
        RETURNING s.channel INTO v_channel;
    IF NOT FOUND THEN
        o_outcome := 'not there';
        RETURN;
    END IF;
    INSERT INTO SCHEMA.evictions VALUES (p_namespace, clock_timestamp(), p_note);
    DELETE FROM SCHEMA.evictions e WHERE e.namespace = p_namespace AND (
        e.at < clock_timestamp() - p_kept * interval '1 s'
        OR e.at < (SELECT f.at FROM SCHEMA.evictions f WHERE f.namespace = p_namespace
                   ORDER BY f.at DESC OFFSET p_most - 1 LIMIT 1)
    );
    o_outcome := 'done';
    COMMIT;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_notify(v_channel, p_head);
END $$;
"""
