"""What a session is, from its opening to its end. Nothing here knows a primitive.

    expiry           the rule that kills a session: it was not renewed within its ttl
    leases           what it holds, and how the holders are told of a loss
    measured_engine  its engine, if hooks of the program are told of each call
    identity         its id, and whether it can be used here and now
    told             what the log and those hooks are told of its life
    waiters          the tasks that wait under one name
    turns            which of them has what was granted to several in turn
    outbox           the operations on one name that were not answered yet
    known_record     the record of one name, as this session knows it
    standing         whether that record knows what this session has done
    dead_sessions    which of the other sessions in a record are dead
    recovery         how the session begins anew if that record does not know it
    exchange         how the operations on one name become changes of its record, one at a time
    register         what the primitives do with an exchange: ask, tell, read
    registers        all registers of the session
    renewal          when the session is renewed, and what it looks at then
    keeping          a thread that renews it while its event loop is blocked
    old_records      which records are old, and how they are removed
    housekeeping     when that is done, and which registers are let go
    leaving          how a session that closes takes itself out of its records
    life             all of it, from the opening to the end
    membership       the present life, and the next one after a loss

Each file uses only files above it in this list.
"""
