"""Whether a GIL makes threads take turns."""

import sys

ONE_AT_A_TIME = sys.implementation.name == "cpython" and "free-threading" not in sys.version
"""Whether a statement that calls nothing is one step for all other threads, and threads see each other's changes in the
order in which they were made. PyPy has a GIL, but it may pass to another thread between any two bytecodes.

An interpreter that can run without the GIL counts as one without, even if the GIL is on at this moment: it is switched
on while another thread imports an extension module, and then off again.
"""
