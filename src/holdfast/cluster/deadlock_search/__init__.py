"""Which tasks and threads of all sessions wait for each other in a circle.

    testimony       what a session says of its tasks and threads, and how that is sent
    witnesses       how it finds that out, when it is asked
    correspondence  how sessions are asked, and answer
    suspects        which names may be in a deadlock, as the records tell alone, and so which sessions to ask
    stuck           which tasks and threads nothing can help, and the circles among them
    search          all of it: two looks, and why what both show is certain

Each file uses only files above it in this list.
"""
