"""What a call that blocks a thread has, in whatever tier: a timeout, an event loop that it must not block, an error."""
