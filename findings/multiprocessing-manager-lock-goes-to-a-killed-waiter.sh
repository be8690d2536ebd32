#!/usr/bin/env bash
# CPython 3.11 to 3.15: the Lock of a multiprocessing.Manager goes to a process that was killed while it waited, and then
# stays locked for ever.
#
# Guessed: a process that is killed while it *holds* the lock leaves it locked (gh-88304 says so of multiprocessing.Lock). One
# that is killed while it *waits* leaves nothing, as with multiprocessing.Lock, whose waiters wait in the kernel.
# Seen: a thread of the manager's process waits for it, learns nothing of its end, and takes the lock when the holder has
# released it. There is nobody then who could give it back. With multiprocessing.Lock all is as guessed.
#
# PYTHONS="python3.13 python3.14" names interpreters; else those on PATH are taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import multiprocessing
import time


def wait(lock, asks):
    asks.send(None)
    lock.acquire()


def main():
    with multiprocessing.Manager() as manager:
        for kind, lock in ("multiprocessing", multiprocessing.Lock()), ("the manager", manager.Lock()):
            lock.acquire()
            asked, asks = multiprocessing.Pipe(duplex=False)
            waiter = multiprocessing.Process(target=wait, args=(lock, asks))
            waiter.start()
            asked.recv()
            time.sleep(1)  # nothing tells when its request has arrived
            waiter.kill()
            waiter.join()
            lock.release()
            time.sleep(0.5)  # nor when it has been granted to the dead
            print(f"{kind}: {lock.acquire(timeout=1)}", end=" ", flush=True)


if __name__ == "__main__":
    main()
PYTHON
seen=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}; do
  "$python" -c "" 2>/dev/null || continue
  found=$("$python" "$folder/program.py")
  echo "$("$python" --version): $found"
  test "$found" = "multiprocessing: True the manager: False "
  seen=$((seen + 1))
done
test "$seen" -gt 0 || { echo "no Python from 3.11 on is on PATH" >&2; exit 1; }
