"""An engine for the processes of many machines: they share one PostgreSQL database. `engine` is the whole of it."""
