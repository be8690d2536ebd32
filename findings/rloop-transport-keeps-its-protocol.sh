#!/usr/bin/env bash
# rloop 0.5.0, an event loop: a TCP transport's set_protocol() raises NotImplementedError.
#
# Guessed: set_protocol() of asyncio's transports does what its documentation says, as in asyncio and uvloop: from then on
# another protocol gets the data. Servers that hand a connection on after its greeting rest on it.
# Seen: NotImplementedError, "TCPTransport protocol cannot be changed". get_protocol() works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rloop==0.5.0
cat > "$folder/program.py" <<'PYTHON'
import asyncio

import rloop


async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(type(writer.transport.get_protocol()).__name__)
    try:
        writer.transport.set_protocol(asyncio.Protocol())
        print("changed")
    except NotImplementedError as exc:
        print(f"NotImplementedError: {exc}")
    writer.close()
    server.close()


loop = rloop.new_event_loop()
loop.run_until_complete(main())
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py")
echo "$found"
test "$found" = "StreamReaderProtocol
NotImplementedError: TCPTransport protocol cannot be changed"
