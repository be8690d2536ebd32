#!/usr/bin/env bash
# CPython 3.11 to 3.15: who leaves the wait for a multiprocessing.Manager's lock by an exception of a signal handler, as by
# Ctrl-C, gets the answer to that call from the next one, on whatever object of the manager, and so on from then.
#
# Guessed: the exception ends the wait, and the objects of the manager are good for further use; at worst the next call fails.
# Seen: all proxies of a thread share one connection, and the answer that was not waited for stays in it. A dict's get("x")
# returns True, which is the lock's answer; get("y") returns what get("x") should have; and the lock, which the one who gave
# up waiting for it never got, is held in its name. No call fails. A thread of its own has a connection of its own, and gets
# the right answers.
# boto's s3transfer makes a new connection after Ctrl-C, as it had seen calls wait for the one before (its pull request 123).
#
# PYTHONS="python3.13 python3.14" names interpreters; else those on PATH are taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import concurrent.futures
import multiprocessing
import signal


class GaveUp(Exception):
    pass


def give_up(signum, frame):
    raise GaveUp


def main():
    with multiprocessing.Manager() as manager:
        lock, shared = manager.Lock(), manager.dict(x="the x", y="the y")
        lock.acquire()
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            lock.acquire()
        except GaveUp:
            print("gave up;", end=" ")
        elsewhere = concurrent.futures.ThreadPoolExecutor(1)  # a thread with a connection of its own
        elsewhere.submit(lock.release).result()
        print("x:", shared.get("x"), end="; ")
        print("y:", shared.get("y"), end="; ")
        print("elsewhere y:", elsewhere.submit(shared.get, "y").result(), end="; ")
        print("free:", elsewhere.submit(lock.acquire, timeout=1).result(), end=" ")


if __name__ == "__main__":
    main()
PYTHON
seen=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}; do
  "$python" -c "" 2>/dev/null || continue
  found=$("$python" "$folder/program.py")
  echo "$("$python" --version): $found"
  test "$found" = "gave up; x: True; y: the x; elsewhere y: the y; free: False "
  seen=$((seen + 1))
done
test "$seen" -gt 0 || { echo "no Python from 3.11 on is on PATH" >&2; exit 1; }
