"""Eight processes of fifty tasks and four threads contend for all six primitives; tasks are cancelled, the time of
threads is up, and processes are killed, at random.

    python -m tests.cluster.soak [--minutes 5] [--seed N] [--server [postgres|etcd]]

They fork meanwhile, in any of their threads, and each child opens a session of its own and takes its turns. Calls of
the command line take theirs. In a directory, a cleaner of old files goes about its work as systemd-tmpfiles does.

Each process writes what it does into a file of its own. In the end these histories are merged and checked: no
overlaps, tokens in the order of the grants, every process has drained, nothing is left in the records. The seed is that
of what each process and the killer choose; how the system schedules them it does not repeat. --server has them meet on
a Valkey that is started for it, on a PostgreSQL, or on an etcd, whose history is compacted meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import holdfast

if __package__:
    from .etcd_servers import EtcdServer
    from .history import Turn, violations
    from .postgres import FAST, PostgresServer
    from .servers import Server

PROCESSES = 8
TASKS = 50
PROCESSES_ON_ETCD, TASKS_ON_ETCD = 4, 10
"""A change takes two milliseconds of CPU time of the server. Of more tasks, most would give up before their turn."""
THREADS = 4
"""Of each process, through a session of their own."""
NAMES = 3
"""Of each kind."""
PERMITS = 4
PARTIES = 5
CAPACITY = 5
PATIENCE = 0.0, 2.0
"""Seconds until a task is cancelled in whatever it does, and until the time of a thread is up."""
HOLD = 0.0, 0.005
LIFE = 0.5, 4.0
"""Seconds between two kills."""
LIFE_ON_SERVER = 2.0, 10.0
"""The same, where a kill is noticed only after the ttl."""
TTL = 10.0
"""Seconds, on a server: so long the others wait for a session that was killed."""
DRAIN = 60.0
"""Seconds within which all must have ended."""
BETWEEN_FORKS = 0.5, 3.0
"""Seconds between two forks of one process."""
VISITS = 5
"""Turns that a forked child takes."""
CALLERS = 2
"""Of the command line, at a time."""
BETWEEN_CALLS = 0.2, 1.0
"""Seconds between two calls of the command line."""
BETWEEN_CLEANINGS = 0.5
"""Seconds."""
CMD = """
import json, os, sys, time
directory, name = sys.argv[1:]
log = os.open(f"{directory}/{os.getpid()}.history", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def write(*event): os.write(log, json.dumps([*event, time.monotonic()]).encode() + b"\\n")
write("in", name, 1, int(os.environ["HOLDFAST_TOKEN"]))
time.sleep(0.002)
write("out", name, 1)
write("done", "command")
"""
"""What a call of the command line runs while it holds a lock."""

# In a process


class Soaker:
    """One process."""

    def __init__(self, session, directory, seed):
        self.directory = directory
        self.session = session
        self.random = random.Random(seed)
        self.log = os.open(directory / f"{os.getpid()}.history", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.buffers = [os.open(directory / f"buffer {n}", os.O_RDWR | os.O_CREAT) for n in range(NAMES)]
        self.keys = 0

    def write(self, *event):
        """One system call: whole, or not at all."""
        os.write(self.log, json.dumps([*event, time.monotonic()]).encode() + b"\n")

    def pause(self):
        return asyncio.sleep(self.random.uniform(*HOLD))

    async def task(self):
        acts = [self.lock, self.semaphore, self.bounded_semaphore, self.event, self.condition, self.barrier]
        while True:
            act, n = self.random.choice(acts), self.random.randrange(NAMES)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.random.uniform(*PATIENCE)):
                    await act(n)
                    self.write("done", act.__name__)

    async def hold(self, name, leased):
        async with leased as grant:
            self.keys += 1
            key = self.keys
            self.write("in", name, key, grant.token)
            try:
                await self.pause()
            finally:
                self.write("out", name, key)

    async def lock(self, n):
        await self.hold(f"lock {n}", self.session.lock(f"lock {n}"))

    async def semaphore(self, n):
        await self.hold(f"semaphore {n}", self.session.semaphore(f"semaphore {n}", PERMITS))

    async def bounded_semaphore(self, n):
        await self.hold(f"bounded {n}", self.session.bounded_semaphore(f"bounded {n}", PERMITS))

    async def event(self, n):
        event = self.session.event(f"event {n}")
        match self.random.randrange(4):
            case 0:
                await event.set()
            case 1:
                await event.clear()
            case _:
                await event.wait()

    async def condition(self, n):
        condition, buffer = self.session.condition(f"condition {n}"), self.buffers[n]
        adds = self.random.random() < 0.5
        async with condition:
            while (items := int.from_bytes(os.pread(buffer, 1, 0))) == (CAPACITY if adds else 0):
                await condition.wait()
            if not 0 <= items <= CAPACITY:
                self.write("wrong", f"{items} items")
            os.pwrite(buffer, (items + (1 if adds else -1)).to_bytes(), 0)
            await condition.notify()

    async def barrier(self, n):
        place = await self.session.barrier(f"barrier {n}", PARTIES).wait()
        if not 0 <= place < PARTIES:
            self.write("wrong", f"place {place}")


class InThreads:
    """The threads of one process: what its tasks do, without an event loop."""

    def __init__(self, session, soaker, seed):
        self.session = session
        self.soaker = soaker
        self.is_ending = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self.work, args=(seed, n), daemon=True) for n in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def work(self, seed, number):
        choices = random.Random(f"{seed} {number}")
        acts = [self.lock, self.semaphore, self.event, self.condition, self.barrier]
        key = 0
        try:
            while not self.is_ending.is_set():
                act, key = choices.choice(acts), key + 1
                if act(choices.randrange(NAMES), f"{number}.{key}", choices):
                    self.soaker.write("done", "thread")
        except Exception as exc:
            self.errors.append(exc)

    def end(self):
        """Raises the error of a thread that has failed."""
        self.is_ending.set()
        for thread in self.threads:
            thread.join()
        for error in self.errors:
            raise error

    def hold(self, name, leased, key, choices):
        grant = leased.acquire(timeout=choices.uniform(*PATIENCE))
        if not grant:
            return False
        self.soaker.write("in", name, key, grant.token)
        time.sleep(choices.uniform(*HOLD))
        self.soaker.write("out", name, key)
        leased.release()
        return True

    def lock(self, n, key, choices):
        return self.hold(f"lock {n}", self.session.lock(f"lock {n}"), key, choices)

    def semaphore(self, n, key, choices):
        return self.hold(f"semaphore {n}", self.session.semaphore(f"semaphore {n}", PERMITS), key, choices)

    def event(self, n, key, choices):
        event = self.session.event(f"event {n}")
        if choices.random() < 0.5:
            event.set()
            return True
        return event.wait(choices.uniform(*PATIENCE))

    def condition(self, n, key, choices):
        """Takes part in what the tasks do to the same buffer."""
        condition, buffer = self.session.condition(f"condition {n}"), self.soaker.buffers[n]
        adds = choices.random() < 0.5
        if not condition.acquire(timeout=choices.uniform(*PATIENCE)):
            return False
        try:
            if not condition.wait_for(
                lambda: int.from_bytes(os.pread(buffer, 1, 0)) != (CAPACITY if adds else 0), choices.uniform(*PATIENCE)
            ):
                return False
            items = int.from_bytes(os.pread(buffer, 1, 0))
            os.pwrite(buffer, (items + (1 if adds else -1)).to_bytes(), 0)
            condition.notify()
        finally:
            condition.release()
        return True

    def barrier(self, n, key, choices):
        """One for threads alone, as a time that is up breaks it for all."""
        barrier = self.session.barrier(f"barrier of threads {n}", PARTIES)
        try:
            place = barrier.wait(choices.uniform(*PATIENCE))
        except threading.BrokenBarrierError:
            barrier.reset()
            return False
        if not 0 <= place < PARTIES:
            self.soaker.write("wrong", f"place {place}")
        return True


async def fork_now_and_then(url, soaker):
    """In the thread of the loop or in another one. Each child is waited for, as it may hold something."""
    loop, children = asyncio.get_running_loop(), []
    try:
        while True:
            await asyncio.sleep(soaker.random.uniform(*BETWEEN_FORKS))
            fork = partial(fork_a_visitor, url, soaker.directory, soaker.random.randrange(1 << 30))
            pid = fork() if soaker.random.random() < 0.5 else await loop.run_in_executor(None, fork)
            children.append(loop.run_in_executor(None, os.waitpid, pid, 0))
    finally:
        for _, status in await asyncio.gather(*children):
            if status:
                raise RuntimeError(f"a forked child has ended with {os.waitstatus_to_exitcode(status)}")


def fork_a_visitor(url, directory, seed):
    """Return the pid of a child that opens a session of its own, takes some turns, and ends."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        asyncio.run(visit(url, directory, seed))
        os._exit(0)
    except BaseException:  # there is no way back into the parent's code
        traceback.print_exc()
        os._exit(1)


async def visit(url, directory, seed):
    async with holdfast.connect(url, ttl=None if url.startswith("sqlite:") else TTL) as session:
        soaker = Soaker(session, directory, seed)
        for _ in range(VISITS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(soaker.random.uniform(*PATIENCE)):
                    await soaker.random.choice([soaker.lock, soaker.semaphore])(soaker.random.randrange(NAMES))
                    soaker.write("done", "forked child")


async def soak(url, directory, seed):
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    ttl = None if url.startswith("sqlite:") else TTL
    async with holdfast.connect(url, ttl=ttl) as session:
        soaker = Soaker(session, directory, seed)
        of_threads = await asyncio.to_thread(holdfast.connect(url, ttl=ttl).sync.open)
        threads = InThreads(of_threads, soaker, seed)
        tasks = [asyncio.create_task(soaker.task()) for _ in range(TASKS_ON_ETCD if url.startswith("etcd:") else TASKS)]
        tasks.append(asyncio.create_task(fork_now_and_then(url, soaker)))
        await asyncio.wait([*tasks, stop := asyncio.create_task(ending.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        errors = [
            error for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, Exception)
        ]
        stop.cancel()
        await asyncio.to_thread(threads.end)
        await asyncio.to_thread(of_threads.close)
    for error in errors:
        raise error


# Above them


async def call(url, directory, caller):
    """One call of the command line after the other. Ends with an error if one says that something is wrong."""
    start = sys.executable, "-m", "holdfast"
    while True:
        await asyncio.sleep(caller.uniform(*BETWEEN_CALLS))
        name = caller.choice([f"lock {caller.randrange(NAMES)}", "lock of commands"])  # where hundreds wait, and alone
        patience = caller.choice(["0", "1", "5"])
        run = sys.executable, "-S", "-c", CMD, directory, name
        calls = [
            ("lock", name, "--url", url, "--timeout", patience, "--", *run),
            ("lock", name, "--url", url, "--timeout", patience, "--", *run),
            ("ls", "--json", "--url", url),
            ("show", name, "--url", url),
        ]
        words = caller.choice(calls)
        process = await asyncio.create_subprocess_exec(*start, *words, stdout=-1, stderr=-1)  # -1: a pipe
        _, complaints = await process.communicate()
        if process.returncode not in (0, 124) and not (words[0] == "show" and process.returncode == 1):
            raise RuntimeError(f"holdfast {words[0]} has ended with {process.returncode}: {complaints.decode()}")


async def clean(state):
    """As systemd-tmpfiles does with what is too old, here everything. A directory that is locked is left alone."""
    while True:
        await asyncio.sleep(BETWEEN_CLEANINGS)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(state / "s", ignore_errors=True)
                for file in state.glob("state.db*"):
                    file.unlink(missing_ok=True)
            finally:
                os.close(folder)


def place(kind, directory, stack):
    """The URL of where they meet. kind: of server; None: a directory."""
    if kind == "etcd":
        compaction = "--auto-compaction-mode=periodic", "--auto-compaction-retention=1m"
        return stack.enter_context(EtcdServer(options=compaction)).url
    if kind == "postgres":
        return stack.enter_context(PostgresServer(FAST)).url  # else most of the time goes into waiting for the disk
    return stack.enter_context(Server()).url if kind else f"sqlite://{directory}/state"


async def supervise(minutes, seed, server):
    """Return what is wrong. server: as for place()."""
    killer = random.Random(seed)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-soak-"))
        directory = Path(path)
        url = place(server, directory, stack)
        killed = {}

        async def start():
            command = [sys.executable, __file__, "--worker", url, path, "--seed", str(killer.randrange(1 << 30))]
            return await asyncio.create_subprocess_exec(*command)

        processes = [await start() for _ in range(PROCESSES_ON_ETCD if server == "etcd" else PROCESSES)]
        bystanders = [asyncio.create_task(call(url, path, killer)) for _ in range(CALLERS)]
        if not server:
            bystanders.append(asyncio.create_task(clean(directory / "state")))
        began = shown = time.monotonic()
        while time.monotonic() < began + minutes * 60:
            await asyncio.sleep(killer.uniform(*(LIFE_ON_SERVER if server else LIFE)))
            for bystander in bystanders:
                if bystander.done():
                    return [f"a bystander has failed: {bystander.exception()}"]
            victim = killer.randrange(len(processes))
            if processes[victim].returncode is not None:
                return [f"process {processes[victim].pid} has ended with {processes[victim].returncode}"]
            killed[processes[victim].pid] = time.monotonic()  # before: it may hold until then at least
            processes[victim].kill()
            await processes[victim].wait()
            processes[victim] = await start()
            if time.monotonic() > shown + 10:
                shown = time.monotonic()
                size = sum(file.stat().st_size for file in directory.glob("*.history"))
                print(f"{shown - began:5.0f} s: {len(killed)} killed, {size / 1e6:.1f} MB of history", flush=True)
        for bystander in bystanders:
            bystander.cancel()
        await asyncio.wait(bystanders)
        async with asyncio.timeout(DRAIN):  # the last one has not begun, and would not know what SIGTERM means
            while not all((directory / f"{process.pid}.history").exists() for process in processes):
                await asyncio.sleep(0.1)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(DRAIN):
                codes = [await process.wait() for process in processes]
        except TimeoutError:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            return [f"they had not ended {DRAIN:.0f} s after they were told to"]
        wrong = [f"a process has ended with {code}" for code in codes if code]
        await asyncio.sleep(VISITS * max(PATIENCE) + 2)  # children of those that were killed
        if server:
            await asyncio.sleep(2 * TTL)  # so that the last one killed is dead
        async with holdfast.connect(url) as session:
            for name in await session.names():
                found = await session.inspect(name)
                if found.holders or found.waiters:
                    wrong.append(f"left behind: {found}")
        return wrong + judge(directory, killed)


def judge(directory, killed):
    """What is wrong with the merged history."""
    wrong, turns, done = [], {}, Counter()
    for file in directory.glob("*.history"):
        pid, inside = int(file.stem), {}
        for line in file.read_text().splitlines():
            match json.loads(line):
                case ["in", name, key, token, at]:
                    inside[key] = name, token, at
                case ["out", name, key, at]:
                    name, token, entered = inside.pop(key)
                    turns.setdefault(name, []).append((str(pid), entered, at, token))
                case ["done", what, _]:
                    done[what] += 1
                case ["wrong", what, at]:
                    wrong.append(f"process {pid}, at {at}: {what}")
        for name, token, entered in inside.values():
            if pid not in killed:
                wrong.append(f"process {pid} has not left {name}")
            turns.setdefault(name, []).append((str(pid), entered, max(entered, killed.get(pid, entered)), token))
    for name, held in turns.items():
        is_lock = name.startswith("lock")
        history = [Turn(who, entered, left, 0.0, token if is_lock else None) for who, entered, left, token in held]
        wrong += [f"{name}: {violation}" for violation in violations(history, 1 if is_lock else PERMITS)]
    print(", ".join(f"{count:,} x {what}" for what, count in sorted(done.items())), f"; {len(killed)} killed", sep="")
    acts = (
        "lock",
        "semaphore",
        "bounded_semaphore",
        "event",
        "condition",
        "barrier",
        "forked child",
        "command",
        "thread",
    )
    idle = {*acts} - done.keys()
    return wrong + [f"nobody has ever come through: {what}" for what in sorted(idle)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument(
        "--server",
        nargs="?",
        const="valkey",
        choices=["valkey", "postgres", "etcd"],
        help="on a server, a Valkey if nothing else is said, instead of a directory",
    )
    parser.add_argument("--worker", nargs=2, metavar=("URL", "DIRECTORY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        url, directory = arguments.worker
        asyncio.run(soak(url, Path(directory), arguments.seed))
        return 0
    print(f"seed {arguments.seed}", flush=True)
    wrong = asyncio.run(supervise(arguments.minutes, arguments.seed, arguments.server))
    print("\n".join(wrong[:50]) or "Nothing is wrong.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
