"""An engine for the processes of one machine: they share one directory. `engine` is the whole of it.

Nothing is imported here: `requirements` has to be readable on systems that lack what the engine needs.
"""
