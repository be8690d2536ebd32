"""A session as threads use it, without an event loop of their own. `Session.sync` is the way in.

    asynchronous   a session as it is seen from here: a Protocol, which `Session` fulfils
    way_in         whether a thread may use the session here and now
    grant          a holding, and how a thread is told of its loss
    leased         what is held: who holds it, who gives it back
    lock, rw_lock, semaphore, rate_limiter, event, condition, barrier
                   the primitives, with threading's methods
    session        all of them, under one session

Each file uses only files above it in this list.
"""
