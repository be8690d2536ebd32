#!/usr/bin/env bash
# PyPy 8.0.1 (Python 3.11.17), as Debian's suite sid has it: a coroutine that waits within `try` or `async with` and is
# collected is never closed. Its `finally` does not run, then or later; a generator's does.
#
# Guessed: PyPy closes what is suspended when it is collected, only later than CPython; gc.collect() makes it now.
# Seen: it does so where the code object has a flag that its compiler sets for a `yield` or `yield from` within `try`. For an
# `await` it does not set it. With the flag put into `__code__`, a coroutine is closed as well.
#
# PYPY=.../bin/pypy3 names a PyPy that is there; else Debian's is unpacked, as root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYPY:-}" ]; then
  mirror=$(sed -n 's/^URIs: *\(.*debian\)$/\1/p' /etc/apt/sources.list.d/*.sources | head -n 1)
  mmdebstrap --quiet --variant=extract --include=pypy3 --aptopt='Acquire::Check-Valid-Until "false"' \
    sid "$folder/root" "${mirror:?no Debian mirror is configured}"
  library=$folder/root/usr/lib/x86_64-linux-gnu
  run=("$library/ld-linux-x86-64.so.2" --library-path "$library" "$folder/root/usr/bin/pypy3.11")
else
  run=("$PYPY")
fi
cat > "$folder/program.py" <<'PYTHON'
import gc
import sys


class Something:
    def __await__(self):
        yield


def generator():
    try:
        yield
    finally:
        ended.append("generator")


async def coroutine():
    try:
        await Something()
    finally:
        ended.append("coroutine")


async def with_flag():
    try:
        await Something()
    finally:
        ended.append("with the flag")


def plain():
    yield


flag = generator.__code__.co_flags & ~plain.__code__.co_flags
with_flag.__code__ = with_flag.__code__.replace(co_flags=with_flag.__code__.co_flags | flag)
ended = []
for function in (generator, coroutine, with_flag):
    function().send(None)
    for _ in range(5):
        gc.collect()
print(sys.version.replace("\n", " "), "closed:", ended)
sys.exit(ended != ["generator", "with the flag"])
PYTHON
"${run[@]}" "$folder/program.py"
