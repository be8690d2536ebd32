"""The primitives of a session. `Session` makes them (`cluster/session.py`); `holdfast.cluster` has their public names.

Each primitive asks its register for what it needs (`session_life/register.py`). What happens to a request is decided by
the record of its kind (`records/`).
"""
