"""Each command: what it takes, what it does in a session, what it returns."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, TypeVar

import click

import holdfast
from holdfast.cluster import Inspection, Lock, Semaphore, Session
from holdfast.cluster.engines.private_tmp import PrivateTmpWarning
from holdfast.cluster.errors import EngineError, FormatError, NameConflict, SessionLost

from . import exit_codes
from .child import run_command
from .reports import as_json, print_name, print_names

F = TypeVar("F", bound=Callable[..., Any])
GRACE = 10.0
"""Seconds."""
ANSWER = 5.0
"""Seconds that the engine may take where --timeout is 0."""


class Patience:
    """What --timeout says. It counts from the start, so that an engine that does not answer is given up as well."""

    def __init__(self, seconds: float | None) -> None:
        self.waits = seconds != 0
        """Whether to wait for others at all."""
        self.clock = asyncio.timeout(seconds if self.waits else ANSWER)

    def end(self) -> None:
        """What was waited for is there: from now on there is time."""
        self.clock.reschedule(None)


Command = Callable[[Session, Patience], Coroutine[Any, Any, int]]


class Failure(Exception):  # noqa: N818  # it is how a command ends, as click's Exit
    """One line for the user, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def complain(message: str) -> None:
    """Tell the user. Not on stdout, which is CMD's."""
    click.echo(f"holdfast: {message}", err=True)


