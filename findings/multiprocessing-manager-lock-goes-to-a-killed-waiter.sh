#!/usr/bin/env bash
# CPython 3.11 to 3.15: the Lock of a multiprocessing.Manager goes to a process that was killed while it waited, and then
# stays locked for ever. So does the next item of its Queue, and its Barrier counts the dead process as come.
#
# Guessed: a process that is killed while it *holds* the lock leaves it locked (gh-88304 says so of multiprocessing.Lock). One
# that is killed while it *waits* leaves nothing, as with multiprocessing.Lock, whose waiters wait in the kernel.
# Seen: a thread of the manager's process waits for it, learns nothing of its end, and takes the lock when the holder has
# released it. There is nobody then who could give it back. With multiprocessing.Lock all is as guessed. In the same way an
# item that is put later is taken from the queue and lost, and a barrier of two opens for one.
#
# PYTHONS="python3.13 python3.14" names interpreters; else those on PATH are taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import multiprocessing
import time


def call(shared, method, asks):
    asks.send(None)
    getattr(shared, method)()


def killed_within(shared, method):
    """Have a process call it, and kill the process while it waits there."""
    asked, asks = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=call, args=(shared, method, asks))
    process.start()
    asked.recv()
    time.sleep(1.5)  # nothing tells when its request has arrived
    process.kill()
    process.join()


def main():
    with multiprocessing.Manager() as manager:
        for kind, lock in ("multiprocessing", multiprocessing.Lock()), ("the manager", manager.Lock()):
            lock.acquire()
            killed_within(lock, "acquire")
            lock.release()
            time.sleep(0.5)  # nor when it has been granted to the dead
            print(f"{kind}: free: {lock.acquire(timeout=1)};", end=" ", flush=True)
        items, barrier = manager.Queue(), manager.Barrier(2)
        killed_within(items, "get")
        items.put("item")
        time.sleep(0.5)
        print("items:", items.qsize(), end="; ", flush=True)
        killed_within(barrier, "wait")
        print("both are there:", barrier.wait(1) in (0, 1), end=" ")


if __name__ == "__main__":
    main()
PYTHON
seen=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}; do
  "$python" -c "" 2>/dev/null || continue
  found=$("$python" "$folder/program.py")
  echo "$("$python" --version): $found"
  test "$found" = "multiprocessing: free: True; the manager: free: False; items: 0; both are there: True "
  seen=$((seen + 1))
done
test "$seen" -gt 0 || { echo "no Python from 3.11 on is on PATH" >&2; exit 1; }
