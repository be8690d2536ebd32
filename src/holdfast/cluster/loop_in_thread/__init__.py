"""A thread whose event loop belongs to one session: it goes on while the program's own threads and loops block.

    call           one thing that another thread asks of the loop, and how it leaves before that is done
    loop_thread    the thread

Each file uses only files above it in this list.
"""
