"""The records: all that the cluster knows under one name, one file for each kind of primitive. Pure.

    lock, semaphore, event, barrier, rw_lock, rate_limiter
                                       the kinds
    leased                             what a lock and a semaphore share
    record                             what every kind has and answers
    line                               the waiters, in the order in which they are served
    answers                            what is kept of each session's last batch
    step                               one session's batch, applied to a record
    watching                           which sessions each waiting session watches
    stored, rows, additions            how a record is written down and read
    json_text, shapes                  the JSON of that, and what may stand in it
    any_kind                           a record of whatever kind

Nothing here awaits, reads a clock or knows an engine: a record goes in, and a new record comes out.
"""
