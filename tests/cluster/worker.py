"""A process with a session, which does what a test tells it: pieces of code, each in a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import os
import signal
import sys
import textwrap
import time
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Self

import holdfast
from holdfast.cluster import SessionInfo
from holdfast.cluster.session_life.exchange import Exchange

# In the worker


def note_arrivals() -> Callable[[], float]:
    """Note when each request has surely reached the record: when it was answered, at the latest.

    Return what tells it to the task that has made a request, of its last one. It is now if there was no answer yet: the
    task may have heard of its grant in another way.
    """
    asking: dict[tuple[str, int], Any] = {}
    arrived: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
    submit, answer = Exchange._submit, Exchange._answer

    def submitting(self: Exchange, entry: Any) -> None:
        if entry.ticket and (task := asyncio.current_task()) is not None:
            arrived.pop(task, None)
            asking[self._name, entry.ticket] = task
        submit(self, entry)

    def answering(self: Exchange, entries: Any, done: Any) -> None:
        for entry in entries:
            if (task := asking.pop((self._name, entry.ticket), None)) is not None:
                arrived[task] = time.monotonic()
        answer(self, entries, done)

    Exchange._submit, Exchange._answer = submitting, answering  # type: ignore[method-assign]
    return lambda: arrived.get(asyncio.current_task(), time.monotonic())


async def serve(url: str, options: dict[str, Any]) -> None:
    """Run the code that comes in lines on stdin, until there is no more."""
    loop = asyncio.get_running_loop()
    async with holdfast.connect(url, **options) as session:
        answer({"session": session.id})
        scope = {"session": session, "report": report, "tasks": {}, "asyncio": asyncio, "os": os, "signal": signal}
        scope["arrived"] = note_arrivals()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            number, code = json.loads(line)
            exec("async def main():\n" + textwrap.indent(code, "    "), scope)  # the test's own
            scope["tasks"][number] = asyncio.create_task(perform(number, scope["main"]))


async def perform(number: int, main: Any) -> None:
    try:
        answer({"number": number, "result": await main()})
    except BaseException as exc:
        answer({"number": number, "error": [type(exc).__name__, str(exc)]})


def report(*event: object) -> None:
    """Tell the test something, in the middle of a piece of code."""
    answer({"event": event})


def answer(message: dict[str, Any]) -> None:
    # In one write, which a pipe does not mix with another process's: after a fork, two write here.
    os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


# In the test

NOBODY_LOOKS = """
    from holdfast.cluster.session_life import renewal
    renewal.LOOK_AGAIN = 1e6
"""
"""Code for a worker without a ttl: what waits in it is told, or waits for ever."""


class WorkerError(Exception):
    """What the code raised."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Worker:
    """The other end. Use it with `async with`: in the end the process is killed, whatever state it is in."""

    def __init__(self, url: str, under: Sequence[str] = (), **options: Any) -> None:
        """under: the command that runs it, if it is not to run by itself. options: of connect()."""
        self.command = [*under, sys.executable, __file__, url, json.dumps(options)]
        self.session = ""
        """Its id."""
        self.events: asyncio.Queue[list[Any]] = asyncio.Queue()
        """What report() has told."""
        self.reported: list[list[Any]] = []
        """The same, for ever."""
        self._numbers = itertools.count(1)
        self._results: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*self.command, stdin=pipe, stdout=pipe)
        self.pid = self.process.pid
        opened = json.loads(await self.process.stdout.readline())
        self.session = opened["session"]
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.kill()

    async def _listen(self) -> None:
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                self.events.put_nowait(message["event"])
                self.reported.append(message["event"])
            else:
                result = self._results[message["number"]]
                if "error" in message:
                    result.set_exception(WorkerError(*message["error"]))
                else:
                    result.set_result(message["result"])
        for result in self._results.values():  # it has ended
            result.cancel()

    def begin(self, code: str) -> asyncio.Future[Any]:
        """Have it run this, in a task; return a future of what that returns, or of a WorkerError."""
        number = next(self._numbers)
        self._results[number] = asyncio.get_running_loop().create_future()
        if self._listening.done():
            self._results[number].cancel()
        self.process.stdin.write(json.dumps([number, textwrap.dedent(code)]).encode() + b"\n")
        return self._results[number]

    @property
    def under_way(self) -> int:
        """How many of the pieces of code that it has begun have not ended."""
        return sum(not result.done() for result in self._results.values())

    def cancel(self, begun: asyncio.Future[Any], *message: Any) -> None:
        """Have it cancel the task of what begin() has returned."""
        [number] = [number for number, result in self._results.items() if result is begun]
        self.begin(f"tasks[{number}].cancel(*{message!r})")

    async def do(self, code: str) -> Any:
        """Have it run this; return what that returns."""
        return await self.begin(code)

    async def event(self) -> list[Any]:
        """The next one that it reports."""
        return await self.events.get()

    def stop(self) -> None:
        """And wait until it stands still."""
        _stopping().stop(self.pid)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def until_stopped(self) -> None:
        """Wait until it stands still, as it stops itself."""
        await asyncio.to_thread(_stopping().until_stopped, self.pid)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        self.process.stdin.close()
        with contextlib.suppress(ConnectionError):  # nobody has read the last of it
            await self.process.stdin.wait_closed()
        await self.process.wait()
        await self._listening

    async def end(self) -> int:
        """Let it close its session and end; return its exit code."""
        self.process.stdin.close()
        return await self.process.wait()


async def until_waiting(session: Any, name: str, tasks: int = 1) -> None:
    """Wait until so many tasks wait for the name."""
    while sum(waiting.tasks for waiting in await waiters(session, name)) != tasks:
        await asyncio.sleep(0.005)


async def waiters(session: Any, name: str) -> Any:
    try:
        return (await session.inspect(name)).waiters
    except KeyError:
        return ()


async def holders(session: Any, name: str) -> list[SessionInfo]:
    return [holding.session for holding in (await session.inspect(name)).holders]


def _stopping() -> ModuleType:
    """What only the tests need: the program below has no `tests` to import from."""
    return importlib.import_module("tests.stopping")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], json.loads(sys.argv[2])))
