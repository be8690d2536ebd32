"""The hosts that the manual calls *.example.org, and localhost:6379, are the server of this test.

Python imports this when it starts, where the folder is on PYTHONPATH and HOLDFAST_DOCS_SERVER has the server's port.
"""

from __future__ import annotations

import os
import socket
from typing import Any

asked = socket.getaddrinfo


def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    server = os.environ.get("HOLDFAST_DOCS_SERVER")
    if server and name and (name.endswith(".example.org") or (name in ("localhost", "127.0.0.1") and port == 6379)):
        host, port = "127.0.0.1", int(server)
    return asked(host, port, *args, **kwargs)


if os.environ.get("HOLDFAST_DOCS_SERVER"):
    socket.getaddrinfo = getaddrinfo