def run() -> int:
    """Run the command line; return the exit code. Raises OSError if something cannot be printed."""
    stdout = sys.stdout
    try:
        with _warning_in_a_line():
            code = cli.main(prog_name="holdfast", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.Abort:
        return exit_codes.BY_SIGNAL + signal.SIGINT
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except Failure as exc:
        complain(str(exc))
        return exc.exit_code
    except SystemExit:
        if sys.stdout is stdout:
            raise
        raise BrokenPipeError from None  # for which click replaces stdout, and ends with 1
    return code if isinstance(code, int) else exit_codes.OK


@contextlib.contextmanager
def _warning_in_a_line() -> Iterator[None]:
    """A private /tmp is told to a user, and not to a programmer."""
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.simplefilter("always", PrivateTmpWarning)

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, PrivateTmpWarning):
                complain(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = tell
        yield


# Sessions


class Seconds(click.FloatRange):
    """A time, not below 0. (Of "nan" every comparison is false, so FloatRange lets it pass.)"""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a valid number of seconds.", param, ctx)
        return seconds


def session_options(command: F) -> F:
    """The options of every command that opens a session."""
    options = [
        click.option("--url", help="Where the state is; by default $HOLDFAST_URL, else a directory of the user's."),
        click.option("--namespace", default="default", show_default=True, help="Names are shared only within one."),
        click.option("--ttl", type=float, metavar="SECONDS", help="Be taken for dead if stopped for so long."),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            help="Give up then, and exit with 124; 0 takes only what is there at once.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


json_option = click.option("--json", "as_text", is_flag=True, help="Print JSON.")


def execute(command: Command, url: str | None, namespace: str, ttl: float | None, timeout: float | None) -> int:
    """Run the command in a session; what goes wrong becomes a Failure."""
    try:
        return asyncio.run(_execute(command, url, namespace, ttl, timeout))
    except TimeoutError:
        raise Failure("not within the time of --timeout", exit_codes.TIMED_OUT) from None
    except (NameConflict, EngineError, SessionLost) as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc


async def _execute(command: Command, url: str | None, namespace: str, ttl: float | None, seconds: float | None) -> int:
    interrupted: list[int] = []
    task = asyncio.current_task()
    assert task is not None

    def interrupt(number: int) -> None:
        interrupted.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    patience = Patience(seconds)
    try:
        async with patience.clock, holdfast.connect(url, namespace=namespace, ttl=ttl) as session:
            return await command(session, patience)
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return exit_codes.BY_SIGNAL + interrupted[0]


def in_session(function: Callable[..., Command]) -> Callable[..., int]:
    """Make a click callback of a function that returns what to do in a session."""

    @wraps(function)
    def callback(url: str | None, namespace: str, ttl: float | None, timeout: float | None, **options: Any) -> int:
        return execute(function(**options), url, namespace, ttl, timeout)

    return callback


# Commands


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def cli() -> None:
    """Locks, semaphores, events and barriers that processes share: first come, first served, gone with their holder.

    \b
    Exit codes: those of CMD;
      123  the lease was lost while CMD ran, which was ended
      124  not granted within --timeout
      125  holdfast failed
      126, 127  CMD cannot be executed, cannot be found
      128+N  CMD, or holdfast while it waited, was ended by signal N
    """


class RunsCommand(click.Command):
    """Leaves CMD its own options, also where no '--' stands before it; but a misspelt one of holdfast's is no NAME."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before = args[: args.index("--")] if "--" in args else args
        given = [*before]
        rest = super().parse_args(ctx, args)
        for word in (ctx.params["name"], ctx.params["command"][0]):
            if word.startswith("-") and word in given:
                raise click.NoSuchOption(word.partition("=")[0], ctx=ctx)
        return rest


def command_options(command: F) -> F:
    """The options of the commands that run CMD."""
    grace = click.option(
        "--grace",
        type=Seconds(),
        default=GRACE,
        show_default=True,
        metavar="SECONDS",
        help="If the lease is lost, between SIGTERM and SIGKILL for CMD.",
    )
    arguments = click.argument("command", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
    return session_options(grace(arguments(command)))


def under(primitive: Callable[[Session], Lock | Semaphore], options: dict[str, Any]) -> Command:
    """Run CMD while it is held."""

    async def hold(session: Session, patience: Patience) -> int:
        leased = primitive(session)
        grant = await (leased.acquire() if patience.waits else leased.try_acquire())
        if grant is None:
            raise TimeoutError
        patience.end()
        return await run_command(options["command"], grant, options["grace"], complain)

    return hold


@cli.command(cls=RunsCommand, context_settings={"ignore_unknown_options": True})
@click.argument("name")
@command_options
@in_session
def lock(name: str, **options: Any) -> Command:
    """Run CMD while holding the lock NAME.

    CMD finds the fencing token in HOLDFAST_TOKEN, and the name in HOLDFAST_NAME.
    """
    return under(lambda session: session.lock(name), options)


@cli.command(cls=RunsCommand, context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("n", metavar="N", type=click.IntRange(min=1))
@command_options
@in_session
def semaphore(name: str, n: int, **options: Any) -> Command:
    """Run CMD while holding one of the N permits of the semaphore NAME."""
    return under(lambda session: session.semaphore(name, n), options)


@cli.group()
def event() -> None:
    """Wait for an event, set it, unset it, ask for it."""


@event.command()
@click.argument("name")
@session_options
@in_session
def wait(name: str) -> Command:
    """Wait until the event NAME is set."""

    async def command(session: Session, patience: Patience) -> int:
        event = session.event(name)
        if not (patience.waits or await event.is_set()):
            raise TimeoutError
        await event.wait()
        return exit_codes.OK

    return command


@event.command(name="set")
@click.argument("name")
@session_options
@in_session
def set_event(name: str) -> Command:
    """Set the event NAME; who waits goes on. It stays set."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).set()
        return exit_codes.OK

    return command


@event.command()
@click.argument("name")
@session_options
@in_session
def clear(name: str) -> Command:
    """Unset the event NAME."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).clear()
        return exit_codes.OK

    return command


@event.command(name="show")
@click.argument("name")
@json_option
@session_options
@in_session
def show_event(name: str, as_text: bool) -> Command:
    """Print whether the event NAME is set; exit with 0 if it is, else with 1."""

    async def command(session: Session, patience: Patience) -> int:
        is_set = await session.event(name).is_set()
        click.echo(as_json({"name": name, "is_set": is_set}) if as_text else "set" if is_set else "unset")
        return exit_codes.OK if is_set else exit_codes.NO

    return command


@cli.command()
@click.argument("name")
@click.argument("n", metavar="N", type=click.IntRange(min=1))
@json_option
@session_options
@in_session
def barrier(name: str, n: int, as_text: bool) -> Command:
    """Wait at the barrier NAME until N have come; print who came as which, from 0."""

    async def command(session: Session, patience: Patience) -> int:
        barrier = session.barrier(name, n)
        if not (patience.waits or await barrier.n_waiting == n - 1):
            raise TimeoutError
        try:
            index = await barrier.wait()
        except asyncio.BrokenBarrierError as exc:
            raise Failure(str(exc), exit_codes.FAILED) from exc
        click.echo(as_json({"name": name, "index": index}) if as_text else index)
        return exit_codes.OK

    return command


@cli.command()
@json_option
@session_options
@in_session
def ls(as_text: bool) -> Command:
    """List all names in use, who holds them, and how many wait."""

    async def command(session: Session, patience: Patience) -> int:
        found, code = [], exit_codes.OK
        for name in await session.names():
            try:
                one = await _inspect(session, name)
            except FormatError as exc:  # the others can be listed all the same
                complain(str(exc))
                code = exit_codes.FAILED
            else:
                found += [one] if one is not None else []
        click.echo(as_json(found)) if as_text else print_names(found)
        return code

    return command


@cli.command()
@click.argument("name")
@json_option
@session_options
@in_session
def show(name: str, as_text: bool) -> Command:
    """Show who holds NAME and who waits for it, in order."""

    async def command(session: Session, patience: Patience) -> int:
        one = await _inspect(session, name)
        if one is None:
            raise Failure(f"nobody uses {name!r} in the namespace", exit_codes.NO)
        click.echo(as_json(one)) if as_text else print_name(one)
        return exit_codes.OK

    return command


async def _inspect(session: Session, name: str) -> Inspection | None:
    try:
        return await session.inspect(name)
    except KeyError:
        return None


@cli.command()
@click.option("--url", help="Where the four processes meet; by default in a directory of their own.")
def demo(url: str | None) -> int:
    """Show the primitives at work, in one event loop and in four processes, checked and timed."""
    from holdfast._demo import demo as show_demo

    try:
        if url is not None:
            asyncio.run(_try(url))  # or it would be said after the first half
        return show_demo(url)
    except EngineError as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc


async def _try(url: str) -> None:
    async with holdfast.connect(url, namespace="demo"):
        """It can be used."""
